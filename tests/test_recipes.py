"""What is chosen for a training on a folder of data, and how it is written down."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmdetr.checkpoint import save_file
from mmdetr.config.package_configs import package_configs
from mmdetr.config.reading import load_config
from mmdetr.recipes import Machine, Options, RecipeError, choose_base, prepare, weights
from mmdetr.recipes.child_config import config_text, format_value
from mmdetr.recipes.choose import WITHOUT_DETECTOR, fine_tuning_candidates
from mmdetr.recipes.result import best_checkpoint
from mmdetr.recipes.schedule import accumulated_batches, epochs_for, schedule_changes
from mmdetr.recipes.worth import MEASURED, describe_worth
from mmdetr.registry import MODELS
from tests.helpers.foreign_data import picture, write

CPU, GPU = Machine(0, 2), Machine(24, 8)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: Any) -> Path:
    """Ten photographs of two classes, in YOLO's form."""
    monkeypatch.chdir(tmp_path)
    for index in range(10):
        picture(tmp_path / f'photos/images/{index}.jpg')
        write(tmp_path / f'photos/labels/{index}.txt', '0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.2 0.2')
    write(tmp_path / 'photos/data.yaml', 'names: [cat, dog]')
    return tmp_path / 'photos'


def test_table() -> None:
    chosen = {
        (images, machine.gpu_gib): choose_base(images, machine).config
        for images in (5, 500, 5_000, 50_000)
        for machine in (CPU, GPU, Machine(8, 4))
    }
    small = 'rtdetrv2_mobilenetv2_1xb4-40e_custom'
    assert {name for (_, memory), name in chosen.items() if not memory} == {small}
    assert chosen[500, 24] == chosen[5, 8] == small
    assert chosen[5_000, 24] == chosen[50_000, 8] == 'rtdetrv2_r18vd_8xb2-120e_coco'
    assert chosen[50_000, 24] == 'rtdetrv2_r50vd_8xb2-72e_coco'
    limits = [choose_base(images, Machine(12, 8)).images for images in (999, 1_000, 9_999, 10_000)]
    assert limits == [0, 1_000, 1_000, 10_000]
    assert {base.config for base in WITHOUT_DETECTOR} <= set(package_configs())


@pytest.mark.parametrize(('images', 'epochs'), [(10, 150), (292, 41), (1000, 12), (5000, 12)])
def test_epochs_follow_the_number_of_images(images: int, epochs: int) -> None:
    """3,000 steps of 4 images, with 12 epochs at least and 150 at most."""
    assert epochs_for(3_000, images, 4) == epochs


@pytest.mark.parametrize('name', sorted({base.config for base in WITHOUT_DETECTOR}))
@pytest.mark.parametrize('epochs', [1, 2, 37])
def test_schedules_are_stretched(name: str, epochs: int) -> None:
    cfg = load_config(name)
    changes = schedule_changes(cfg, epochs, num_images=100)
    iterations = epochs * math.ceil(100 / cfg.train_dataloader.batch_size)
    assert changes['train_cfg']['max_epochs'] == epochs
    assert 1 <= changes['train_cfg']['val_interval'] <= epochs
    for old, new in zip(cfg.param_scheduler, changes['param_scheduler'], strict=True):
        assert new['type'] == old['type']
        if new.get('by_epoch', True):
            assert 0 <= new['begin'] < new['end'] == epochs
            if epochs == 37:
                assert new['begin'] / 37 == pytest.approx(old['begin'] / old['end'], abs=0.02)
        else:
            assert new['end'] == max(1, min(old['end'], iterations // 10))
    for hook in changes.get('custom_hooks', ()):
        if 'switch_epoch' in hook:
            assert hook['switch_epoch'] == max(
                1, epochs - cfg.train_cfg.max_epochs + 117 if '120e' in name else epochs - 1
            )


def test_milestones_and_iterations() -> None:
    cfg = load_config('detr_r50_1xb4-30e_custom')
    changes = schedule_changes(cfg, 100, 300)
    assert changes['param_scheduler'][0]['milestones'] == [67]  # 20 of 30
    assert accumulated_batches(cfg) == 4
    with pytest.raises(RecipeError, match='trains by iterations'):
        schedule_changes(dict(train_cfg=dict(max_iters=5), train_dataloader={}), 1, 1)


def test_batch_of_the_learning_rate() -> None:
    """2 images a step of a config for 16."""
    assert accumulated_batches(load_config('dino_4scale_r50_8xb2-12e_coco')) == 8
    stated = dict(train_dataloader=dict(batch_size=4), optim_wrapper=dict(accumulative_counts=3))
    assert accumulated_batches(stated) == 3


def test_a_config_reads_as_it_was_written(tmp_path: Path) -> None:
    value = dict(
        a=dict(
            b=[dict(type='X', numbers=[0.5, 1, None, True], name='x' * 40)],
            c='with \'quotes\' and "more"',
        ),
        long=['x' * 30, 'y' * 30, 'z' * 30, dict(_delete_=True, name='n' * 40)],
    )
    text = config_text(['One.', 'Two.'], './none.py', [('First\nsecond', value), ('Empty', {})])
    assert text.startswith("# One.\n# Two.\n_base_ = './none.py'\n\n# First\n# second\na = dict(\n")
    assert 'Empty' not in text
    assert max(map(len, text.splitlines())) <= 100
    scope: dict[str, Any] = {}
    exec(text, scope)
    assert {key: scope[key] for key in value} == value
    assert format_value(dict(a=1)) == 'dict(a=1)'


def test_prepare_writes_a_short_config(photos: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr('mmdetr.recipes.start.this_machine', lambda: CPU)
    file = prepare('photos', Options(weights='none', epochs=3))
    assert file == Path('work_dirs/photos/photos.py')
    said = capsys.readouterr().out
    assert 'config: rtdetrv2_mobilenetv2_1xb4-40e_custom, since no GPU: the small' in said
    assert 'length: 3 epochs, 6 steps of 4 images' in said
    assert 'worth: on 292 photographs of blood cells (BCCD), one seed, DETR of 3.9 M par' in said
    # Among others: from scratch, on so few.
    assert '\nwarning: training from scratch on 8 images' in said
    assert re.search(r'\nchecked: 0 errors, \d warnings\n', said)
    chosen, data = (file.parent / 'preparation.txt').read_text().split('\n\n')
    assert [line.partition(':')[0] for line in chosen.splitlines()] == [
        *('config', 'weights', 'worth', 'length')
    ]
    assert data.startswith('YOLO: 10 images of photos\n')
    assert all(line in said for line in data.splitlines())
    text = file.read_text()
    assert "_base_ = 'mmdetr::rtdetrv2_mobilenetv2_1xb4-40e_custom.py'" in text
    assert len(text.splitlines()) < 60
    cfg = load_config(str(file))
    assert cfg.model.bbox_head.num_classes == 2
    backbone = cfg.model.backbone
    assert (backbone.pretrained, backbone.norm_frozen, backbone.frozen_stages) == (False, False, -1)
    here = file.parent.resolve()
    for part, loader in (('train', 'train'), ('val', 'val'), ('val', 'test')):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert dataset.ann_file == str(here / f'annotations/{part}.json')
        assert dataset.data_prefix.img == f'{photos}/images/'
    assert cfg.work_dir == str(here)
    assert cfg.train_cfg.max_epochs == 3

    # A second start does not write over what may be edited.
    with pytest.raises(RecipeError, match=r'photos.py is there already: --resume goes on with it'):
        prepare('photos', Options())
    file.write_text(text.replace('max_epochs=3', 'max_epochs=5'))
    assert load_config(str(prepare('photos', Options(), resume=True))).train_cfg.max_epochs == 5


def test_a_start_that_broke_off_is_begun_again(photos: Path) -> None:
    write(Path('work_dirs/photos/annotations/train.json'), 'half')
    assert prepare('photos', Options(weights='none')).is_file()


def test_data_that_the_check_refuses_leave_no_config(photos: Path) -> None:
    """Pictures whose header and end are right, and whose pixels are not."""
    for file in (photos / 'images').iterdir():
        Image.effect_noise((64, 48), 50).save(file.with_suffix('.png'))
        file.unlink()
    for file in (photos / 'images').iterdir():
        content = bytearray(file.read_bytes())
        content[200:260] = bytes(60)
        file.write_bytes(content)
    with pytest.raises(RecipeError, match=r'cannot be trained on: .*images decoded cannot be used'):
        prepare('photos', Options(weights='none'))
    assert not Path('work_dirs/photos/photos.py').exists()


@pytest.mark.parametrize(('pixels', 'left'), [('auto', 3.0), ('edges', 3.0), ('inclusive', 2.0)])
def test_voc_pixels(tmp_path: Path, monkeypatch: Any, pixels: Any, left: float) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(5):
        picture(tmp_path / f'cells/images/{index}.jpg')
        box = '<xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>30</ymax>'
        write(
            tmp_path / f'cells/annotations_voc/{index}.xml',
            f'<annotation><object><name>RBC</name><bndbox>{box}</bndbox></object></annotation>',
        )
    prepare('cells', Options(weights='none', voc_pixels=pixels))
    content = json.loads(Path('work_dirs/cells/annotations/train.json').read_text())
    assert {each['bbox'][0] for each in content['annotations']} == {left}


SMALL = 'rtdetrv2_mobilenetv2_1xb4-40e_custom'


@pytest.mark.parametrize(
    ('config', 'start', 'number', 'steps', 'said'),
    [
        # What was measured last at or before a quarter, half and all of the steps.
        (
            SMALL,
            'backbone',
            292,
            2993,
            '3 seeds, this model .* 0.824, 0.877, 0.889 after 584, 1168',
        ),
        (
            SMALL,
            'backbone',
            292,
            100,
            'had bbox_mAP_50 0.824 after 584 steps .* as many images, 292',
        ),
        (SMALL, 'backbone', 40, 3000, 'You have fewer images, 40: expect less. Other data differ$'),
        (SMALL, 'none', 2000, 9, 'DETR of 3.9 .* bbox_mAP 0.006 after 438 .* more images, 2000'),
        ('dino_4scale_r50_8xb2-12e_coco', 'backbone', 292, 500, 'DINO of 3.0 M .* 0.102, 0.486'),
        ('dfine_n_8xb16-160e_coco', 'backbone', 292, 500, '^this model was not m.*; on .* RT-DETR'),
        ('/x/my_model.py', 'detector', 292, 500, '^a start from a whole detector was not meas'),
    ],
)
def test_worth(config: str, start: Any, number: int, steps: int, said: str) -> None:
    assert re.search(said, describe_worth(config, start, number, steps))


def test_seeds_are_averaged_where_all_were_measured(monkeypatch: Any) -> None:
    early, late = dict(steps=10, bbox_mAP=0.2), dict(steps=20, bbox_mAP=0.3)
    shared: dict[str, Any] = dict(name='x', family='DETR', config='c', start='backbone')
    shared |= {'from': 'y', 'parameters': 1}
    curves = [early, late], [dict(late, bbox_mAP=0.5)]
    runs = [dict(shared, seed=seed, curve=curve) for seed, curve in enumerate(curves)]
    measured = dict(data='dogs', images=10, recommended='c', runs=runs)
    monkeypatch.setattr('mmdetr.recipes.worth._measured', lambda: measured)
    said = 'mean of 2 seeds, this model from y had bbox_mAP 0.400 after 20 steps.'
    assert said in describe_worth('c', 'backbone', 10, 30)


def test_measured_numbers_are_those_of_their_sources() -> None:
    measured = json.loads(MEASURED.read_text())
    for run in measured['runs']:
        source = Path(__file__).parents[1] / run['source']
        if source.suffix == '.py':
            assert f'bbox_mAP {run["curve"][-1]["bbox_mAP"]}' in source.read_text()
            continue
        (theirs,) = (
            each
            for each in json.loads(source.read_text())['runs']
            if (each['name'], each['seed']) == (run['name'], run['seed'])
        )
        steps = math.ceil(measured['images'] / measured['batch'])
        for ours, point in zip(run['curve'], theirs['curve'], strict=True):
            assert ours['steps'] == point['epoch'] * steps
            assert ours['minutes'] == pytest.approx(point['minutes'], abs=0.051)
            for key in ('bbox_mAP', 'bbox_mAP_50'):
                assert ours[key] == pytest.approx(point[key], abs=0.00051)


def test_a_coco_config_gets_the_data_and_its_metric(photos: Path) -> None:
    file = prepare('photos', Options(weights='none', model='dino_4scale_r50_8xb2-12e_coco'))
    cfg = load_config(str(file))
    assert cfg.val_evaluator.ann_file.endswith('/annotations/val.json')
    assert cfg.test_evaluator.ann_file.endswith('/annotations/val.json')
    assert cfg.optim_wrapper.accumulative_counts == 8
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert 'denoising' in cfg.model.bbox_head  # as the base has it


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(model='rtdetr_r18'), '--model: config not found: rtdetr_r18'),
        (dict(model='detr_tiny_1xb32-12e_shapes'), 'has no model, or trains on no CocoDataset'),
        (dict(weights='none.pth'), r'--weights: .*none.pth'),
    ],
)
def test_what_cannot_be_prepared(photos: Path, options: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        prepare('photos', Options(**options))
    assert not Path('work_dirs/photos/photos.py').exists()


def test_backbone_of_a_file(photos: Path, monkeypatch: Any) -> None:
    """timm's names of a whole classifier; another model's are refused with what is missing."""
    timm = pytest.importorskip('timm')
    save_file(timm.create_model('mobilenetv2_100').state_dict(), 'mobilenet.pth')
    file = prepare('photos', Options(weights='mobilenet.pth'))
    assert load_config(str(file)).model.backbone.pretrained == str(Path('mobilenet.pth').resolve())
    save_file(timm.create_model('resnet18').state_dict(), 'resnet.pth')
    with pytest.raises(
        RecipeError, match='neither a detector that is known nor a backbone mobilenetv2_100: '
    ):
        prepare('photos', Options(weights='resnet.pth', work_dir='other'))


def test_detector_of_a_file(photos: Path) -> None:
    name = 'dfine_n_8xb16-160e_coco'
    content = MODELS.build(load_config(name).model).state_dict()
    save_file(dict(state_dict=content, meta=dict(mmdetr_version='0')), 'dfine.pth')
    cfg = load_config(str(prepare('photos', Options(weights='dfine.pth', epochs=2))))
    assert cfg.load_from == str(Path('dfine.pth').resolve())
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.model.backbone.get('init_cfg') is None


@pytest.mark.parametrize(
    ('file', 'architecture', 'name'),
    [
        ('rtdetr_r18vd.pth', 'RT-DETR', 'rtdetrv2_r18vd_8xb2-120e_coco'),
        ('detr-r50-e632da11.pth', 'DETR', 'detr_r50_1xb4-30e_custom'),
        ('detr-r101-dc5-a2e86def.pth', 'DETR', 'detr_r101-dc5_16xb4-500e_coco'),
    ],
)
def test_published_detectors_lead_to_their_configs(file: str, architecture: str, name: str) -> None:
    with torch.device('meta'):
        content = MODELS.build(load_config(name).model).state_dict()
    assert weights.find_config_of(file, content, architecture) == name
    with pytest.raises(RecipeError, match='of no config of the package'):
        weights.find_config_of(file, dict(list(content.items())[::3]), architecture)


def test_without_timm_published_detectors_are_found(monkeypatch: Any) -> None:
    name = 'rtdetrv2_r18vd_8xb2-120e_coco'
    with torch.device('meta'):
        content = MODELS.build(load_config(name).model).state_dict()
    monkeypatch.setitem(sys.modules, 'timm', None)
    assert weights.find_config_of('rtdetr.pth', content, 'RT-DETR') == name


def test_candidates_have_one_config_of_each_published_model() -> None:
    names = fine_tuning_candidates()
    assert {'dino_4scale_r50_8xb2-12e_coco', 'dfine_n_8xb16-160e_coco'} <= set(names)
    assert not [name for name in names if 'tiny' in name or 'panoptic' in name]
    assert names.index('detr_r50_1xb4-30e_custom') < names.index('detr_r50_8xb2-150e_coco')


def test_without_a_network_one_sentence(photos: Path, monkeypatch: Any) -> None:
    pytest.importorskip('timm')
    monkeypatch.setattr(weights, '_reachable', lambda address: False)
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *_: None)
    monkeypatch.setattr('mmdetr.recipes.start.this_machine', lambda: CPU)
    with pytest.raises(RecipeError) as caught:
        prepare('photos', Options())
    said = str(caught.value)
    assert 'fetch https://huggingface.co/timm/mobilenetv2_100' in said
    assert 'give it with --weights FILE, or --weights none to train from scratch' in said
    assert '\n' not in said
    # Where the hub answers, or the file is there, nothing is fetched before the training.
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *_: 'file')
    prepare('photos', Options())


def test_best_checkpoint(tmp_path: Path) -> None:
    assert best_checkpoint(tmp_path) is None
    last = write(tmp_path / 'epoch_2.pth', 'x')
    write(tmp_path / 'last_checkpoint', str(last))
    assert best_checkpoint(tmp_path) == last
    best = write(tmp_path / 'best_coco_bbox_mAP_epoch_1.pth', 'x')
    assert best_checkpoint(tmp_path) == best
