"""Configs of the package by name."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmdetr.apis import init_detector
from mmdetr.config.options import read_config
from mmdetr.config.package_configs import find_config, package_configs
from mmdetr.config.reading import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
DEMO = 'detr_tiny_1xb32-12e_shapes'
ABLATION = 'detr_r50_16xb4-300e_coco_enc0'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ('word', 'file'),
    [
        (DEMO, f'{DEMO}.py'),
        (f'{DEMO}.py', f'{DEMO}.py'),
        (f'mmdetr::{DEMO}', f'{DEMO}.py'),
        (f'mmdetr::{DEMO}.py', f'{DEMO}.py'),
        (ABLATION, f'ablations/{ABLATION}.py'),
        (f'mmdetr::{ABLATION}.py', f'ablations/{ABLATION}.py'),
        (f'mmdetr::ablations/{ABLATION}.py', f'ablations/{ABLATION}.py'),
        ('mmdetr::_base_/default_runtime.py', '_base_/default_runtime.py'),
    ],
)
def test_names(word: str, file: str) -> None:
    assert Path(find_config(word)) == CONFIGS / file
    assert load_config(word).filename == str(CONFIGS / file)


def test_every_config_has_a_name_of_its_own() -> None:
    files = [file for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts]
    assert sorted(package_configs().values()) == sorted(files)


def test_files_go_before_names() -> None:
    Path(f'{DEMO}.py').write_text('a = 1')
    assert find_config(f'{DEMO}.py') == f'{DEMO}.py'
    # A path says where the file is.
    for path in (f'configs/{DEMO}.py', f'./{DEMO}', '', 'other.py'):
        assert find_config(path) == path


@pytest.mark.parametrize('base', [f'mmdetr::{DEMO}.py', f'mmdetr::{DEMO}'])
def test_bases(base: str) -> None:
    """Read by the tools, by the API, and from a base of one's own."""
    Path('child.py').write_text(f'_base_ = {base!r}\ntrain_cfg = dict(max_epochs=7)')
    Path('grandchild.py').write_text(
        '_base_ = "child.py"\nmodel = dict(bbox_head=dict(num_queries=4))'
    )
    expected = Config.fromfile(CONFIGS / f'{DEMO}.py')
    expected.train_cfg.max_epochs = 7
    expected.model.bbox_head.num_queries = 4
    assert read_config('grandchild.py', None).to_dict() == expected.to_dict()
    model = init_detector('grandchild.py', device='cpu')
    assert model.bbox_head.query_embedding.weight.shape[0] == 4


@pytest.mark.parametrize('word', ['mmdetr::detr_r51_8xb2-150e_coco.py', 'detr_r51_8xb2-150e_coco'])
def test_a_missing_one_is_named_with_the_closest(word: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'detr_r51.*the package has .*detr_r50_8xb2-150e_coco'
    ):
        load_config(word)
    with pytest.raises(FileNotFoundError, match='no such config'):
        find_config('mmdetr::../setup.py')
    Path('child.py').write_text(f'_base_ = "{word}"')
    with pytest.raises(SystemExit, match='detr_r51'):
        read_config('child.py', None)


def test_a_part_of_a_name_is_answered_with_the_shortest() -> None:
    message = 'the package has detr_r50_8xb2-50e_coco and detr_r50_8xb2-150e_coco and'
    with pytest.raises(FileNotFoundError, match=message):
        load_config('detr_r50')
