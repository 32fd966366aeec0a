"""Scores after each decoder layer: against tools/test.py's and by hand."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdetr.engine import DetectionRunner
from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
TOOL = ROOT / 'tools/analysis/decoder_layers.py'
SMALL = {
    'test_dataloader.dataset.num_images': 6,
    'test_dataloader.batch_size': 4,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
}
# mmengine keeps its singletons by the second in which a run began.
pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')


@pytest.fixture(autouse=True)
def _environment(monkeypatch: Any) -> None:
    # The tool sets it for its process, which here is everybody's.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')


def config(work_dir: Path) -> Config:
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(SMALL)
    cfg.work_dir, cfg.experiment_name = str(work_dir), work_dir.name
    return cfg


class Oracle:
    """Predictions known by hand from the ground truth of generated images.

    Layer 1: every object twice, the first time 1 pixel to the right; both with better scores than
    the next object of the image. Layer 2: every object once. Layer 3: nothing near an object.
    """

    def __init__(self, dataset: Any, num_queries: int = 10) -> None:
        self.truths = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        self.num_queries = num_queries
        self.done = 0

    def __call__(
        self, features: Any, padding_mask: Any, backbone_features: Any, all_layers: bool
    ) -> SetPrediction:
        assert all_layers
        count = len(features[0])
        logits = torch.full((3, count, self.num_queries, 4), -10.0)
        logits[..., 3] = 0.0
        bboxes = torch.tensor([0.0, 0.0, 0.01, 0.01]).expand(3, count, self.num_queries, 4).clone()
        for b, instances in enumerate(self.truths[self.done : self.done + count]):
            for i, instance in enumerate(instances):
                x1, y1, x2, y2 = instance['bbox']
                box = torch.tensor([x1 + x2, y1 + y2, 2 * (x2 - x1), 2 * (y2 - y1)]) / 2 / 64
                right = box + torch.tensor([1 / 64, 0, 0, 0])
                label = instance['bbox_label']
                for layer, query, value, good in (
                    (0, 2 * i, 6.0 - 2 * i, right),
                    (0, 2 * i + 1, 5.0 - 2 * i, box),
                    (1, i, 6.0, box),
                ):
                    logits[layer, b, query, label] = value
                    bboxes[layer, b, query] = good
        self.done += count
        return SetPrediction(logits, bboxes)


def test_by_hand(tmp_path: Path, monkeypatch: Any) -> None:
    """Perfect boxes score 1, NMS keeps the better of two, nothing scores 0."""
    runpy.run_path(str(TOOL))
    cfg = config(tmp_path)
    cfg.test_cfg = dict(type='DecoderLayersLoop', nms_iou=0.5)
    runner = DetectionRunner.from_cfg(cfg)
    oracle = Oracle(runner.test_loop.dataloader.dataset)
    monkeypatch.setattr(runner.model.bbox_head, 'forward', oracle)
    results = runner.test()['results']
    assert [(r['layer'], r['nms']) for r in results] == [
        (layer, nms) for layer in (1, 2, 3) for nms in (False, True)
    ]
    first, first_nms, second, second_nms, third, third_nms = results
    assert second['AP'] == second_nms['AP'] == pytest.approx(1.0)
    assert third['AP50'] == third_nms['AP50'] == 0.0
    # The first of two is right at IoU 0.5 and its duplicate a false positive, unless suppressed.
    assert first['AP50'] < 1.0
    assert first_nms['AP50'] == pytest.approx(1.0)
    # But NMS leaves the worse placed box alone.
    assert first_nms['AP'] < 1.0


def test_nms_is_per_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [20, 20, 30, 30]])
    instances = InstanceData(
        bboxes=boxes, scores=torch.tensor([0.5, 0.9, 0.8, 0.1]), labels=torch.tensor([0, 0, 1, 0])
    )
    suppress = runpy.run_path(str(TOOL))['suppress']
    assert suppress(instances, 0.5).scores.tolist() == pytest.approx([0.9, 0.8, 0.1])
    assert len(suppress(instances, 0.95)) == 4


def test_last_layer_is_what_the_test_tool_scores(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    torch.manual_seed(0)
    cfg = config(tmp_path / 'test')
    model = MODELS.build(cfg.model)
    model.init_weights()
    # Random weights give every query the same box and no hit: spread them over the image.
    torch.nn.init.normal_(model.bbox_head.query_embedding.weight, std=30.0)
    torch.nn.init.normal_(model.bbox_head.reg_branch.layers[-1].weight, std=0.3)
    checkpoint = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    cfg.load_from = str(checkpoint)
    images = 60  # enough that random boxes hit some object
    cfg.test_dataloader.dataset.num_images = images
    expected = DetectionRunner.from_cfg(cfg).test()
    assert expected['coco/bbox_mAP_50'] > 0

    out_dir = tmp_path / 'out'
    options = [f'{key}={value}' for key, value in SMALL.items()]
    options.append(f'test_dataloader.dataset.num_images={images}')
    arguments = [DEMO, checkpoint, '--out-dir', out_dir, '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')

    content = json.loads((out_dir / 'decoder_layers.json').read_text())
    assert content['nms_iou'] == 0.5
    last = content['results'][4]
    assert (last['layer'], last['nms']) == (3, False)
    assert last['AP'] == pytest.approx(expected['coco/bbox_mAP'], abs=1e-12)
    assert last['AP50'] == pytest.approx(expected['coco/bbox_mAP_50'], abs=1e-12)
    assert len({result['AP50'] for result in content['results'][::2]}) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5].split() == ['without', 'NMS', 'NMS', 'at', '0.5']
    assert lines[-1].split()[:2] == ['3', f'{100 * last["AP"]:.1f}']
    assert (out_dir / 'decoder_layers.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py', 'none.pth'], 'config not found: none.py'),
        ([str(DEMO), 'none.pth'], 'checkpoint not found: none.pth'),
        ([str(DEMO), str(DEMO), '--nms-iou', '50'], '--nms-iou must be between 0 and 1: 50.0'),
    ],
)
def test_wrong_arguments(monkeypatch: Any, capsys: Any, arguments: list, message: str) -> None:
    monkeypatch.setattr(sys, 'argv', [TOOL.name, *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert message in capsys.readouterr().err + str(caught.value)
