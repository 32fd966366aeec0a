"""Every command on a page is one that its tool takes, and is run by a test or says what it needs.

Commands are those of fenced ``bash`` blocks. A tool's own parser reads them in a folder with the
files that the page speaks of; nothing is run here.
"""

import argparse
import ast
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mmdetr.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'configs' / 'README.md']
PAGES += sorted((ROOT / 'docs').glob('*.md'))

# What a reader has: files and, with a slash at the end, folders.
GIVEN = ('photo.jpg', 'photos/', 'new_photos/', 'CONFIG', 'CHECKPOINT', 'configs/my_data.py')
GIVEN += ('detr-r50-e632da11.pth', 'detr-r50.pth', 'my_detr/toy_shapes.py')
# What earlier commands of a page write.
WRITTEN = ('work_dirs/photos/photos.py', 'work_dirs/photos/best_coco_bbox_mAP_epoch_40.pth')
WRITTEN += (
    'work_dirs/my_run/',
    'work_dirs/mine/best.pth',
    'work_dirs/toy_shapes/epoch_12.pth',
    'detr-r50.onnx',
)

# Of mmdetection, in tables for those who come from there.
FOREIGN = re.compile(r'tools/(misc|analysis_tools|model_converters|dataset_converters)/.*')
ELSEWHERE = {'--pdb', '--cases'}  # options of pytest, and of benchmarks/serving.py

# The test that runs the same on small data or a small model.
HELD = {
    r'train photos/': 'tests/test_end_to_end/test_one_command.py::test_from_a_folder',
    r'report work_dirs/\S+': 'tests/test_analysis/test_report.py::test_the_tool',
    r'infer new_photos/ .*': 'tests/test_apis/test_inference.py::test_infer_writes_pictures',
    r'infer photo.jpg \S+': 'tests/test_apis/test_named_models.py::test_infer_takes_a_name',
    r'analysis attention .*': 'tests/test_analysis/test_attention_page.py::test_the_tool',
    r'analysis decoder-layers .*': 'tests/test_tools/test_decoder_layers.py::test_last_layer',
    r'dataset check \S+': 'tests/test_tools/test_dataset_check.py::test_good_data',
    r'dataset browse \S+': 'tests/test_engine/test_fed_samples.py::test_the_tool',
    r'train (configs/my_data.py|CONFIG)': 'tests/test_tools/test_tools.py::test_train_resume',
    r'train work_dirs/photos/\S+ .*': 'tests/test_end_to_end/test_tools_chain.py::test_two_proc',
    r'train detr_tiny\S+': 'tests/test_wheel.py::test_trains_a_child_of_a_packaged_config',
    r'train \S*toy_shapes.py( --resume)?': 'tests/test_end_to_end/test_extending.py::test_resumed',
    r'test \S*toy_shapes.py .*': 'tests/test_end_to_end/test_extending.py::test_is_tested',
    r'export (detr-r50|\S+best.pth)': 'tests/test_apis/test_named_models.py::test_export_serve',
    r'export CONFIG .*': 'tests/test_deploy/test_export.py::test_images_in_and_detections_out',
    r'test CONFIG \S+\.onnx': 'tests/test_deploy/test_evaluation.py::test_the_metrics_are',
    r'serve CONFIG .* --token-file .*': 'tests/test_serving/test_server.py::test_token_from_a_file',
    r'serve \S+( \S+)?': 'tests/test_serving/test_server.py::test_answers',
    r'models|configs': 'tests/test_cli.py::test_lists',
    r'curl .*': 'tests/test_serving/test_app.py::test_equals_inference_detector',
    r'docker build .*': 'tests/test_serving/test_container_file.py::test_targets_are_those',
    r'export PYTHONPATH=my_detr': 'tests/test_end_to_end/test_extending.py::folder',
}
# What is not here.
NEEDS = {
    r'python3 -m venv \.venv': 'an empty environment',
    r'(\.venv/bin/)?pip install .*': 'a network',
    r'\.venv/bin/(python -m pytest|pre-commit install)|\.ci/run': 'an environment of its own',
    r'(train|test|infer) .*configs/detr_r50_8xb2-150e_coco.py.*': 'COCO, GPUs or published weights',
    r'train configs/detr_tiny\S+': 'ten minutes',
    r'docker run .*': 'Docker',
}


def blocks(page: Path) -> Iterator[str]:
    found = re.finditer(r'^```bash\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
    yield from (match[1] for match in found)


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every command of a page, without variables that are set before it."""
    for block in blocks(page):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index('&&') if '&&' in words else len(words)
                command, words = words[:end], words[end + 1 :]
                while '=' in command[0]:
                    command.pop(0)
                yield command


def tool_and_arguments(words: list[str]) -> tuple[str | None, list[str]]:
    """File below ``tools/`` that a command starts, and what it is told; None for other programs."""
    program, rest = words[0], words[1:]
    if program == 'mmdetr':
        name = next((name for name in (' '.join(rest[:2]), rest[0]) if name in COMMANDS), None)
        assert name is not None, f'no such command: {words}'
        return COMMANDS[name][0], rest[len(name.split()) :]
    if program.endswith('python') and rest[0].startswith('tools/'):
        return rest[0].removeprefix('tools/'), rest[1:]
    if program == 'tools/dist_train.sh':
        return 'train.py', [rest[0], *rest[2:]]
    if program == 'tools/slurm_train.sh':
        return 'train.py', rest[2:]
    return None, rest


def in_short(words: list[str]) -> str:
    """The command under the name that ``mmdetr`` has for it."""
    tool, arguments = tool_and_arguments(words)
    names = [name for name, (file, _) in COMMANDS.items() if file == tool]
    if tool is None:
        return ' '.join(words).removeprefix('mmdetr ')
    return ' '.join([max(names, key=len) if 'dataset' in tool else names[0], *arguments])


@cache
def parse_args_of(tool: str) -> Any:
    """What stands before a tool's slow imports: its ``parse_args``."""
    source = ast.parse((ROOT / 'tools' / tool).read_text())
    end = next(i for i, node in enumerate(source.body) if isinstance(node, ast.If))
    scope: dict[str, Any] = {'__doc__': ast.get_docstring(source), '__name__': 'tool'}
    exec(compile(ast.Module(source.body[:end], []), tool, 'exec'), scope)
    return scope['parse_args']


COMMANDS_OF_PAGES = [
    pytest.param(words, id=f'{page.name}: {" ".join(words)[:70]}')
    for page in PAGES
    for words in commands(page)
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, and what the pages speak of."""
    folder = tmp_path_factory.mktemp('reader')
    (folder / 'configs').mkdir()
    for path in (ROOT / 'configs').iterdir():
        (folder / 'configs' / path.name).symlink_to(path)
    for name in GIVEN + WRITTEN:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith('/'):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return folder


@pytest.mark.parametrize('words', COMMANDS_OF_PAGES)
def test_its_tool_takes_it(words: list[str], folder: Path, monkeypatch: Any) -> None:
    tool, arguments = tool_and_arguments(words)
    if tool is None:
        program = words[0].removeprefix('.venv/bin/')
        assert program in (
            'mmdetr',
            'pip',
            'python',
            'python3',
            'curl',
            'docker',
            'pre-commit',
        ) or ((ROOT / program).is_file() or program == 'export')
        return
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    parse_args_of(tool)()


@pytest.mark.parametrize('words', COMMANDS_OF_PAGES)
def test_it_is_run_by_a_test_or_needs_what_is_not_here(words: list[str]) -> None:
    text = in_short(words)
    found = [where for pattern, where in (HELD | NEEDS).items() if re.fullmatch(pattern, text)]
    assert found, f'{text}: run it in a test and name that in HELD'


def test_what_is_named_is_there() -> None:
    texts = [in_short(param.values[0]) for param in COMMANDS_OF_PAGES]
    assert len(texts) > 30
    for pattern in HELD | NEEDS:
        assert any(re.fullmatch(pattern, text) for text in texts), f'no page has {pattern}'
    for where in HELD.values():
        path, _, name = where.partition('::')
        assert f'def {name}' in (ROOT / path).read_text(), where


@cache
def options_of(tool: str) -> set[str]:
    """All options that a tool's parser has."""
    found: set[str] = set()

    def see(parser: argparse.ArgumentParser, *_: Any) -> None:
        found.update(parser._option_string_actions)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', see)
        with pytest.raises(SystemExit):
            parse_args_of(tool)()
    return found


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_names_in_the_text(page: Path) -> None:
    """Commands, options, extras and paths that a page names exist."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    tools = {file for file, _ in COMMANDS.values() if file}
    every = set.union(ELSEWHERE, *map(options_of, tools))
    for code in re.findall(r'`([^`\n]+)`', text):
        words = code.split()
        if FOREIGN.fullmatch(words[0]) or 'COMMAND' in words:
            continue
        is_command = words[0] == 'mmdetr' and len(words) > 1 and words[1].isalpha()
        if is_command or words[0].startswith('tools/'):
            tool, _ = tool_and_arguments(['python', *words] if words[0] != 'mmdetr' else words)
            options = options_of(tool) if tool in tools else every
        elif words[0].startswith('-'):
            options = every
        else:
            options = None
        if options is not None:
            assert {word for word in words if word.startswith('--')} <= options, code
        path = re.fullmatch(r'(tools|tests|benchmarks|configs|docs|mmdetr)/[\w./-]*', words[0])
        if path and path[0] not in GIVEN:
            assert (ROOT / path[0]).exists(), code


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_extras(page: Path) -> None:
    extras = {path.stem for path in (ROOT / 'requirements').glob('*.txt')}
    for name in re.findall(r'(?:\.|mmdetr)\[(\w+)\]', page.read_text()):
        assert name in extras
