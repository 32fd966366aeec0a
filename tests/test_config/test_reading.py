"""Files that are no config are refused in one line, and at once."""

from pathlib import Path
from typing import Any

import pytest

from mmdetr.apis import init_detector
from mmdetr.config.reading import ConfigError, load_config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)


def message(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    assert '\n' not in text
    assert text.startswith(f'cannot read the config {path}')
    return text.removeprefix(f'cannot read the config {path}')


@pytest.mark.parametrize(
    ('files', 'text'),
    [
        ({'a.py': "_base_ = 'a.py'"}, '{a} -> {a}'),
        ({'a.py': "_base_ = 'b.py'", 'b.py': "_base_ = ['./a.py']"}, '{a} -> {b} -> {a}'),
        ({'a.py': "_base_ = 'b.yml'", 'b.yml': '_base_: b.yml'}, '{b} -> {b}'),
        (
            {
                'a.py': 'from mmengine.config import read_base\nwith read_base():\n'
                '    from .b import *',
                'b.py': 'from mmengine.config import read_base\nwith read_base():\n'
                '    from .a import *',
            },
            '{a} -> {b} -> {a}',
        ),
    ],
    ids=['itself', 'two', 'yaml', 'read_base'],
)
def test_bases_in_a_circle(tmp_path: Path, files: dict[str, str], text: str) -> None:
    paths = {Path(name).stem: tmp_path / name for name in files}
    for name, content in files.items():
        Path(name).write_text(content)
    for _ in range(2):  # the first time leaves nothing behind
        assert message('a.py').endswith('go round in a circle: ' + text.format(**paths))


def test_a_base_of_two_bases_is_no_circle() -> None:
    Path('root.py').write_text('a = dict(x=1)')
    Path('left.py').write_text("_base_ = 'root.py'\nb = 2")
    Path('a.py').write_text("_base_ = ['left.py']\nc = 3")
    Path('both.py').write_text("_base_ = ['a.py', 'other.py']")
    Path('other.py').write_text("_base_ = 'more.py'")
    Path('more.py').write_text('d = 4')
    assert load_config('both.py').to_dict() == dict(a=dict(x=1), b=2, c=3, d=4)


def test_missing_bases_name_the_file_that_wants_them(tmp_path: Path) -> None:
    Path('a.py').write_text("_base_ = 'b.py'")
    Path('b.py').write_text("_base_ = 'c.py'")
    base, missing = tmp_path / 'b.py', tmp_path / 'c.py'
    assert message('a.py') == f', in its base {base}: its base {missing} is missing'
    Path('b.py').write_text("_base_ = '.'")
    assert message('a.py').endswith('/. is no file')
    Path('b.py').write_text('_base_ = 3')
    assert message('a.py').endswith('_base_ must be a file or a list of files, not 3')


@pytest.mark.parametrize(
    ('name', 'content', 'text'),
    [
        ('a.py', b'a = 1\nb = (', ", line 2: SyntaxError: '(' was never closed"),
        ('a.py', b'def f():\n    return g\nb = f()', ", line 2: NameError: name 'g' is not"),
        ('a.py', b'\xff\xfe\0binary', ': UnicodeDecodeError: '),
        ('a.py', b'x={{_base_.nowhere}}', ": KeyError: 'nowhere'"),
        ('a.yaml', b'a: [1, 2\nb: }', ': ParserError: '),
        ('a.yaml', b'', ': it has no settings by name'),
        ('a.json', b'[1]', ': it has no settings by name'),
        ('a.json', b'{"a": 1,}', ', line 1: JSONDecodeError: '),
        ('a.txt', b'a = 1', ': OSError: Only py/yml/yaml/json type are supported'),
    ],
)
def test_files_that_are_no_config(name: str, content: bytes, text: str) -> None:
    Path(name).write_bytes(content)
    assert message(name).startswith(text)
    with pytest.raises(ConfigError):  # the API says the same
        init_detector(name)


def test_folders_are_no_config() -> None:
    Path('a.py').mkdir()
    assert message('a.py') == ': it is a folder'
