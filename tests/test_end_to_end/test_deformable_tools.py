"""Deformable DETR and DINO through the tools: train, resume, test, infer."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdetr.checkpoint import load_file

from .test_extending import SMALL, run

ROOT = Path(__file__).parents[2]
CHANGES = {
    **{key: value for key, value in SMALL.items() if not key.startswith('model.')},
    'model.backbone.norm_frozen': True,
    'model.neck.out_channels': 32,
    'model.bbox_head.transformer.num_heads': 2,
    'model.bbox_head.transformer.feedforward_channels': 16,
    'model.bbox_head.transformer.dropout': 0.1,
}


@pytest.mark.slow
@pytest.mark.parametrize('name', ['deformable_detr_tiny', 'dino_tiny'])
def test_trains_resumes_tests_and_infers(name: str, tmp_path: Path) -> None:
    config = str(ROOT / 'configs' / f'{name}_1xb32-12e_shapes.py')

    def train(folder: str, epochs: int, *more: str) -> str:
        changes = {**CHANGES, 'train_cfg.max_epochs': epochs}
        options = ['--cfg-options', *(f'{key}={value}' for key, value in changes.items())]
        return run(tmp_path, 'train.py', config, '--work-dir', folder, *more, *options)

    printed = train('whole', 2)
    if name == 'dino_tiny':
        for loss in ('enc_loss_cls', 'dn_loss_bbox', 'd1.dn_loss_giou'):
            assert re.search(rf'\b{re.escape(loss)}: \d', printed), loss
    train('parts', 1)
    assert 'resumed epoch: 1' in train('parts', 2, '--resume')
    whole, parts = (load_file(tmp_path / each / 'epoch_2.pth') for each in ('whole', 'parts'))
    for key, value in whole['state_dict'].items():
        assert torch.equal(parts['state_dict'][key], value), key

    trained = ['whole/' + Path(config).name, 'whole/epoch_2.pth']
    tested = run(tmp_path, 'test.py', *trained, '--work-dir', 'tested')
    assert re.search(r'coco/bbox_mAP: +\d', tested)
    Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(tmp_path / 'grey.png')
    run(tmp_path, 'infer.py', 'grey.png', *trained, '--out-dir', 'out')
    assert list((tmp_path / 'out').glob('**/grey*'))
