"""The successor of docs/extending.md: nothing in the package knows it, and every tool takes it."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdetr.checkpoint import load_file
from tests.helpers.forked import run_tool

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'extending.md'
SMALL = {
    'model.backbone.norm_frozen': True,
    'model.neck.out_channels': 16,
    'model.bbox_head.transformer.num_heads': 2,
    'model.bbox_head.transformer.feedforward_channels': 16,
    'model.bbox_head.transformer.dropout': 0.1,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 16,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'test_dataloader.dataset.num_images': 8,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'val_dataloader.dataset.num_images': 8,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'train_cfg.max_epochs': 2,
    'param_scheduler.0.end': 2,
    'default_hooks.visualization.draw': False,
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """``my_detr`` with the page's files, beside ``configs``, as the page says."""
    root = tmp_path_factory.mktemp('extending')
    (root / 'configs').symlink_to(ROOT / 'configs')
    files: dict[str, str] = {}
    for block in re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.M | re.S):
        if match := re.match(r'# (\w+\.py)\n', block):
            name = match[1]
        files[name] = f'{files.get(name, "")}\n\n{block}'
    assert set(files) == {'toy_successor.py', 'toy_shapes.py'}
    for name, text in files.items():
        path = root / 'my_detr' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return root


def run(folder: Path, tool: str, *arguments: str) -> str:
    """Run a tool in the folder; returns what it printed and its log, if it wrote one."""
    before = set(folder.rglob('*.log'))
    printed = run_tool(tool, *arguments, folder=folder, path=folder / 'my_detr')
    logs = [path.read_text() for path in sorted(set(folder.rglob('*.log')) - before)]
    return ''.join([printed, *logs])


def overrides(**more: object) -> list[str]:
    return ['--cfg-options', *(f'{key}={value}' for key, value in {**SMALL, **more}.items())]


@pytest.fixture(scope='module')
def trained(folder):
    """A run of two epochs, and one that was stopped after the first and resumed."""
    config = 'my_detr/toy_shapes.py'
    printed = run(folder, 'train.py', config, '--work-dir', 'whole', *overrides())
    run(
        folder,
        'train.py',
        config,
        *('--work-dir', 'parts'),
        *overrides(**{'train_cfg.max_epochs': 1}),
    )
    resumed = run(
        folder,
        'train.py',
        config,
        *('--work-dir', 'parts', '--resume'),
        *overrides(),
    )
    assert 'resumed epoch: 1' in resumed
    return printed


def test_trains_with_every_loss(folder, trained):
    names = ('loss_count', 'denoising.loss_giou', 'd1.loss_cls', 'denoising.d0.loss_bbox')
    for name in names:
        assert re.search(rf'\b{re.escape(name)}: \d', trained), name
    state = load_file(folder / 'whole' / 'epoch_2.pth')
    assert 'bbox_head.transformer.decoder.box_embedding.layers.0.weight' in state['state_dict']


def test_resumed_run_ends_like_an_uninterrupted_one(folder, trained):
    whole, parts = (load_file(folder / name / 'epoch_2.pth') for name in ('whole', 'parts'))
    for name, value in whole['state_dict'].items():
        assert torch.equal(parts['state_dict'][name], value), name


def test_is_tested_and_infers(folder, trained):
    config = ['my_detr/toy_shapes.py', 'whole/epoch_2.pth']
    printed = run(folder, 'test.py', *config, '--work-dir', 'tested', *overrides())
    assert re.search(r'coco/bbox_mAP: +\d', printed)
    assert 'NEWLY INITIALISED' not in printed
    from PIL import Image

    Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(folder / 'grey.png')
    as_trained = ['whole/toy_shapes.py', 'whole/epoch_2.pth']
    run(folder, 'infer.py', 'grey.png', *as_trained, '--out-dir', 'out')
    assert list((folder / 'out').glob('**/grey*'))


def test_in_python(folder, trained, monkeypatch):
    """Its record keeps the count up to the caller, and testing sees no ground truth."""
    from mmdetr.apis import inference_detector, init_detector

    monkeypatch.syspath_prepend(folder / 'my_detr')
    monkeypatch.chdir(folder)
    toy = importlib.import_module('toy_successor')
    cfg = Config.fromfile('my_detr/toy_shapes.py')
    cfg.merge_from_dict(SMALL)
    model = init_detector(cfg, 'whole/epoch_2.pth', device='cpu')
    assert model.bbox_head.has_no_object_row is False
    sample = inference_detector(model, np.full((64, 64, 3), 90, np.uint8))
    assert sample.pred_num_objects.shape == ()
    assert len(sample.pred_instances.scores) == 10
    with torch.no_grad():
        prediction = model(torch.randn(2, 3, 64, 64))
    assert isinstance(prediction, toy.ToyPrediction)
    assert prediction.denoising is None
    assert prediction.logits.shape == (1, 2, 10, 3)


def test_denoising_does_not_leak(folder, monkeypatch):
    """The matched queries predict the same with and without ground truth."""
    monkeypatch.syspath_prepend(folder / 'my_detr')
    monkeypatch.chdir(folder)
    cfg = Config.fromfile('my_detr/toy_shapes.py')
    cfg.merge_from_dict({**SMALL, 'model.bbox_head.transformer.dropout': 0.0})
    from mmdetr.registry import MODELS
    from mmdetr.structures import SetTarget

    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    inputs = torch.randn(2, 3, 64, 64)
    targets = [SetTarget(torch.arange(n), torch.tensor([[0.5, 0.5, 0.2, 0.3]] * n)) for n in (1, 3)]
    with torch.no_grad():
        plain, seeing = model.network(inputs), model.network(inputs, None, targets)
    assert seeing.denoising.logits.shape == (3, 2, 3, 3)
    torch.testing.assert_close(seeing.logits, plain.logits)
    torch.testing.assert_close(seeing.bboxes, plain.bboxes)
