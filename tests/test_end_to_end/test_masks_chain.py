"""The way of masks: train the demo for a few steps, test it with pictures, infer with PNG files."""

import json
import runpy
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from mmdetr.datasets import PanopticShapesDataset
from mmdetr.datasets.panoptic_maps import read_panoptic_png
from mmdetr.engine.runner import DetectionRunner

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'detr_tiny_1xb16-10e_shapes_masks.py'
SMALL = {
    'model.neck.out_channels': 32,
    'model.bbox_head.transformer.feedforward_channels': 32,
    # Whatever the weights, there is something to draw.
    'model.bbox_head.panoptic.score_thr': 0.0,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.dataset.num_images': 3,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.dataset.num_images': 3,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'train_cfg.max_epochs': 1,
    'default_hooks.visualization.test_out_dir': 'pictures',
    'default_hooks.visualization.score_thr': 0.0,
    'test_evaluator.1.outfile_prefix': 'results',
    'test_evaluator.1.classwise': True,
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where a run was trained and tested."""
    folder = tmp_path_factory.mktemp('masks')
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(SMALL)
    cfg.work_dir = str(folder / 'work')
    cfg.experiment_name = cfg.visualizer.name = folder.as_posix().replace('/', '_')
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        runner = DetectionRunner.from_cfg(cfg)
        runner.train()
        metrics = runner.test()
    (folder / 'metrics.json').write_text(json.dumps(metrics))
    cfg.dump(folder / 'config.py')
    return folder


def test_numbers_of_boxes_masks_and_segments(folder):
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert {'coco/bbox_mAP', 'coco/segm_mAP', 'coco_panoptic/PQ'} <= metrics.keys()
    assert {'coco_panoptic/PQ_th', 'coco_panoptic/PQ_st', 'coco_panoptic/PQ/sky'} <= metrics.keys()
    scalars = ''.join(path.read_text() for path in folder.rglob('scalars.json'))
    assert '"loss_mask"' in scalars
    assert '"loss_dice"' in scalars


def test_pictures_and_results_of_the_test(folder):
    """Truth above, prediction beside, segments below."""
    pictures = sorted((folder / 'pictures').iterdir())
    assert [path.name for path in pictures] == ['0.png', '1.png', '2.png']
    width, height = Image.open(pictures[0]).size
    assert width > 2 * 448
    assert height > 2 * 448
    written = json.loads((folder / 'results.panoptic.json').read_text())['annotations']
    assert [each['image_id'] for each in written] == [0, 1, 2]
    ids = read_panoptic_png(str(folder / 'results.panoptic' / written[1]['file_name']), (64, 64))
    assert set(np.unique(ids)) - {0} == {each['id'] for each in written[1]['segments_info']}


def infer(folder: Path, config: Path, **options) -> int:
    tool = runpy.run_path(str(ROOT / 'tools' / 'infer.py'))
    arguments = dict(
        images=str(folder / 'photos'),
        config=str(config),
        checkpoint=str(folder / 'work' / 'epoch_1.pth'),
        out_dir=str(folder / 'out'),
        score_thr=0.0,
        device='cpu',
        allow_mismatch=False,
        mask_png=True,
        font=None,
        model=None,
        batch_size=1,
        no_draw=False,
        save_txt=False,
        save_json=False,
    )
    return tool['main'](Namespace(**{**arguments, **options}))


def test_infer_says_that_a_box_model_has_no_masks(folder):
    (folder / 'one').mkdir()
    Image.new('RGB', (64, 64)).save(folder / 'one' / 'grey.png')
    cfg = Config.fromfile(folder / 'config.py')
    cfg.model.bbox_head.update(type='DETRHead')
    cfg.model.bbox_head.criterion = None
    del cfg.model.bbox_head['mask_head'], cfg.model.bbox_head['panoptic']
    cfg.dump(folder / 'boxes.py')
    with pytest.raises(SystemExit, match='error: --mask-png needs a model with masks'):
        infer(folder, folder / 'boxes.py', images=str(folder / 'one'), allow_mismatch=True)


def test_infer_writes_run_lengths_segments_and_png_files(folder):
    (folder / 'photos').mkdir()
    image = PanopticShapesDataset(2, image_size=(48, 80), pipeline=[])[1]['img']
    Image.fromarray(image[..., ::-1]).save(folder / 'photos' / 'a.png')
    assert infer(folder, folder / 'config.py') == 0
    (record,) = json.loads((folder / 'out' / 'predictions.json').read_text())
    assert len(record['masks']) == len(record['boxes']) == 10
    for number, mask in enumerate(record['masks']):
        assert mask['size'] == [48, 80]
        drawn = np.asarray(Image.open(folder / 'out' / f'a.png.mask{number}.png'))
        np.testing.assert_array_equal(drawn, 255 * coco_mask.decode(mask))
    ids = read_panoptic_png(str(folder / 'out' / 'a.png.panoptic.png'), (48, 80))
    for segment in record['segments']:
        assert segment['area'] == (ids == segment['id']).sum()
        assert segment['name'] in PanopticShapesDataset.METAINFO['classes']
        assert 0 <= segment['score'] <= 1
    assert {each['id'] for each in record['segments']} == set(np.unique(ids)) - {0}
    assert (folder / 'out' / 'a.png').exists()
