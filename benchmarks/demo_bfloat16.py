"""What serving in bfloat16 costs in AP: a trained checkpoint, plain and optimised.

    python benchmarks/demo_bfloat16.py CHECKPOINT [CONFIG]

The checkpoint is that of the demo, configs/detr_tiny_1xb32-12e_shapes.py, unless a config is given.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from _common import write_result
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmdetr.apis import init_detector
from mmdetr.registry import METRICS

DEMO = Path(__file__).parents[1] / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
FORMS: dict[str, Any] = {
    'plain': False,
    'optimised': True,
    'optimised, bfloat16': dict(dtype='bfloat16'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('config', nargs='?', default=DEMO)
    return parser.parse_args()


def evaluate(config: Config, checkpoint: str, optimize: Any) -> dict[str, float]:
    """The metrics of the config's test data."""
    model = init_detector(config, checkpoint, optimize=optimize)
    with DefaultScope.overwrite_default_scope('mmdetr'):
        loader = Runner.build_dataloader(config.test_dataloader, seed=0)
        metric = METRICS.build(config.test_evaluator)
    metric.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            samples = model.test_step(batch)
            metric.process(batch, [sample.to_dict() for sample in samples])
    return metric.evaluate(len(loader.dataset))


def main() -> None:
    args = parse_args()
    config = Config.fromfile(args.config)
    results = {name: evaluate(config, args.checkpoint, form) for name, form in FORMS.items()}
    for name, metrics in results.items():
        print(f'{name:24s} bbox_mAP {metrics["coco/bbox_mAP"]:.4f}')
    write_result('demo_bfloat16', dict(config=Path(args.config).name, metrics=results))


if __name__ == '__main__':
    main()
