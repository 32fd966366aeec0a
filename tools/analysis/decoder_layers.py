"""AP and AP50 after each decoder layer, with and without NMS (the paper's figure 4)."""

import argparse
import copy
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdetr.config.command_line import add_cfg_options, check_input_file

# {'layer': 1, 'nms': False, 'AP': 0.338, 'AP50': 0.529}
Result = dict[str, Any]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/analysis/decoder_layers.py configs/detr_r50_16xb4-500e_coco.py detr-r50.pth
  python tools/analysis/decoder_layers.py CONFIG CHECKPOINT --nms-iou 0.7 --out-dir figure4

Writes decoder_layers.json and decoder_layers.png. The last layer without NMS is what tools/test.py
scores. A model trained without auxiliary losses says nothing before its last layer.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, of any format that mmdetr reads, or a URL')
    parser.add_argument(
        '--out-dir',
        metavar='DIR',
        help='folder for table, plot and log (default: work_dirs/<config name>/decoder_layers)',
    )
    parser.add_argument(
        '--nms-iou',
        type=float,
        default=0.5,
        help='boxes of one class with a larger IoU are duplicates (default: 0.5, that of '
        "Detectron2's detectors; the paper speaks of default parameters and states no number)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    if not 0 < args.nms_iou < 1:
        parser.error(f'--nms-iou must be between 0 and 1: {args.nms_iou}')
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

import torch
from mmengine.config import Config
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop
from mmengine.structures import InstanceData
from torchvision.ops import batched_nms

from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.engine import DetectionRunner
from mmdetr.evaluation import CocoMetric


def load_config(args: argparse.Namespace) -> Config:
    """The config with the loop over decoder layers in place of its test loop."""
    cfg = read_config(args.config, args.cfg_options, required=('model', 'test_dataloader'))
    cfg.work_dir = args.out_dir or f'work_dirs/{Path(cfg.filename).stem}/decoder_layers'
    cfg.load_from, cfg.resume = args.checkpoint, False
    cfg.test_cfg = dict(type='DecoderLayersLoop', nms_iou=args.nms_iou)
    return cfg


def suppress(instances: InstanceData, iou: float) -> InstanceData:
    """Detections that remain of one image after NMS within each class, the best score first."""
    kept = batched_nms(instances.bboxes, instances.scores, instances.labels, iou)
    return instances[kept]


@LOOPS.register_module(force=True)  # again where a process runs this file twice
class DecoderLayersLoop(TestLoop):
    """Scores every decoder layer in one pass over the test data.

    Args:
        runner: As of TestLoop.
        dataloader: As of TestLoop.
        evaluator: As of TestLoop; one of its metrics is the CocoMetric that is used.
        nms_iou: IoU above which the worse of two boxes of a class is dropped.

    Raises:
        ValueError: There is no CocoMetric to score with.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, nms_iou: float) -> None:
        super().__init__(runner, dataloader, evaluator)
        metrics = [metric for metric in self.evaluator.metrics if isinstance(metric, CocoMetric)]
        if not metrics or metrics[0].format_only:
            raise ValueError('test_evaluator needs a CocoMetric with format_only=False')
        metric = metrics[0]
        metric.classwise, metric.outfile_prefix = False, None
        self.nms_iou = nms_iou
        self.metrics: dict = defaultdict(lambda: copy.deepcopy(metric))

    def run(self) -> dict[str, list[Result]]:
        """The results by layer, counted from 1, first without and then with NMS."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        size = len(self.dataloader.dataset)
        return dict(results=[self._score(layer, nms, size) for layer, nms in sorted(self.metrics)])

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Predict one batch with every layer."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        model = self.runner.model
        data = model.data_preprocessor(data_batch, False)
        samples = data['data_samples']
        maps = model.backbone(data['inputs'])
        prediction = model.bbox_head(
            model.neck(maps), data['padding_mask'], backbone_features=maps, all_layers=True
        )
        for layer in range(prediction.num_layers):
            samples = model.bbox_head.predict(prediction.layer(layer), samples)
            dicts = [sample.to_dict() for sample in samples]
            self.metrics[layer + 1, False].process(data_batch, dicts)
            for sample, content in zip(samples, dicts, strict=True):
                content['pred_instances'] = suppress(sample.pred_instances, self.nms_iou)
            self.metrics[layer + 1, True].process(data_batch, dicts)
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=samples
        )

    def _score(self, layer: int, nms: bool, size: int) -> Result:
        metric = self.metrics[layer, nms]
        scores = metric.evaluate(size)
        ap, ap50 = (float(scores[f'{metric.prefix}/bbox_mAP{end}']) for end in ('', '_50'))
        return dict(layer=layer, nms=nms, AP=ap, AP50=ap50)


def table(results: Sequence[Result], nms_iou: float) -> str:
    """The results as text, in per cent as in the paper."""
    names = ('AP', 'AP50')
    rows: dict[int, list[str]] = {}
    for result in results:
        rows.setdefault(result['layer'], []).extend(f'{100 * result[n]:8.1f}' for n in names)
    lines = [f'{"":5} {"without NMS":>17} {f"NMS at {nms_iou:g}":>17}']
    lines.append(f'{"layer":5} {" ".join(f"{name:>8}" for name in names * 2)}')
    return '\n'.join([*lines, *(f'{layer:5} {" ".join(row)}' for layer, row in rows.items())])


def plot(results: Sequence[Result], nms_iou: float, path: Path) -> None:
    """AP and AP50 over the layers, dashed with NMS."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.subplots()
    for name, colour in (('AP', 'tab:blue'), ('AP50', 'tab:orange')):
        for nms, line in ((False, '-'), (True, '--')):
            chosen = [result for result in results if result['nms'] is nms]
            axes.plot(
                [result['layer'] for result in chosen],
                [100 * result[name] for result in chosen],
                linestyle=line,
                marker='o',
                color=colour,
                label=f'{name}, NMS at {nms_iou:g}' if nms else f'{name}, without NMS',
            )
    axes.set_xlabel('decoder layer')
    axes.set_ylabel('per cent')
    axes.set_xticks(sorted({result['layer'] for result in results}))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main(args: argparse.Namespace) -> None:
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    cfg = load_config(args)
    with refusals_in_one_line(cfg):
        results = DetectionRunner.from_cfg(cfg).test()['results']
    content = dict(
        config=args.config, checkpoint=args.checkpoint, nms_iou=args.nms_iou, results=results
    )
    out_dir = Path(cfg.work_dir)
    (out_dir / 'decoder_layers.json').write_text(json.dumps(content, indent=2) + '\n')
    plot(results, args.nms_iou, out_dir / 'decoder_layers.png')
    print(table(results, args.nms_iou))


if __name__ == '__main__':
    main(arguments)
