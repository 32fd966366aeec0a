import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdetr.apis import inference_detector, init_detector
from mmdetr.checkpoint import CheckpointError, load_file
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.registry import MODELS
from mmdetr.structures import cxcywh_to_xyxy

INFER = Path(__file__).parents[2] / 'tools' / 'infer.py'
CLASSES = ('circle', 'square', 'star')

CONFIG = dict(
    default_scope='mmdetr',
    model=dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=64),
        backbone=dict(
            type='ResNet',
            depth=18,
            init_cfg=dict(type='Pretrained', checkpoint='nowhere/resnet18.pth'),
        ),
        neck=dict(type='InputProjection', out_channels=32),
        bbox_head=dict(
            type='DETRHead',
            num_classes=3,
            num_queries=6,
            positional_encoding=dict(type='SinePositionalEncoding', normalize=True),
            transformer=dict(
                type='DETRTransformer',
                num_heads=2,
                num_encoder_layers=1,
                num_decoder_layers=1,
                feedforward_channels=32,
            ),
        ),
    ),
    test_dataloader=dict(
        dataset=dict(
            type='CocoDataset',
            ann_file='nowhere.json',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(100, 96), keep_ratio=True),
                dict(type='PackDetInputs'),
            ],
        ),
    ),
)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config file, a checkpoint and a folder of images."""
    folder = tmp_path_factory.mktemp('inference')
    Config(CONFIG).dump(folder / 'config.py')
    torch.manual_seed(0)
    model = MODELS.build(dict(CONFIG['model'], _scope_='mmdetr'))
    meta = dict(dataset_meta=dict(classes=CLASSES, cat_ids=(4, 5, 9)))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'model.pth')
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for name, size in (('b.png', (60, 80)), ('a.png', (90, 40)), ('c.bmp', (64, 64))):
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / name)
    return folder


@pytest.fixture(scope='module')
def detector(files):
    return init_detector(files / 'config.py', files / 'model.pth', device='cpu')


def same(first, second):
    first, second = first.pred_instances, second.pred_instances
    return all(torch.equal(first[key], second[key]) for key in ('bboxes', 'scores', 'labels'))


# --- init_detector ---


def test_model_is_ready(detector, files):
    assert not detector.training
    assert detector.dataset_meta['classes'] == CLASSES
    assert detector.dataset_meta['cat_ids'] == (4, 5, 9)
    assert detector.cfg.test_dataloader.dataset.ann_file == 'nowhere.json'
    saved = torch.load(files / 'model.pth')['state_dict']
    assert all(torch.equal(value, saved[name]) for name, value in detector.state_dict().items())
    # Nothing to fetch.
    assert detector.backbone.init_cfg is None


def test_config_is_not_changed_and_options_apply():
    config = Config(CONFIG)
    options = {'model.bbox_head.num_queries': 4}
    model = init_detector(config, device='cpu', cfg_options=options)
    assert model.bbox_head.query_embedding.weight.shape[0] == 4
    assert config.model.bbox_head.num_queries == 6
    assert config.model.backbone.init_cfg.type == 'Pretrained'


def test_classes_without_checkpoint_come_from_the_config():
    config = Config(CONFIG)
    assert init_detector(config, device='cpu').dataset_meta == {}
    config.test_dataloader.dataset.metainfo = dict(classes=('x', 'y', 'z'))
    assert init_detector(config, device='cpu').dataset_meta['classes'] == ('x', 'y', 'z')
    config.test_dataloader.dataset = dict(type='ShapesDataset', num_images=2)
    classes = init_detector(config, device='cpu').dataset_meta['classes']
    assert classes == ('circle', 'rectangle', 'triangle')


def test_wrong_checkpoints_are_refused(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        init_detector(files / 'config.py', tmp_path / 'gone.pth')
    # A part of the model would stay random.
    with pytest.raises(CheckpointError, match=r'do not belong together: no values for 18 tensors'):
        init_detector(
            files / 'config.py',
            files / 'model.pth',
            cfg_options={'model.bbox_head.transformer.num_decoder_layers': 2},
        )


# --- inference_detector ---


def test_equals_the_steps_by_hand(detector, files):
    """Read, resize, normalise, run, scale: each with Pillow and torch alone."""
    path = files / 'images' / 'b.png'
    image = Image.open(path).resize((100, 75), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    inputs = torch.zeros(1, 3, 128, 128)
    inputs[0, :, :75, :100] = (pixels - mean) / std
    mask = torch.ones(1, 128, 128, dtype=torch.bool)
    mask[:, :75, :100] = False
    with torch.no_grad():
        logits, bboxes = detector(inputs, mask)
    scores, labels = logits[-1, 0].softmax(-1)[:, :-1].max(-1)
    expected = cxcywh_to_xyxy(bboxes[-1, 0]) * torch.tensor([80, 60, 80, 60])

    result = inference_detector(detector, path)
    assert result.ori_shape == (60, 80)
    assert result.img_shape == (75, 100)
    pred = result.pred_instances
    torch.testing.assert_close(pred.bboxes, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(pred.scores, scores)
    assert torch.equal(pred.labels, labels)
    assert not pred.bboxes.requires_grad


def test_paths_arrays_and_sequences_agree(detector, files):
    paths = [files / 'images' / name for name in ('a.png', 'b.png', 'c.bmp')]
    arrays = [cv2.imread(str(path)) for path in paths]
    together = inference_detector(detector, [str(paths[0]), arrays[1], paths[2]])
    assert [result.img_id for result in together] == [0, 1, 2]
    for path, array, result in zip(paths, arrays, together, strict=True):
        # Whatever came before: no image pads another.
        assert same(inference_detector(detector, path), result)
        assert same(inference_detector(detector, array), result)
    assert inference_detector(detector, []) == []
    lazily = inference_detector(detector, (Image.open(path) for path in paths))
    assert all(map(same, lazily, together))


def test_pipelines_without_a_loading_step(detector, files):
    """As of a generated dataset, whose images never were files."""
    path = files / 'images' / 'a.png'
    expected = inference_detector(detector, path)
    detector.cfg = detector.cfg.copy()
    pipeline = detector.cfg.test_dataloader.dataset.pipeline
    detector.cfg.test_dataloader.dataset.pipeline = pipeline[2:]
    assert same(inference_detector(detector, path), expected)


def test_bad_images_are_named(detector, tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no image')
    for path in (broken, tmp_path / 'gone.jpg'):
        with pytest.raises(UnreadableImageError, match=path.name):
            inference_detector(detector, path)
        with pytest.raises(UnreadableImageError, match=f'image 1 of the list: .*{path.name}'):
            inference_detector(detector, [np.zeros((5, 5, 3), np.uint8), path])
    with pytest.raises(TypeError, match='image 0 of the list: no image: list'):
        inference_detector(detector, [['a.png']])
    with pytest.raises(TypeError, match='no image: NoneType; taken is'):
        inference_detector(detector, None)


# --- tools/infer.py ---


@pytest.fixture
def infer(monkeypatch, files):
    def run(images, *options):
        argv = [str(INFER), str(images), str(files / 'config.py'), str(files / 'model.pth')]
        monkeypatch.setattr(sys, 'argv', [*argv, '--device', 'cpu', *map(str, options)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(INFER), run_name='__main__')
        return exit_info.value.code

    return run


def test_infer_writes_pictures_and_json(infer, detector, files, tmp_path, capsys):
    assert infer(files / 'images', '--out-dir', tmp_path, '--score-thr', 0) == 0
    records = json.loads((tmp_path / 'predictions.json').read_text())
    assert [Path(record['file']).name for record in records] == ['a.png', 'b.png', 'c.bmp']
    for record in records:
        pred = inference_detector(detector, record['file']).pred_instances
        pred = pred[pred.scores.argsort(descending=True)]
        assert record['boxes'] == pred.bboxes.tolist()
        assert record['scores'] == pred.scores.tolist()
        assert record['labels'] == pred.labels.tolist()
        assert record['names'] == [CLASSES[label] for label in record['labels']]
    assert sorted(path.name for path in tmp_path.glob('*.png')) == ['a.png', 'b.png', 'c.bmp.png']
    assert '3 images, 18 detections' in capsys.readouterr().out

    threshold = records[1]['scores'][2]
    assert infer(files / 'images' / 'b.png', '--out-dir', tmp_path, '--score-thr', threshold) == 0
    (record,) = json.loads((tmp_path / 'predictions.json').read_text())
    assert record['boxes'] == records[1]['boxes'][:3]


def test_without_threshold_the_operating_point_decides(infer, detector, files, tmp_path, capsys):
    assert (detector.score_threshold, detector.operating_point.measured) == (0.3, False)
    image = files / 'images' / 'b.png'
    assert infer(image, '--out-dir', tmp_path) == 0
    out = capsys.readouterr().out
    assert out.count('score threshold 0.3: the checkpoint states no operating point') == 1

    found = inference_detector(detector, image).pred_instances
    best = found[int(found.scores.argmax())]
    name, score = CLASSES[int(best.labels)], float(best.scores)
    point = dict(threshold=0.0, precision=0.5, recall=0.5, f1=0.5, num_objects=3)
    meta = dict(load_file(files / 'model.pth')['meta'])
    meta['operating_point'] = dict(
        everything=dict(point, name='all', threshold=2.0),
        classes=[dict(point, name=name, threshold=score - 1e-6)],
        iou=0.5,
        num_images=3,
    )
    content = dict(load_file(files / 'model.pth'), meta=meta)
    torch.save(content, tmp_path / 'with_point.pth')
    model = init_detector(files / 'config.py', tmp_path / 'with_point.pth', 'cpu')
    assert model.score_threshold == 2.0
    assert model.operating_point.threshold_of(name) == score - 1e-6
    sys.argv[3:4] = [str(tmp_path / 'with_point.pth')]
    with pytest.raises(SystemExit):
        runpy.run_path(str(INFER), run_name='__main__')
    (record,) = json.loads((tmp_path / 'predictions.json').read_text())
    assert (record['scores'], record['names']) == ([score], [name])
    assert 'best F1 on 3 validation images' in capsys.readouterr().out


def test_infer_goes_on_after_unreadable_files(infer, tmp_path, capsys):
    folder = tmp_path / 'in'
    (folder / 'a').mkdir(parents=True)
    pixels = np.zeros((20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'x.png')
    Image.fromarray(pixels).save(folder / 'a' / 'x.png')
    (folder / 'broken.png').write_bytes(b'no image')
    assert infer(folder / '**' / '*.png', '--out-dir', tmp_path / 'out') == 1
    printed = capsys.readouterr()
    assert 'broken.png' in printed.err
    assert '2 images, 0 detections' in printed.out
    assert '1 unreadable' in printed.out
    # Same name, different folders.
    assert (tmp_path / 'out' / 'x.png').is_file()
    assert (tmp_path / 'out' / 'a' / 'x.png').is_file()


def test_infer_names_what_it_passes_over_and_loses_no_picture(infer, tmp_path, capsys):
    folder = tmp_path / 'in'
    (folder / 'sub').mkdir(parents=True)
    for name in ('a.gif', 'a.gif.png', 'sub/a.gif', 'sub/A.PNG'):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / name)
    (folder / 'notes.txt').touch()
    assert infer(folder, '--out-dir', folder / 'out') == 0
    printed = capsys.readouterr().out
    assert f'passed over 1 files that are no images: {folder}/notes.txt' in printed
    assert '4 images' in printed
    pictures = ['a.gif.png', 'a.gif.png.png', 'sub/A.PNG', 'sub/a.gif.png']
    found = [path for path in (folder / 'out').rglob('*') if path.suffix.lower() == '.png']
    assert sorted(path.relative_to(folder / 'out').as_posix() for path in found) == pictures
    # Once more: what it made is no input.
    assert infer(folder, '--out-dir', folder / 'out') == 0
    assert '4 images' in capsys.readouterr().out


def test_infer_takes_a_url(infer, files, tmp_path, monkeypatch):
    content = (files / 'images' / 'a.png').read_bytes()
    monkeypatch.setattr('mmdetr.apis.images._fetch', lambda url: content)
    url = 'https://example.org/photos/a.webp?size=1'
    assert infer(url, '--out-dir', tmp_path) == 0
    (record,) = json.loads((tmp_path / 'predictions.json').read_text())
    assert record['file'] == url
    assert (tmp_path / 'a.webp.png').is_file()


def test_infer_refuses_what_makes_no_sense(infer, files, tmp_path):
    assert 'no image found' in infer(tmp_path / '*.png')
    before = (files / 'images' / 'a.png').read_bytes()
    assert 'choose another --out-dir' in infer(files / 'images', '--out-dir', files / 'images')
    assert (files / 'images' / 'a.png').read_bytes() == before
