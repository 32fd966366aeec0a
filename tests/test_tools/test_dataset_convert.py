"""The command line of tools/dataset/convert.py; what it does is tested in test_datasets."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.foreign_data import picture, voc_xml

TOOL = Path(__file__).parents[2] / 'tools/dataset/convert.py'


@pytest.fixture
def convert(monkeypatch: Any) -> Any:
    def run(*arguments: Any) -> None:
        monkeypatch.setattr(sys, 'argv', ['convert.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_says_what_it_found_and_wrote(tmp_path: Path, convert: Any, capsys: Any) -> None:
    for name in 'abcde':
        picture(tmp_path / f'data/{name}.jpg')
        voc_xml(
            tmp_path / f'data/{name}.xml',
            [('cat', 9, 9, 9, 20), *[('cat', 1, 1, 5 + i, 9) for i in range(4)]],
        )
    out = tmp_path / 'out'
    convert(tmp_path / 'data', out, '--val-share', '0.4', '--images', 'copy')
    said = capsys.readouterr().out
    assert said.startswith(f'Pascal VOC: 5 images of {tmp_path / "data"}\n')
    where = 'a.xml, line 4; b.xml, line 4; c.xml, line 4; and 2 more'
    assert f'dropped: 5 boxes without area: {where}\n' in said
    assert f'written: {out}/train.json, {out}/val.json\nimages:  {out}/images  ' in said
    assert (out / 'images/a.jpg').is_file()
    with pytest.raises(SystemExit) as caught:
        convert(tmp_path / 'data', out)
    assert str(caught.value).startswith(f'error: {out}/train.json is there already')


def test_refusals_are_one_line(tmp_path: Path, convert: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        convert(tmp_path / 'nowhere', tmp_path / 'out')
    assert str(caught.value) == f'error: {tmp_path}/nowhere does not exist'
    with pytest.raises(SystemExit):
        convert(tmp_path, tmp_path / 'out', '--val-share', '1')
    assert '--val-share must be between 0 and 1' in capsys.readouterr().err
