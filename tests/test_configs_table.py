"""The table in configs/README.md against the configs."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from torch import nn

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
COMPLEXITY = runpy.run_path(str(ROOT / 'tools/analysis/model_complexity.py'))
ROW = re.compile(
    r'^\| \[`(?P<name>[^`]+)`\]\((?P<path>[^)]+)\) \| (?P<change>[^|]+) '
    r'\| (?P<parameters>[\d.]+) \| (?P<gmac>[\d.]+) \| (?P<height>\d+) x (?P<width>\d+) '
    r'\| (?P<paper>[^|]+) \| (?P<measured>[^|]+) \|$',
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer((CONFIGS / 'README.md').read_text())]
LEAVES = [path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py')]


def decimals(number: str) -> int:
    return len(number.partition('.')[2])


def test_every_config_is_listed_once() -> None:
    leaves = [name for name in LEAVES if not name.startswith('_base_/')]
    assert sorted(row['path'] for row in ROWS) == sorted(leaves)
    assert all(Path(row['path']).name == row['name'] for row in ROWS)


# Differ from another row in the size of a part, in the backbone or in one step of the chain.
VARIANT = re.compile(
    r'(-dc5|r101)\S*_8xb2|8xb2-50e_coco_|deformable_detr_r50|dino_(5|\S+-[23]\de)'
    r'|dfine_[smlx]_|r(34|50|101)vd|_bccd|_enc\d|_dec[2-5]'
)
BY_NAME = [pytest.param(row, id=row['name']) for row in ROWS]
COUNTED_ROWS = [
    pytest.param(row, id=row['name'], marks=[pytest.mark.slow] * bool(VARIANT.search(row['name'])))
    for row in ROWS
]


COUNTED: dict[str, int] = {}


def count_macs(model: nn.Module, config: dict[str, Any], shape: tuple[int, int]) -> int:
    """Counted once for models that differ in what is trained and where it starts."""
    config = {**config, 'backbone': {**config['backbone'], 'init_cfg': None}, 'trained_parts': None}
    key = repr((sorted(config.items()), shape))
    if key not in COUNTED:
        COUNTED[key] = COMPLEXITY['count_macs'](model.requires_grad_(False), shape)['']
    return COUNTED[key]


def read(row: dict[str, Any]) -> Config:
    config = Config.fromfile(CONFIGS / row['path'])
    if config.model.backbone.type == 'TimmBackbone':
        pytest.importorskip('timm')
    return config


@pytest.mark.parametrize('row', BY_NAME)
def test_parameters_and_result(row: dict[str, Any]) -> None:
    trainable = COMPLEXITY['count_parameters'](COMPLEXITY['build'](read(row)))[1]
    assert f'{trainable / 1e6:.{decimals(row["parameters"])}f}' == row['parameters']

    text = (CONFIGS / row['path']).read_text()
    result = re.search(r'Result of the (?:paper|authors): ([\d.]+) AP', text)
    assert row['paper'] == (result[1] if result else '-')


@pytest.mark.parametrize('row', COUNTED_ROWS)
def test_macs(row: dict[str, Any]) -> None:
    config = read(row)
    shape = int(row['height']), int(row['width'])
    macs = count_macs(COMPLEXITY['build'](config), config.model.to_dict(), shape)
    # torch versions may count a product more or less: 0.2 %, and what was rounded.
    rounding = 0.5 * 10 ** -decimals(row['gmac'])
    assert macs / 1e9 == pytest.approx(float(row['gmac']), rel=2e-3, abs=rounding)
