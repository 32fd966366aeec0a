"""Links in the Markdown pages lead to files of the repository."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')]
PAGES += sorted(
    path for name in ('docs', 'configs', 'benchmarks') for path in (ROOT / name).glob('*.md')
)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_under_version_control(page: Path) -> None:
    prose = re.sub(r'```.*?```|`[^`]*`', '', page.read_text(), flags=re.S)
    links = re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', prose)
    targets = [str((page.parent / link).resolve().relative_to(ROOT)) for link in links]
    # A file that git does not know is there today and gone in a clone.
    tracked = subprocess.run(
        ['git', 'ls-files', '--error-unmatch', '--', *targets],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if tracked.returncode == 128:
        pytest.skip('not a git checkout')
    assert tracked.returncode == 0, tracked.stderr
