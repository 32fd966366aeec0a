"""The container file names what is there; it is not built here."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / 'Dockerfile').read_text().replace('\\\n', ' ').splitlines()


def test_copies_what_is_there_and_not_left_out() -> None:
    sources = [shlex.split(line)[1] for line in LINES if line.startswith('COPY ')]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    left_out = (ROOT / '.dockerignore').read_text().split()
    needed = ['setup.py', 'README.md', 'MANIFEST.in', 'mmdetr', 'configs', 'tools', 'requirements']
    assert not [name for name in needed if any(fnmatch(name, pattern) for pattern in left_out)]


def test_targets_are_those_of_the_page() -> None:
    targets = {line.split()[-1] for line in LINES if line.startswith('FROM ')}
    page = (ROOT / 'docs' / 'deploy.md').read_text()
    assert set(re.findall(r'--target (\w+)', page)) == targets - {'base'}
    arguments = {line.split()[1].split('=')[0] for line in LINES if line.startswith('ARG ')}
    assert set(re.findall(r'--build-arg (\w+)', page)) == arguments


def test_installs_the_extra() -> None:
    assert "'serve': read_requirements('serve')" in (ROOT / 'setup.py').read_text()
    assert any('/tmp/mmdetr[serve]' in line for line in LINES)
