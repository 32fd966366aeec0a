import importlib.metadata

import pytest

from mmdetr.evaluation.box_scores import resolve_backend


def fake_version(monkeypatch, version):
    def lookup(name):
        assert name == 'faster-coco-eval'
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, 'version', lookup)


@pytest.mark.parametrize(
    ('version', 'expected'),
    [(None, 'pycocotools'), ('1.5.9', 'pycocotools'), ('1.6.0', 'faster_coco_eval')],
)
def test_auto_takes_what_is_installed(monkeypatch, version, expected):
    fake_version(monkeypatch, version)
    assert resolve_backend('auto') == expected
    assert resolve_backend('pycocotools') == 'pycocotools'


@pytest.mark.parametrize(('version', 'found'), [(None, 'not installed'), ('1.5.9', '1.5.9')])
def test_named_backend_must_be_there(monkeypatch, version, found):
    fake_version(monkeypatch, version)
    with pytest.raises(ImportError, match=f'{found}.*pip install'):
        resolve_backend('faster_coco_eval')


def test_unknown_backend():
    with pytest.raises(ValueError, match="got 'cocoapi'"):
        resolve_backend('cocoapi')
