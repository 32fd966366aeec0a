"""What serving in bfloat16 costs in AP: a trained checkpoint, plain and optimised.

    python benchmarks/demo_bfloat16.py CHECKPOINT [CONFIG]

The checkpoint is that of the demo, configs/detr_tiny_1xb32-12e_shapes.py, unless a config is given.
"""

import argparse
from pathlib import Path
from typing import Any

from _common import DEMO, existing_file, parser, write_result

FORMS: dict[str, Any] = {
    'plain': False,
    'optimised': True,
    'optimised, bfloat16': dict(dtype='bfloat16'),
}


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument('checkpoint', type=existing_file)
    options.add_argument('config', nargs='?', type=existing_file, default=DEMO)
    return options.parse_args()


def evaluate(config_file: Path, checkpoint: Path, optimize: Any) -> dict[str, float]:
    """The metrics of the config's test data."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    from mmdetr.apis import init_detector
    from mmdetr.registry import METRICS

    config = Config.fromfile(config_file)
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
    results = {name: evaluate(args.config, args.checkpoint, form) for name, form in FORMS.items()}
    for name, metrics in results.items():
        print(f'{name:24s} bbox_mAP {metrics["coco/bbox_mAP"]:.4f}')
    write_result('demo_bfloat16', dict(config=args.config.name, metrics=results))


if __name__ == '__main__':
    main()
