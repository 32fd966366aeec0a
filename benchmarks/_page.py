"""What every page of results begins with: when, where, with what and by which command."""

import datetime
import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
PACKAGES = ('torch', 'torchvision', 'mmengine', 'numpy')


def heading(title: str) -> str:
    """Title, date, machine, versions and command line as Markdown."""
    versions = ', '.join(f'{name} {version(name)}' for name in PACKAGES)
    command = shlex.join(['python', 'benchmarks/' + Path(sys.argv[0]).name, *sys.argv[1:]])
    return (
        f'# {title}\n\n'
        f'{datetime.date.today().isoformat()}; {_processor()}, {os.cpu_count()} cores, no GPU; '
        f'{platform.system()}, Python {platform.python_version()}, {versions}.\n\n'
        f'```bash\n{command}\n```\n'
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Rows of a Markdown table under their headings."""
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
