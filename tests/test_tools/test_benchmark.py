"""Timing of models and loaders: small runs, and what the numbers are made of."""

import importlib.util
import runpy
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.helpers.coco_files import annotation, image, write_coco, write_images

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
CUSTOM = ROOT / 'configs' / '_base_' / 'datasets' / 'custom_coco_detection.py'
TOOL = ROOT / 'tools/analysis/benchmark.py'
SMALL = (
    'train_dataloader.dataset.num_images=8',
    'test_dataloader.dataset.num_images=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
)


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    """Runs the tool as from the command line; the lines that it prints, by their first word."""

    def call(*arguments: Any) -> dict[str, str]:
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        lines = capsys.readouterr().out.splitlines()
        return dict(line.split(': ', 1) for line in lines if ': ' in line)

    return call


@pytest.fixture
def tool() -> ModuleType:
    """The tool as a module, whose functions a test can replace."""
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(**changed: Any) -> Namespace:
    """The tool's arguments without a command line."""
    defaults = dict(
        mode='inference', batch_size=None, shape=None, dtype='float32', compile=False,
        optimize=False, device='cpu', iters=3, warmup=1, checkpoint=None,
    )  # fmt: skip
    return Namespace(**{**defaults, **changed})


def test_inference_on_the_data_set(run: Any) -> None:
    lines = run(DEMO, '--batch-size', 4, '--iters', 3, '--warmup', 1, '--cfg-options', *SMALL)
    assert lines['inference'].startswith('float32 on ')
    assert lines['input'] == 'images of test_dataloader, 4 a batch, 64 x 64'
    assert lines['speed'].endswith('images/s over 3 batches')
    p50, p90, p99 = (float(part.split()[1]) for part in lines['latency of a batch'].split(', '))
    assert 0 < p50 <= p90 <= p99
    assert 'MiB' in lines['peak memory']


def test_optimised_at_a_given_size(run: Any) -> None:
    lines = run(DEMO, '--shape', 64, 96, '--batch-size', 2, '--optimize', '--iters', 2)
    assert lines['inference'].startswith('float32, optimize on ')
    assert lines['input'] == 'random images, 2 a batch, 64 x 96'


def test_training_changes_the_weights(run: Any, tool: Any, monkeypatch: Any) -> None:
    args = settings(mode='training', shape=(64, 64), batch_size=2)
    cfg = Config.fromfile(DEMO)
    built = []
    init = tool.init_detector
    monkeypatch.setattr(
        tool, 'init_detector', lambda *a, **k: built.append(init(*a, **k)) or built[0]
    )
    step = tool.build_step(cfg, args)
    (model,) = built
    before = model.bbox_head.query_embedding.weight.detach().clone()
    batches, _ = tool.load_batches(cfg, args)
    seconds, images = tool.measure(step, batches, 2, 1, 'cpu')
    assert (len(seconds), images) == (2, 4)
    assert model.training
    assert not torch.equal(before, model.bbox_head.query_embedding.weight)
    lines = run(DEMO, '--mode', 'training', '--iters', 1, '--warmup', 0, '--cfg-options', *SMALL)
    assert lines['input'] == 'images of train_dataloader, 8 a batch, 64 x 64'


def test_mixed_precision_reaches_the_network(tool: Any, monkeypatch: Any) -> None:
    cfg = Config.fromfile(DEMO)
    seen = []
    init = tool.init_detector

    def hooked(*positional: Any, **named: Any) -> Any:
        model = init(*positional, **named)
        model.neck.register_forward_hook(lambda *call: seen.append(call[2][0].dtype))
        return model

    monkeypatch.setattr(tool, 'init_detector', hooked)
    for dtype in ('float32', 'bfloat16'):
        args = settings(shape=(64, 64), batch_size=1, dtype=dtype)
        tool.build_step(cfg, args)(tool.load_batches(cfg, args)[0][0])
    assert seen == [torch.float32, torch.bfloat16]


def test_warmup_is_not_timed(monkeypatch: Any) -> None:
    measure = runpy.run_path(str(TOOL))['measure']
    pauses = iter([9.0, 1.0, 2.0, 3.0])
    clock = [0.0]

    def step(batch: dict) -> None:
        clock[0] += next(pauses)

    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])
    batches = [dict(inputs=[0]), dict(inputs=[0, 0])]
    seconds, images = measure(step, batches, 3, 1, 'cpu')
    assert seconds == [1.0, 2.0, 3.0]
    assert images == 2 + 1 + 2  # the first batch is the warm-up's


def test_report_by_hand(tool: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tool, 'measure', lambda *_: ([0.1, 0.2, 0.3, 0.4], 8))
    lines = tool.model_report(
        Config.fromfile(DEMO), settings(shape=(64, 64), batch_size=2, iters=4)
    )
    assert 'speed: 8.00 images/s over 4 batches' in lines
    assert 'latency of a batch: p50 250.0 ms, p90 370.0 ms, p99 397.0 ms' in lines


def test_missing_data_give_the_size_of_the_pipeline(tool: Any) -> None:
    cfg = Config.fromfile(ROOT / 'configs' / 'detr_r50_8xb2-150e_coco.py')
    cfg.test_dataloader.dataset.data_root = cfg.train_dataloader.dataset.data_root = 'nowhere/'
    batches, source = tool.load_batches(cfg, settings(batch_size=2, iters=1))
    assert [tuple(each.shape) for each in batches[0]['inputs']] == [(3, 800, 1066)] * 2
    assert 'nowhere/annotations/instances_val2017.json does not exist' in source
    np.random.seed(0)
    batches, _ = tool.load_batches(cfg, settings(mode='training', iters=8))
    shapes = {tuple(each.shape) for batch in batches for each in batch['inputs']}
    assert len(shapes) > 5  # augmented
    assert all(len(sample.gt_instances) for batch in batches for sample in batch['data_samples'])


def test_loaders(run: Any) -> None:
    lines = run(DEMO, '--data', '--batch-size', 4, '--iters', 3, '--cfg-options', *SMALL)
    for name in ('train_dataloader', 'test_dataloader'):
        assert lines[name].endswith('images/s, 0 workers, 4 a batch, 3 batches')
        assert float(lines[name].split()[0]) > 0


CHILD = """
_base_ = [{demo!r}]
own = dict(_delete_=True, type='CocoDataset', data_root={root!r}, ann_file='coco.json')
own['pipeline'] = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
train_dataloader = dict(dataset=own)
test_dataloader = dict(dataset=dict(own, test_mode=True))
"""


def test_broken_data_are_not_replaced(tmp_path: Path, run: Any) -> None:
    """Only a missing annotation file means that there are no data here."""
    images = [image(number, 64, 48) for number in range(3)]
    write_coco(tmp_path, images, [annotation(1, 1, 7, [10, 10, 20, 20])])
    (tmp_path / 'child.py').write_text(CHILD.format(demo=str(DEMO), root=str(tmp_path)))
    with pytest.raises(SystemExit, match=r'cannot read image .*0\.png'):
        run(tmp_path / 'child.py', '--iters', 1)
    write_images(tmp_path, images)
    lines = run(tmp_path / 'child.py', '--iters', 1, '--warmup', 0, '--batch-size', 1)
    assert lines['input'] == 'images of test_dataloader, 1 a batch, 48 x 64'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], 'config not found: none.py'),
        ([DEMO, 'none.pth'], 'checkpoint not found: none.pth'),
        ([DEMO, '--optimize', '--mode', 'training'], 'can only infer'),
        ([DEMO, '--iters', '0'], '--iters and --batch-size must be at least 1'),
    ],
)
def test_wrong_arguments(run: Any, capsys: Any, arguments: list, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert message in capsys.readouterr().err + str(caught.value)


def test_errors_in_words(run: Any) -> None:
    with pytest.raises(SystemExit, match='error: float16 needs a GPU'):
        run(DEMO, '--device', 'cpu', '--optimize', '--dtype', 'float16', '--shape', 64, 64)
    coco = ROOT / 'configs' / 'detr_r50_8xb2-150e_coco.py'
    missing = 'train_dataloader.dataset.data_root=nowhere/'
    with pytest.raises(SystemExit, match='error: --data loads the data set of train_dataloader: '):
        run(coco, '--data', '--cfg-options', missing)
