import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image

from mmdetr.engine.hooks.visualization_hook import DetVisualizationHook
from mmdetr.engine.resume.history import ValidationHistory
from mmdetr.registry import HOOKS
from mmdetr.structures import DetDataSample
from mmdetr.visualization import DetVisualizer


class Recorder(DetVisualizer):
    """Keep what it is asked to draw."""

    def __init__(self, name='recorder'):
        super().__init__(name)
        self.calls = []

    def add_datasample(self, name, image, data_sample=None, **kwargs):
        self.calls.append((name, image, kwargs))


def make_runner(iteration=None):
    return SimpleNamespace(visualizer=Recorder(), iter=iteration)


def make_batch(img_ids, paths=None, size=(20, 30)):
    inputs, samples = [], []
    for i, img_id in enumerate(img_ids):
        inputs.append(torch.full((3, *size), img_id, dtype=torch.uint8))
        inputs[-1][0] = 200  # blue comes first
        meta = dict(img_id=img_id, ori_shape=size, img_shape=size)
        if paths:
            meta['img_path'] = str(paths[i])
        samples.append(DetDataSample(metainfo=meta))
        samples[-1].pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long()
        )
    return dict(inputs=inputs, data_samples=samples), samples


def test_validation_goes_to_the_backends():
    hook = HOOKS.build(
        dict(type='DetVisualizationHook', draw=True, interval=2, max_val_images=3, score_thr=0.3)
    )
    runner = make_runner(iteration=40)
    hook.before_run(runner)
    hook.before_train(runner)
    for _ in range(2):
        hook.before_val_epoch(runner)
        for first in range(0, 12, 3):
            hook.after_val_iter(runner, 0, *make_batch(range(first, first + 3)))
    # Every other image, three of them, in each epoch.
    assert [name for name, _, _ in runner.visualizer.calls] == ['val_0', 'val_2', 'val_4'] * 2
    _, image, kwargs = runner.visualizer.calls[1]
    assert kwargs == dict(pred_score_thr=0.3, step=40)
    # RGB of the network's BGR input.
    assert image.shape == (20, 30, 3)
    assert image[0, 0].tolist() == [2, 2, 200]


def test_validation_without_training_has_step_zero():
    hook, runner = DetVisualizationHook(draw=True), make_runner()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, *make_batch([1]))
    assert runner.visualizer.calls[0][2]['step'] == 0


def test_draws_nothing_unless_asked():
    hook, runner = DetVisualizationHook(), make_runner()
    runner.visualizer = recorder = Recorder()
    hook.before_run(runner)
    hook.after_val_iter(runner, 0, *make_batch([1]))
    hook.after_test_iter(runner, 0, *make_batch([1]))
    # Drawing in validation does not flood a test.
    DetVisualizationHook(draw=True).after_test_iter(runner, 0, *make_batch([1]))
    assert recorder.calls == []


def test_tests_go_to_files(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / 'a' / 'x.png', tmp_path / 'b' / 'x.png', tmp_path / 'y.bmp']
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    hook = DetVisualizationHook(test_out_dir=str(tmp_path / 'out'))
    runner = make_runner()
    for _ in range(2):
        runner.visualizer.calls.clear()
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, *make_batch([4, 5, 6], paths))
        hook.after_test_iter(runner, 1, *make_batch([7]))
        files = [Path(kwargs['out_file']) for _, _, kwargs in runner.visualizer.calls]
        assert [file.parent for file in files] == [tmp_path / 'out'] * 4
        # Neither of two images of one name is lost.
        assert [file.name for file in files] == ['x.png', '5_x.png', 'y.bmp.png', '7.png']
    for path, (_, image, _) in zip(paths, runner.visualizer.calls, strict=False):
        assert (image == np.asarray(Image.open(path))).all()


def test_other_visualizers_are_refused_before_the_run():
    runner = SimpleNamespace(visualizer=Visualizer())
    DetVisualizationHook().before_run(runner)
    with pytest.raises(TypeError, match=r"type='DetVisualizer'.*got Visualizer"):
        DetVisualizationHook(draw=True).before_run(runner)


def test_without_threshold_the_operating_point_of_the_weights_decides():
    """That of the checkpoint in testing, that of the last validation in training, else 0.3."""
    hook, runner = DetVisualizationHook(draw=True), make_runner(iteration=1)
    runner.message_hub = MessageHub(uuid.uuid4().hex)
    point = dict(name='all', threshold=0.7, precision=1.0, recall=1.0, f1=1.0, num_objects=2)
    stated = dict(everything=point, classes=[], iou=0.5, num_images=3)
    hook.after_load_checkpoint(runner, dict(meta=dict(operating_point=stated)))
    assert runner.visualizer.operating_point.threshold == 0.7
    hook.after_test_iter(runner, 0, *make_batch([1]))
    hook.before_train(runner)
    hook.before_val_epoch(runner)
    assert runner.visualizer.operating_point.threshold == 0.3  # the file was of another training
    point['threshold'] = 0.6
    ValidationHistory(runner.message_hub).add(1, 10, {}, stated)
    hook.before_val_epoch(runner)
    assert runner.visualizer.operating_point.threshold == 0.6
    hook.after_val_iter(runner, 0, *make_batch([1]))
    assert runner.visualizer.calls[-1][2]['pred_score_thr'] is None
