import json

import _coco_data
import _pipelines
import numpy as np
import pytest
from PIL import Image

from mmdetr.datasets.transforms import Resize


@pytest.fixture
def small_photographs(monkeypatch):
    """Small pictures in place of those of COCO's size: the pipelines enlarge them all the same."""
    monkeypatch.setattr(_coco_data, 'PHOTOGRAPH_SIZES', ((64, 48), (48, 64), (60, 36)))


@pytest.mark.usefixtures('small_photographs')
def test_tiny_run(run_benchmark, tmp_path, capsys):
    run_benchmark('data_loading.py', '--num-images', 2, '--repeats', 1)
    content = json.loads(next(tmp_path.glob('data_loading_*.json')).read_text())
    assert content['data'].startswith('generated')
    for pipeline in ('train', 'test'):
        result = content[pipeline]
        assert result['images'] == 2
        for setting in ('one process', 'one worker'):
            assert set(result[setting]) == {'authors', 'ours', 'ours, not normalised'}
            assert result[setting]['authors']['ratio'] == [1, 1, 1]
            assert result[setting]['ours']['images_per_second'] > 0
    printed = capsys.readouterr().out
    assert 'train pipeline: 2 images are the same' in printed
    assert 'test pipeline: 2 images are the same' in printed


@pytest.mark.usefixtures('small_photographs')
def test_other_pixels_end_the_run(run_benchmark, monkeypatch):
    resize = Resize._resize_img

    def off_by_one(self, results):
        resize(self, results)
        results['img'][0, 0, 0] ^= 1

    monkeypatch.setattr(Resize, '_resize_img', off_by_one)
    with pytest.raises(SystemExit, match=r'error: pixels of images \[1, 2\] differ'):
        run_benchmark('data_loading.py', '--num-images', 2, '--repeats', 1)


@pytest.mark.usefixtures('small_photographs')
def test_other_boxes_end_the_run(run_benchmark, monkeypatch):
    resize = Resize._resize_bboxes

    def off(self, results):
        resize(self, results)
        results['gt_bboxes'] = results['gt_bboxes'] + np.float32(0.1)

    monkeypatch.setattr(Resize, '_resize_bboxes', off)
    with pytest.raises(SystemExit, match=r'error: boxes of images'):
        run_benchmark('data_loading.py', '--num-images', 2, '--repeats', 1)


def test_choices_cover_the_recipe(tmp_path):
    """Every draw of the recipe is noted, and the methods are left as they were."""
    images, annotations = _coco_data.write_photographs(tmp_path / 'coco', 12)
    loader = _pipelines.our_loader('train', images, annotations, 12, 0)
    records = _pipelines.record_choices(loader.dataset)
    assert _pipelines.record_choices(loader.dataset) == records  # seeded by image
    assert {len(record) for record in records} == {3, 6}
    assert {record[0] for record in records} == {'horizontal', None}
    for record in records:
        assert record[1] == (len(record) == 6)
        assert 480 <= record[-1][0][0] <= 800
    flip = loader.dataset.pipeline.transforms[2]
    assert '_choose_direction' not in vars(flip)


def test_images_weigh_what_cocos_do(tmp_path):
    images, _ = _coco_data.write_photographs(tmp_path / 'coco', 3)
    file = images / '000000.jpg'
    assert Image.open(file).size == (640, 480)
    assert 120_000 < file.stat().st_size < 220_000


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--images', 'x'], '--images and --annotations go together'),
        (['--authors', 'nowhere'], 'holds no datasets/transforms.py'),
    ],
)
def test_wrong_arguments(run_benchmark, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run_benchmark('data_loading.py', *arguments)
    assert message in capsys.readouterr().err
