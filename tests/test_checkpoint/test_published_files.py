"""A published file through ``tools/test.py``, from the image files to the written predictions."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdetr.checkpoint import convert, read_checkpoint
from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS, COCO_NAMES
from tests.helpers.reference import build_model, facebook_state_dict, model_config, read_case

TOOL = Path(__file__).parents[2] / 'tools' / 'test.py'
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


@pytest.fixture
def coco(tmp_path) -> Path:
    """Two images of noise, one annotation each, and COCO's 80 categories."""
    rng = np.random.default_rng(0)
    for i, size in enumerate([(64, 96, 3), (64, 80, 3)]):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / f'{i}.png')
    annotations = dict(
        images=[
            dict(id=0, file_name='0.png', height=64, width=96),
            dict(id=1, file_name='1.png', height=64, width=80),
        ],
        annotations=[
            dict(id=i + 1, image_id=i, category_id=90, bbox=[8, 8, 20, 20], area=400, iscrowd=0)
            for i in range(2)
        ],
        categories=[dict(id=i, name=name) for i, name in COCO_NAMES.items()],
    )
    (tmp_path / 'val.json').write_text(json.dumps(annotations))
    return tmp_path


def write_config(folder: Path) -> Path:
    model = model_config(read_case('sine_post')[0])
    model['bbox_head']['num_classes'] = 80
    config = dict(
        default_scope='mmdetr',
        model=model,
        test_dataloader=dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(
                type='CocoDataset',
                data_root=f'{folder}/',
                ann_file='val.json',
                data_prefix=dict(img=''),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='Resize', scale=(64, 1333), keep_ratio=True),
                    dict(type='PackDetInputs'),
                ],
                test_mode=True,
            ),
        ),
        test_evaluator=dict(type='CocoMetric', ann_file=f'{folder}/val.json'),
        test_cfg=dict(),
    )
    path = folder / 'config.py'
    Config(config).dump(path)
    return path


def expected_scores_and_labels(image: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The authors' way from an image to the best of the 80 classes of each query."""
    model = build_model(read_case('sine_post')[0]).eval()
    pixels = (np.asarray(Image.open(image), dtype=np.float64) / 255 - MEAN) / STD
    with torch.no_grad():
        logits = model(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).logits[-1, 0]
    return logits[:, [*COCO_CATEGORY_IDS, 91]].softmax(-1)[:, :-1].max(-1)


@pytest.mark.parametrize('fmt', ['facebook', 'huggingface'])
def test_published_file_through_the_test_tool(fmt, coco, monkeypatch, capsys):
    meta, _ = read_case('sine_post')
    checkpoint = coco / 'detr-r18.pth'
    torch.save(dict(model=facebook_state_dict(meta['shapes'], meta['seed'])), checkpoint)
    if fmt == 'huggingface':
        checkpoint = convert(read_checkpoint(checkpoint), coco / 'hf' / 'pytorch_model.bin', fmt)[0]
    args = [write_config(coco), checkpoint, '--work-dir', coco / 'work', '--out', coco / 'out.pkl']
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])

    runpy.run_path(str(TOOL), run_name='__main__')

    output = ''.join(capsys.readouterr())
    assert '80 of 80 classes by name' in output
    assert 'Average Precision' in output
    predictions = pickle.loads((coco / 'out.pkl').read_bytes())
    assert len(predictions) == 2
    for i, prediction in enumerate(predictions):
        instances = prediction['pred_instances']
        scores, labels = expected_scores_and_labels(coco / f'{i}.png')
        order, own_order = scores.argsort(), instances['scores'].argsort()
        torch.testing.assert_close(instances['scores'][own_order], scores[order])
        assert torch.equal(instances['labels'][own_order], labels[order])
