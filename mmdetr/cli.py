"""The console command ``mmdetr``: the tools by name, from any folder.

Imports nothing slow, so that ``mmdetr --help`` answers at once.
"""

import sys
import types
from pathlib import Path

from mmdetr.config.package_configs import package_configs, package_folder
from mmdetr.version import __version__
from mmdetr.zoo import UnknownModelError, models_table

COMMANDS = {
    'train': ('train.py', 'train a detector from a config'),
    'test': ('test.py', 'evaluate a checkpoint on the test data of a config'),
    'infer': ('infer.py', 'detect objects in images or a video'),
    'report': ('analysis/report.py', 'one page of a training: curves, errors, pictures, data'),
    'export': ('export.py', 'write a model for ONNX Runtime, OpenVINO or torch.export'),
    'serve': ('serve.py', 'serve a detector over HTTP, with a page'),
    'convert': ('convert_checkpoint.py', 'convert a checkpoint, or print what one holds'),
    'check': ('dataset/check.py', 'the same as dataset check'),
    'dataset check': ('dataset/check.py', 'look for what is wrong with the data of a config'),
    'dataset browse': ('dataset/browse.py', 'draw what a model is fed, after augmentation'),
    'dataset convert': ('dataset/convert.py', 'bring data of other formats into COCO JSON'),
    'analysis benchmark': ('analysis/benchmark.py', 'speed and memory of a model'),
    'analysis complexity': ('analysis/model_complexity.py', 'parameters and operations by part'),
    'analysis decoder-layers': ('analysis/decoder_layers.py', 'AP after each decoder layer'),
    'analysis attention': ('analysis/attention.py', 'where a detector looks in an image'),
    'analysis report': ('analysis/report.py', 'the same as report'),
    'configs': (None, 'list the configs that come with the package'),
    'models': (None, 'list the published models that have a name'),
}


def main() -> None:
    """Run the tool that the first words of the command line name.

    Raises:
        SystemExit: With the tool's exit status; 2 where no tool is named.
    """
    words = sys.argv[1:]
    if not words or words[0] in ('-h', '--help', 'help'):
        print(_help())
        sys.exit(0 if words else 2)
    if words[0] in ('-V', '--version'):
        print(f'mmdetr {__version__}')
        return
    command = next((name for name in (' '.join(words[:2]), words[0]) if name in COMMANDS), None)
    if command is None:
        sys.exit(f'{_help()}\n\nerror: no such command: {" ".join(words[:2])}')
    arguments = words[len(command.split()) :]
    file = COMMANDS[command][0]
    if file is None:
        _list(command)
        return
    sys.argv = [f'mmdetr {command}', *arguments]
    _run(package_folder('tools') / file)


def _list(what: str) -> None:
    try:
        print(models_table() if what == 'models' else '\n'.join(package_configs()))
    except UnknownModelError as error:
        sys.exit(f'error: {error}')


def _run(tool: Path) -> None:
    """Run a file as the main program; runpy would put its path in the place of the command."""
    module = types.ModuleType('__main__')
    module.__file__ = str(tool)
    sys.modules['__main__'] = module  # where multiprocessing looks for what workers need
    exec(compile(tool.read_bytes(), tool, 'exec'), vars(module))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {summary}' for name, (_, summary) in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: mmdetr COMMAND ...',
            '',
            *lines,
            '',
            'mmdetr COMMAND --help says more. A CONFIG is a file or the name of a config that',
            'comes with the package, as in  mmdetr train detr_tiny_1xb32-12e_shapes',
            'Several processes:  torchrun --nproc-per-node 8 -m mmdetr.cli train CONFIG '
            '--launcher pytorch',
        ]
    )


if __name__ == '__main__':
    main()
