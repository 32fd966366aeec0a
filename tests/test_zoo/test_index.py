"""Names of models: the package's, a team's own, and what a missing one is answered with."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmdetr.config.package_configs import package_configs
from mmdetr.zoo import UnknownModelError, find_model, known_models, models_table


def test_every_entry_has_a_config_and_a_source() -> None:
    models = known_models()
    assert len(models) > 20
    for name, entry in models.items():
        assert entry.config in package_configs(), name
        assert entry.weights.startswith(('https://', 'hf://')), name
        assert all((entry.ap, entry.parameters, entry.licence, entry.source)), name


def test_table_has_a_line_for_each() -> None:
    lines = models_table().splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(known_models())
    assert lines[1].split()[1:6] == ['41.3', 'M', '42.0', 'box', 'AP']


def test_misspelt_name() -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'detr_r5O'; close names: detr-r50"):
        find_model('detr_r5O')
    with pytest.raises(UnknownModelError, match='close names: rtdetrv2-r18'):
        find_model('RTDETRV2_R18')


def test_own_index(tmp_path: Path, monkeypatch: Any) -> None:
    """It adds names and replaces some; its files are named from where it lies."""
    index = tmp_path / 'index.json'
    (tmp_path / 'screws.py').write_text('')
    entries = [
        dict(name='screws', config='screws.py', weights='https://127.0.0.1/screws.pth'),
        dict(name='detr-r50', config='detr_r50_8xb2-150e_coco', weights='https://127.0.0.1/x.pth'),
    ]
    index.write_text(json.dumps(entries))
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    assert find_model('screws').config == str(tmp_path / 'screws.py')
    assert find_model('detr-r50').weights == 'https://127.0.0.1/x.pth'
    assert 'rtdetrv2-r18' in known_models()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'cannot read the index of models'),
        ('{}', 'is a list of objects'),
        ('[{"name": "a"}]', 'entry 0 needs name, config and weights'),
        ('[{"name": "a", "config": "b", "weights": "c", "AP": 1}]', "a: unknown key 'AP'"),
    ],
)
def test_broken_index(tmp_path: Path, monkeypatch: Any, text: str, message: str) -> None:
    index = tmp_path / 'index.json'
    index.write_text(text)
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    with pytest.raises(UnknownModelError, match=message):
        known_models()
