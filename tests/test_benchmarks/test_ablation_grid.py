"""The grid's variants against the demo, its statistics against arithmetic by hand."""

import json
import sys
from typing import Any

import _ablation_report as report
import ablation_grid as grid
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdetr.registry import MODELS
from tests.test_configs import flatten

TRANSFORMER = 'model.bbox_head.transformer'
CRITERION = 'model.bbox_head.criterion'

# Variant: what differs from the demo in the merged config, None where there is no such key.
IN_CONFIG: dict[str, dict[str, Any]] = {
    'baseline': {},
    'enc0': {f'{TRANSFORMER}.num_encoder_layers': 0},
    'enc3': {f'{TRANSFORMER}.num_encoder_layers': 3},
    'no-spatial-pos': {
        f'{TRANSFORMER}.encoder_pos': 'none',
        f'{TRANSFORMER}.decoder_pos': 'none',
        f'{TRANSFORMER}.query_pos': 'input',
    },
    'sine-pos-at-input': {
        f'{TRANSFORMER}.encoder_pos': 'input',
        f'{TRANSFORMER}.decoder_pos': 'input',
        f'{TRANSFORMER}.query_pos': 'input',
    },
    'learned-pos': {
        'model.bbox_head.positional_encoding.type': 'LearnedPositionalEncoding',
        'model.bbox_head.positional_encoding.normalize': None,
        'model.bbox_head.positional_encoding.temperature': None,
    },
    'no-encoder-pos': {f'{TRANSFORMER}.encoder_pos': 'none'},
    'no-giou': {
        f'{CRITERION}.loss_giou': None,
        f'{CRITERION}.loss_giou.type': None,
        f'{CRITERION}.loss_giou.loss_weight': None,
        f'{CRITERION}.assigner.match_costs.giou': None,
        f'{CRITERION}.assigner.match_costs.giou.type': None,
        f'{CRITERION}.assigner.match_costs.giou.weight': None,
    },
    'no-l1': {
        f'{CRITERION}.loss_bbox': None,
        f'{CRITERION}.loss_bbox.type': None,
        f'{CRITERION}.loss_bbox.loss_weight': None,
        f'{CRITERION}.assigner.match_costs.bbox': None,
        f'{CRITERION}.assigner.match_costs.bbox.type': None,
        f'{CRITERION}.assigner.match_costs.bbox.weight': None,
    },
    'no-aux': {f'{CRITERION}.aux_loss': False},
    'post-norm': {f'{TRANSFORMER}.norm_first': False},
    'dec1': {f'{TRANSFORMER}.num_decoder_layers': 1},
}
# What the grid sets for all variants alike: schedule, workers, no checkpoints, no pictures, log.
ALIKE = (
    'train_cfg.max_epochs',
    'train_cfg.val_interval',
    'param_scheduler.1.T_max',
    'default_hooks.checkpoint',
    'default_hooks.visualization',
    'env_cfg.mp_cfg.mp_start_method',
    'log_level',
)

# Variant: what differs from the demo in the model that is built.
IN_MODEL: dict[str, dict[str, Any]] = {
    'baseline': {},
    'enc0': {'encoder layers': 0},
    'enc3': {'encoder layers': 3},
    'no-spatial-pos': {'positions': ('none', 'none', 'input')},
    'sine-pos-at-input': {'positions': ('input', 'input', 'input')},
    'learned-pos': {'encoding': 'LearnedPositionalEncoding'},
    'no-encoder-pos': {'positions': ('none', 'attention', 'attention')},
    'no-giou': {
        'losses': ['loss_bbox'],
        'costs': ['ClassificationCost', 'BBoxL1Cost'],
    },
    'no-l1': {'losses': ['loss_giou'], 'costs': ['ClassificationCost', 'GIoUCost']},
    'no-aux': {'supervised layers': 1},
    'post-norm': {'encoder norm': 'Identity', 'pre-norm': {False}},
    'dec1': {'decoder layers': 1, 'supervised layers': 1},
}


def differences(ours: dict, theirs: dict) -> dict:
    missing = object()
    keys = (ours.keys() | theirs.keys()) - {'filename'}
    return {
        key: ours.get(key) for key in keys if ours.get(key, missing) != theirs.get(key, missing)
    }


def facts(model: nn.Module) -> dict[str, Any]:
    """What the grid varies, read off the modules and not off their config."""
    head = model.bbox_head
    transformer, criterion = head.transformer, head.criterion
    layers = [*transformer.encoder.layers, *transformer.decoder.layers]
    prediction = model.train()(torch.zeros(2, 3, 64, 64))
    return {
        'encoder layers': len(transformer.encoder.layers),
        'decoder layers': len(transformer.decoder.layers),
        'positions': (transformer.encoder_pos, transformer.decoder_pos, transformer.query_pos),
        'encoding': type(head.positional_encoding).__name__,
        'losses': list(criterion.bbox_losses),
        'costs': [type(cost).__name__ for cost in criterion.assigner.match_costs],
        'supervised layers': len(prediction.logits),
        'pre-norm': {layer.norm_first for layer in layers},
        'encoder norm': type(transformer.encoder.norm).__name__,
    }


def test_every_variant_is_covered():
    assert grid.VARIANTS.keys() == IN_CONFIG.keys() == IN_MODEL.keys()
    compared = {name for each in report.ORDERINGS for name in (each.better, each.worse)}
    assert compared <= grid.VARIANTS.keys()
    assert report.PAPER.keys() <= grid.VARIANTS.keys()


@pytest.mark.parametrize('variant', grid.VARIANTS)
def test_config_differs_in_the_stated_fact_alone(variant):
    demo = flatten(Config.fromfile(grid.DEMO).to_dict())
    changes = differences(flatten(grid.config(variant, 4).to_dict()), demo)
    alike = {key for key in changes if key.startswith(ALIKE) or 'dataloader' in key}
    assert {key: value for key, value in changes.items() if key not in alike} == IN_CONFIG[variant]
    assert {key.rsplit('.')[-1] for key in alike if 'dataloader' in key} == {
        'num_workers',
        'persistent_workers',
    }
    assert changes['train_cfg.max_epochs'] == changes['param_scheduler.1.T_max'] == 4


@pytest.mark.parametrize('variant', grid.VARIANTS)
def test_model_differs_in_the_stated_fact_alone(variant):
    demo = facts(MODELS.build(Config.fromfile(grid.DEMO).model))
    assert (
        differences(facts(MODELS.build(grid.config(variant, 1).model)), demo) == (IN_MODEL[variant])
    )


def test_misspelt_override_is_named(monkeypatch):
    wrong = grid.Variant('misspelt', {f'{CRITERION}.assigner.match_costs.gious': None})
    monkeypatch.setitem(grid.VARIANTS, 'wrong', wrong)
    with pytest.raises(KeyError, match='gious'):
        grid.config('wrong', 1)


def test_fingerprint_follows_the_config():
    prints = [
        grid.fingerprint(grid.config(name, epochs)) for name in grid.VARIANTS for epochs in (1, 2)
    ]
    assert len(set(prints)) == len(prints)
    assert grid.fingerprint(grid.config('enc0', 1)) == prints[2]


# 97.5 % quantiles of Student's t from a printed table.
T_2, T_4 = 4.303, 2.776


def test_mean_difference_equals_arithmetic_by_hand():
    """Means 50 and 40, variances 4 and 4: squared error 4/3 + 4/3, 4 degrees of freedom."""
    found = report.mean_difference([48.0, 50.0, 52.0], [38.0, 40.0, 42.0])
    error = (8 / 3) ** 0.5
    assert found.difference == pytest.approx(10)
    assert found.error == pytest.approx(error)
    assert found.low == pytest.approx(10 - T_4 * error, abs=2e-3)
    assert found.high == pytest.approx(10 + T_4 * error, abs=2e-3)


@pytest.mark.filterwarnings('ignore:Precision loss')
def test_mean_difference_does_not_pool_variances():
    """One sample without spread: the other's variance over 3 and its 2 degrees of freedom."""
    found = report.mean_difference([38.0, 40.0, 42.0], [50.0, 50.0, 50.0, 50.0])
    error = (4 / 3) ** 0.5
    assert found.difference == pytest.approx(-10)
    assert found.error == pytest.approx(error)
    assert found.low == pytest.approx(-10 - T_2 * error, abs=2e-3)
    assert found.high == pytest.approx(-10 + T_2 * error, abs=2e-3)


@pytest.mark.parametrize(
    ('better', 'worse', 'expected'),
    [
        # Half width 4.53, as above.
        ([48.0, 50.0, 52.0], [43.4, 45.4, 47.4], 'shows'),
        ([48.0, 50.0, 52.0], [43.5, 45.5, 47.5], 'undecided'),
        ([43.5, 45.5, 47.5], [48.0, 50.0, 52.0], 'undecided'),
        ([43.4, 45.4, 47.4], [48.0, 50.0, 52.0], 'does not show'),
        ([50.0, 50.0], [49.0, 49.0], 'shows'),  # no spread at all
        ([50.0, 50.0], [50.0, 50.0], 'undecided'),
        ([90.0], [10.0, 10.1, 10.2], 'undecided'),  # a single seed proves nothing
    ],
)
def test_verdict(better, worse, expected):
    assert report.verdict(report.mean_difference(better, worse)) == expected


def runs_by_hand(**scores: list[float]) -> list[dict]:
    same = dict(
        epochs=1, AP50=0.5, parameters=1234567, cpu_seconds=10.0, date='2026-01-02', machine='M'
    )
    return [
        dict(variant=variant.replace('_', '-'), seed=seed, AP=ap / 100, **same)
        for variant, each in scores.items()
        for seed, ap in enumerate(each)
    ]


def test_page_by_hand(tmp_path):
    runs = runs_by_hand(
        baseline=[48.0, 50.0, 52.0], enc0=[38.0, 40.0, 42.0], no_l1=[49.0, 51.0, 53.0]
    )
    page = report.page(runs, grid.texts()).splitlines()
    rows = {line.split(' | ')[0].strip('| '): line for line in page if line.startswith('| ')}
    assert (
        '| 3 | 50.0 | 48.0..52.0 | 2.0 | 50.0 | - | 40.6 AP | 1,234,567 | 10 |'
        in (rows['baseline'])
    )
    assert '| 3 | 40.0 | 38.0..42.0 | 2.0 | 50.0 | -10.0 ± 1.6 |' in rows['enc0']
    assert '| +10.0 ± 1.6 | +5.5 to +14.5 | **shows** |' in rows['baseline > enc0']
    assert '| -1.0 ± 1.6 | -5.5 to +3.5 | **undecided** |' in rows['baseline > no-l1']
    assert '- shows: 1 of 2 (baseline > enc0)' in page
    assert '- does not show: 0 of 2' in page
    assert '- undecided: 1 of 2 (baseline > no-l1)' in page
    assert any(line.startswith('Not measured: enc3, no-spatial-pos') for line in page)
    assert '2026-01-02; M.' in page
    assert 'The grid is complete: 9 runs.' in page
    assert 'incomplete: 8 of 9 runs.' in report.page(runs[:-1], grid.texts())
    report.plot(runs, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 0


@pytest.fixture
def small_demo(monkeypatch):
    """Trainings of two steps."""
    small = {
        'train_dataloader.batch_size': 4,
        'train_dataloader.dataset.num_images': 8,
        'val_dataloader.dataset.num_images': 8,
    }
    monkeypatch.setattr(grid, 'LEAN', {**grid.LEAN, **small})


# mmengine keeps its singletons by the second in which a run began.
@pytest.mark.filterwarnings('ignore:.*instance named of')
@pytest.mark.usefixtures('small_demo')
def test_seed_decides_a_run(tmp_path):
    first, again, other = (
        grid.train('no-giou', seed, 1, tmp_path / str(place))
        for place, seed in enumerate((0, 0, 1))
    )
    assert first['loss'] == again['loss'] != other['loss']
    assert first['config'] == other['config'] == grid.fingerprint(grid.config('no-giou', 1))
    assert first['AP'] == again['AP']
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.usefixtures('small_demo')
def test_finished_runs_are_those_of_the_same_config(tmp_path):
    now = grid.fingerprint(grid.config('enc0', 1))
    lines = [
        dict(variant='enc0', seed=0, config=now, AP=0.1),
        dict(variant='enc0', seed=1, config='another', AP=0.2),
        dict(variant='enc0', seed=0, config=now, AP=0.3),
        dict(variant='no longer there', seed=0, config=now, AP=0.4),
    ]
    (tmp_path / grid.RUNS_FILE).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert grid.finished(tmp_path, 1) == [lines[2]]
    assert grid.finished(tmp_path, 2) == []
    assert grid.finished(tmp_path / 'none', 1) == []


@pytest.fixture
def two_finished(tmp_path):
    """A work directory with seed 0 of two variants."""
    runs = runs_by_hand(baseline=[50.0], enc0=[40.0])
    for run in runs:
        run['config'] = grid.fingerprint(grid.config(run['variant'], run['epochs']))
    (tmp_path / grid.RUNS_FILE).write_text(''.join(json.dumps(run) + '\n' for run in runs))
    return tmp_path


def call(monkeypatch, work_dir, *arguments: str) -> list:
    """The runs that a call of the script goes on to train."""
    asked = []
    monkeypatch.setattr(grid, 'fill', lambda _, todo, *rest: asked.extend(todo) or 0)
    options = ['--epochs', '1', '--work-dir', str(work_dir), '--out-dir', str(work_dir / 'out')]
    monkeypatch.setattr(sys, 'argv', ['ablation_grid.py', *options, *arguments])
    with pytest.raises(SystemExit) as caught:
        grid.main()
    assert caught.value.code == 0
    return asked


def test_finished_runs_are_not_repeated_and_seeds_come_in_turn(monkeypatch, two_finished):
    todo = call(
        monkeypatch, two_finished, '--variants', 'baseline', 'enc0', 'enc3', '--seeds', '0', '1'
    )
    assert todo == [('enc3', 0), ('baseline', 1), ('enc0', 1), ('enc3', 1)]
    assert json.loads((two_finished / 'out/ablation_grid.json').read_text())[1]['AP'] == 0.4
    assert '| baseline > enc0 |' in (two_finished / 'out/ablation_grid.md').read_text()
    assert (two_finished / 'out/ablation_grid.png').stat().st_size > 0


def test_report_only_trains_nothing(monkeypatch, two_finished):
    assert call(monkeypatch, two_finished, '--report-only') == []


def test_published_page_follows_from_the_raw_results():
    runs = json.loads((grid.RESULTS / 'ablation_grid.json').read_text())
    published = (grid.RESULTS / 'ablation_grid.md').read_text()
    assert published == report.page(runs, grid.texts())
