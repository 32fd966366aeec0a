"""Installs mmdetr. Needs neither torch nor a compiler."""

import re
import shutil
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def read_requirements(name: str) -> list[str]:
    """Requirement lines of requirements/NAME.txt, included files resolved."""
    requirements = []
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            requirements += read_requirements(line[3:].removesuffix('.txt'))
        elif line:
            requirements.append(line)
    return requirements


# Distributions that are the same import package as a requirement: installing one over the other
# breaks both.
REPLACEMENTS = {
    'mmcv-lite': {'mmcv', 'onedl-mmcv'},
    'mmengine': {'mmengine-lite', 'onedl-mmengine'},
}


def installed_distributions() -> set[str]:
    """Names of the distributions in the target environment.

    An isolated build does not see the environment on its path, hence the look at its folders.
    """
    folders = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
    found = distributions(path=[folder for folder in folders if folder])
    names = [dist.metadata['Name'] or '' for dist in found]
    return {re.sub(r'[-_.]+', '-', name).lower() for name in names}


def runtime_requirements() -> list[str]:
    """Runtime requirements without those for which a replacement is installed."""
    installed = installed_distributions()
    return [
        line
        for line in read_requirements('runtime')
        if not REPLACEMENTS.get(re.split(r'[<>=!~ ]', line)[0], set()) & installed
    ]


class BuildWithConfigs(build_py):
    """Put configs and tools into the package, where mmengine and mim look for them.

    An editable installation finds them in the checkout.
    """

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        folder = Path(self.build_lib, 'mmdetr', '.mim')
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        for name in ('configs', 'tools'):
            unwanted = shutil.ignore_patterns('__pycache__', '.*')
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)


version = re.search(r"__version__ = '(.+)'", (ROOT / 'mmdetr/version.py').read_text())
assert version is not None, 'mmdetr/version.py states no __version__'

setup(
    name='mmdetr',
    version=version[1],
    description='DETR as an MMDetection-style codebase, without compiled operators',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdetr', 'mmdetr.*']),
    package_data={
        'mmdetr.recipes': ['measured.json'],
        'mmdetr.serving.pages': ['*.html'],
        'mmdetr.zoo': ['models.json'],
    },
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['mmdetr = mmdetr.cli:main']},
    python_requires='>=3.10',
    install_requires=runtime_requirements(),
    extras_require={
        'export': read_requirements('export'),
        'optional': read_requirements('optional'),
        'serve': read_requirements('serve'),
        'tests': read_requirements('tests'),
        'timm': read_requirements('timm'),
        'video': read_requirements('video'),
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
