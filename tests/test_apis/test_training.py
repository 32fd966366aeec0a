"""Training, predicting and scoring from Python."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdetr.apis import DetectedImage, TrainedDetector, evaluate, train
from mmdetr.apis.training import InterruptHook
from mmdetr.checkpoint import load_file
from mmdetr.config.package_configs import find_config
from mmdetr.datasets import ShapesDataset
from mmdetr.registry import HOOKS

pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')
SMALL = {
    'model.neck.out_channels': 32,
    'model.bbox_head.transformer.feedforward_channels': 32,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 16,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('val', 'test')
        for key, value in {
            'dataset.num_images': 4,
            'num_workers': 0,
            'persistent_workers': False,
        }.items()
    },
    'train_cfg.max_epochs': 1,
    'default_hooks.visualization.draw': False,
}


def small(**options: Any) -> Config:
    cfg = Config.fromfile(find_config('detr_tiny_1xb32-12e_shapes'))
    cfg.merge_from_dict({**SMALL, **options})
    return cfg


@pytest.fixture(scope='module')
def trained(tmp_path_factory: Any) -> TrainedDetector:
    return train(small(), tmp_path_factory.mktemp('runs') / 'first')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    """BGR, as arrays are taken."""
    return ShapesDataset(num_images=1, seed=3)[0]['img']


def test_training_leaves_a_detector(trained: TrainedDetector) -> None:
    assert trained.checkpoint.is_file()
    assert trained.checkpoint.parent == trained.folder
    scores = trained.evaluate()
    assert 0 <= scores['coco/bbox_mAP'] <= 1
    assert evaluate(trained.config, trained.checkpoint) == scores
    fewer = trained.evaluate(dict(dataset=dict(num_images=2)))
    assert fewer.keys() == scores.keys()


def test_prediction(trained: TrainedDetector, image: np.ndarray) -> None:
    found = trained.predict(image, score_thr=0.0)
    assert len(found) == 10
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert set(found.names) <= {'circle', 'rectangle', 'triangle'}
    assert np.array_equal(found.image, image[..., ::-1])
    kept = trained.predict([image, image], score_thr=float(found.scores[4]))
    assert [len(each) for each in kept] == [5, 5]
    by_class = trained.predict(image)
    threshold = trained.model.operating_point.threshold_of
    assert all(s >= threshold(n) for s, n in zip(by_class.scores, by_class.names, strict=True))


def test_other_forms_of_a_prediction(trained: TrainedDetector, image: np.ndarray) -> None:
    found: DetectedImage = trained.predict(image, score_thr=0.0)
    entry = found.to_coco(image_id=7, category_ids=[10, 20, 30])[0]
    x1, y1, x2, y2 = found.boxes[0].tolist()
    assert entry['image_id'] == 7
    assert entry['category_id'] == [10, 20, 30][found.labels[0]]
    assert entry['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    assert found._repr_png_().startswith(b'\x89PNG')
    assert repr(found).startswith('DetectedImage(10: ')


def test_table(trained: TrainedDetector, image: np.ndarray) -> None:
    pytest.importorskip('pandas')
    found = trained.predict(image, score_thr=0.0)
    table = found.to_pandas()
    assert list(table.columns) == ['name', 'label', 'score', 'x1', 'y1', 'x2', 'y2']
    assert table.loc[3, ['x1', 'y1', 'x2', 'y2']].tolist() == found.boxes[3].tolist()


def test_supervision(trained: TrainedDetector, image: np.ndarray) -> None:
    pytest.importorskip('supervision')
    found = trained.predict(image, score_thr=0.0)
    detections = found.to_supervision()
    assert np.array_equal(detections.xyxy, found.boxes)
    assert detections.data['class_name'].tolist() == found.names


@HOOKS.register_module(force=True)
class CtrlCHook(Hook):
    """Press Ctrl-C within the third step."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path, trained: TrainedDetector) -> None:
    """The step is completed, and resuming ends where the uninterrupted run did."""
    cfg = small()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(small(custom_hooks=[dict(type='CtrlCHook')]), tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    meta = load_file(tmp_path / 'interrupted_iter_3.pth')['meta']
    assert (meta['epoch'], meta['iter'], meta['batches_done']) == (0, 3, 3)

    resumed = train(cfg, tmp_path, resume=True)

    weights, expected = (
        load_file(folder / 'epoch_1.pth')['state_dict'] for folder in (tmp_path, trained.folder)
    )
    assert all(weights[name].equal(expected[name]) for name in expected)
    assert resumed.folder == tmp_path


def test_second_ctrl_c_does_not_wait() -> None:
    hook = InterruptHook()
    hook._ask(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        hook._ask(signal.SIGINT, None)


def test_arguments_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match='epochs is for a folder of data'):
        train(small(), tmp_path, epochs=3)
