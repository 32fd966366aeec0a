"""Checkpoints with a mask head: converted, loaded into other models, started from."""

import json

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdetr import __version__
from mmdetr.checkpoint import convert, load_checkpoint, load_file, read_checkpoint
from mmdetr.datasets.coco_classes import COCO_PANOPTIC_CATEGORY_IDS, COCO_PANOPTIC_CLASSES
from mmdetr.registry import MODELS
from tests.helpers.reference_masks import model_config, read_case

HEAD = 'bbox_head.cls_branch'


def build(num_classes: int, masks: bool = True, seed: int = 0) -> torch.nn.Module:
    """A small model with ResNet-18."""
    init_default_scope('mmdetr')
    torch.manual_seed(seed)
    meta, _ = read_case('panoptic_frozen')
    meta['args'] |= dict(backbone='resnet18', enc_layers=1, dec_layers=1, num_queries=3)
    config = model_config(meta)
    head = config['bbox_head'] | dict(num_classes=num_classes)
    if not masks:
        config.pop('trained_parts')
        for name in ('mask_head', 'panoptic'):
            head.pop(name)
        for name in ('loss_mask', 'loss_dice'):
            head['criterion'].pop(name)
        head['type'] = 'DETRHead'
        head['criterion']['type'] = 'SetCriterion'
    return MODELS.build(config | dict(bbox_head=head))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A file of ours with the 133 classes of COCO panoptic."""
    folder = tmp_path_factory.mktemp('panoptic')
    meta = dict(mmdetr_version=__version__, dataset_meta=dict(classes=COCO_PANOPTIC_CLASSES))
    torch.save(dict(meta=meta, state_dict=build(133).state_dict()), folder / 'ours.pth')
    convert(read_checkpoint(folder / 'ours.pth'), folder / 'authors.pth', 'facebook')
    return folder


def test_to_every_format_and_back(folder):
    ours = load_file(folder / 'ours.pth')['state_dict']
    authors = load_file(folder / 'authors.pth')['model']
    # A row per category id, no-object last, and what was added can never win.
    assert authors['detr.class_embed.weight'].shape == (251, 128)
    rows = authors['detr.class_embed.bias']
    assert torch.equal(rows[list(COCO_PANOPTIC_CATEGORY_IDS)], ours[f'{HEAD}.bias'][:-1])
    assert rows[0] == rows[249] == -1e4
    assert {name.partition('.')[0] for name in authors} == {'detr', 'mask_head', 'bbox_attention'}

    (folder / 'hf').mkdir()
    hub = folder / 'hf' / 'model.safetensors'
    convert(read_checkpoint(folder / 'authors.pth'), hub, 'huggingface')
    config = json.loads((folder / 'hf' / 'config.json').read_text())
    assert config['architectures'] == ['DetrForSegmentation']
    assert config['id2label']['187'] == 'sky-other-merged'
    convert(read_checkpoint(hub), folder / 'back.pth', 'mmdetr')
    back = load_file(folder / 'back.pth')['state_dict']
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], value) for name, value in ours.items())


def test_published_rows_go_by_name(folder):
    model = build(133, seed=1)
    load_checkpoint(model, folder / 'authors.pth', strict=True, classes=COCO_PANOPTIC_CLASSES)
    for name, value in load_file(folder / 'ours.pth')['state_dict'].items():
        assert torch.equal(model.state_dict()[name], value), name


def test_row_per_category_id_stays_possible(folder):
    model = build(250, seed=1)
    load_checkpoint(model, folder / 'authors.pth', strict=True)
    rows = load_file(folder / 'authors.pth')['model']['detr.class_embed.weight']
    assert torch.equal(model.bbox_head.cls_branch.weight, rows)


def report_of(model, path, tmp_path, **options) -> str:
    logger = MMLogger(f'report{tmp_path.name}', log_file=str(tmp_path / 'log.txt'))
    load_checkpoint(model, path, logger=logger, **options)
    for handler in logger.handlers:
        handler.flush()
    return (tmp_path / 'log.txt').read_text()


def test_box_model_takes_its_part(folder, tmp_path):
    model = build(133, masks=False, seed=1)
    text = report_of(model, folder / 'authors.pth', tmp_path, classes=COCO_PANOPTIC_CLASSES)
    assert 'the file has a mask head, the model none: only its boxes are loaded' in text
    ours = load_file(folder / 'ours.pth')['state_dict']
    assert all(torch.equal(value, ours[name]) for name, value in model.state_dict().items())


def test_box_file_starts_the_training_of_masks(tmp_path):
    boxes = build(133, masks=False).state_dict()
    path = tmp_path / 'boxes.pth'
    torch.save(dict(meta=dict(mmdetr_version=__version__), state_dict=boxes), path)
    model = build(133, seed=1)
    before = {n: p.clone() for n, p in model.bbox_head.mask_head.state_dict().items()}
    text = report_of(model, path, tmp_path)
    assert 'the file has no mask head: its box model is the start of training one' in text
    assert all(torch.equal(model.state_dict()[name], value) for name, value in boxes.items())
    after = model.bbox_head.mask_head.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
