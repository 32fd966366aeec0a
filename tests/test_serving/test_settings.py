"""What a service is told."""

import importlib.util
from typing import Any

import pytest

from mmdetr.serving.settings import MissingPackageError, Settings, check_installed


def test_missing_packages_are_one_sentence_with_the_command(monkeypatch: Any) -> None:
    find = importlib.util.find_spec
    missing = {'uvicorn', 'python_multipart'}
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name in missing else find('json')
    )
    with pytest.raises(MissingPackageError) as caught:
        check_installed()
    assert str(caught.value) == (
        'serving needs uvicorn, python-multipart: pip install uvicorn python-multipart'
    )
    missing.clear()
    check_installed()


@pytest.mark.parametrize(
    'wrong',
    [
        dict(max_batch=0),
        dict(queue=0),
        dict(max_bytes=0),
        dict(max_pixels=-1),
        dict(decoders=0),
        dict(max_wait=-1),
        dict(max_wait=float('nan')),
        dict(timeout=0),
        dict(upload_timeout=float('inf')),
        dict(token=' '),
    ],
)
def test_wrong_numbers_are_refused_by_name(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Settings(**wrong)
