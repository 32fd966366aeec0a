"""What people hand in as a checkpoint that is none, or whose weights are none."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mmdetr.checkpoint import CheckpointError, check_for_use, load_file, load_into, read_checkpoint

WEIGHTS = {'weight': torch.ones(3, 2), 'bias': torch.zeros(3)}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_file(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert '\n' not in text
    return text.removeprefix(f'{path} ')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (b'', 'empty'),
        (b'\n<!DOCTYPE html><html>', 'a web page'),
        ('\ufeff<html lang="ä">'.encode() + 'ä'.encode() * 600, 'a web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a', 'a pointer of Git LFS'),
        (b'{"error": "denied"}', 'a text: \'{"error": "denied"}\''),
        (b'hello world', "a text: 'hello world'"),
        (gzip.compress(b'abc'), 'a gzip archive'),
        (b'\0' * 257 + b'ustar\0' + b'\0' * 800, 'a tar archive'),
    ],
    ids=['empty', 'html', 'long html', 'lfs', 'json', 'text', 'gzip', 'tar'],
)
def test_files_that_are_something_else(
    tmp_path: Path, suffix: str, content: bytes, kind: str
) -> None:
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    assert refusal(path).startswith(f'is truncated or no checkpoint: it is {kind}')


@pytest.mark.parametrize('name', ['a.safetensors', 'a.pth', 'a.bin', 'a'])
def test_formats_are_told_by_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(save(WEIGHTS))
    assert torch.equal(load_file(tmp_path / name)['weight'], WEIGHTS['weight'])
    torch.save(WEIGHTS, tmp_path / name)
    assert torch.equal(load_file(tmp_path / name)['weight'], WEIGHTS['weight'])


@pytest.mark.parametrize(
    'change',
    [
        dict(shape=[5, 128]),
        dict(shape=[-3, 2]),
        dict(dtype='F64'),
        dict(dtype='F999'),
        dict(data_offsets=[0, 8]),
    ],
    ids=['shape', 'negative', 'dtype', 'unknown', 'offsets'],
)
def test_wrong_headers_of_safetensors(tmp_path: Path, change: dict) -> None:
    whole = save(WEIGHTS)
    end = 8 + struct.unpack('<Q', whole[:8])[0]
    header = json.loads(whole[8:end])
    header['weight'].update(change)
    text = json.dumps(header).encode()
    path = tmp_path / 'a.safetensors'
    path.write_bytes(struct.pack('<Q', len(text)) + text + whole[end:])
    assert refusal(path).startswith('is truncated or no checkpoint')
    for damaged in (whole[:-3], whole + b'more', struct.pack('<Q', 2**62) + whole[8:]):
        path.write_bytes(damaged)
        assert refusal(path).startswith('is truncated or no checkpoint')


@pytest.mark.filterwarnings('ignore')  # of torch about such tensors
@pytest.mark.parametrize(
    ('change', 'kind'),
    [
        (lambda w: w.to('meta'), 'without content'),
        (lambda w: w.to_sparse(), 'sparse'),
        (lambda w: w.to_sparse_csr(), 'sparse'),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), 'quantised'),
    ],
    ids=['meta', 'sparse', 'csr', 'quantised'],
)
def test_tensors_that_are_no_weights(
    tmp_path: Path, change: Callable[[Tensor], Tensor], kind: str
) -> None:
    torch.save({**WEIGHTS, 'weight': change(WEIGHTS['weight'])}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf'a\.pth: weight is .*{kind}'):
        read_checkpoint(tmp_path / 'a.pth', model=nn.Linear(2, 3))


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda w: w * torch.nan, '1 weights are not finite: weight'),
        (lambda w: w / 0, '1 weights are not finite: weight'),
        (lambda w: w.int(), r'1 weights are torch\.int32: weight'),
        (lambda w: w + 1j, r'1 weights are torch\.complex64: weight'),
        (lambda w: w.half(), None),
        (lambda w: w.double(), None),
    ],
    ids=['nan', 'inf', 'int', 'complex', 'half', 'double'],
)
def test_numbers_that_nothing_can_be_computed_with(
    tmp_path: Path, change: Callable[[Tensor], Tensor], text: str | None
) -> None:
    """NaN gives no detections, and no error either."""
    torch.save({**WEIGHTS, 'weight': change(WEIGHTS['weight'])}, tmp_path / 'a.pth')
    model: Any = nn.Linear(2, 3)
    file = read_checkpoint(tmp_path / 'a.pth', model=model)
    if text is None:
        load_into(model, file, check=check_for_use)
        assert torch.equal(model.weight, WEIGHTS['weight'])
        return
    with pytest.raises(CheckpointError, match=text):
        load_into(model, file, check=check_for_use)


@pytest.mark.parametrize('classes', [5, [1, 2], {1: 'a'}, torch.zeros(2)])
def test_classes_that_are_no_names(tmp_path: Path, classes: Any) -> None:
    meta = dict(mmdetr_version='1', dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=WEIGHTS, meta=meta), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: the classes in its meta are no names'):
        _ = read_checkpoint(tmp_path / 'a.pth').classes


def test_shards_that_are_missing_or_none(tmp_path: Path) -> None:
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps(dict(weight_map={'weight': 'one.safetensors', 'bias': 'two.bin'})))
    (tmp_path / 'one.safetensors').write_bytes(save({'weight': WEIGHTS['weight']}))
    with pytest.raises(FileNotFoundError, match=r'index\.json lists two\.bin, which is not beside'):
        read_checkpoint(tmp_path)
    torch.save([1], tmp_path / 'two.bin')
    with pytest.raises(CheckpointError, match=r'two\.bin: no weights in it'):
        read_checkpoint(tmp_path)
    torch.save({'other': torch.zeros(3)}, tmp_path / 'two.bin')
    with pytest.raises(CheckpointError, match='1 weights missing, as bias'):
        read_checkpoint(tmp_path)
