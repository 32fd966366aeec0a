"""The shapes in which people have weights: prefixes, folders, shards, averages."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file as save_safetensors
from torch import Tensor

from mmdetr.checkpoint import CheckpointError, from_mmdetr, load_into, read_checkpoint
from mmdetr.config.options import read_config
from mmdetr.registry import MODELS

NAMES = ('circle', 'rectangle', 'triangle')


def small_model(norm_first: bool = False) -> Any:
    torch.manual_seed(0)
    transformer = dict(
        type='DETRTransformer',
        num_encoder_layers=1,
        num_decoder_layers=1,
        feedforward_channels=32,
        norm_first=norm_first,
    )
    return MODELS.build(
        dict(
            type='DETR',
            _scope_='mmdetr',
            backbone=dict(type='ResNet', depth=18, out_indices=(0,)),
            neck=dict(type='InputProjection', out_channels=32),
            bbox_head=dict(
                type='DETRHead',
                num_classes=3,
                num_queries=5,
                positional_encoding=dict(type='SinePositionalEncoding'),
                transformer=transformer,
            ),
        )
    )


@pytest.fixture(scope='module')
def ours() -> dict[str, Tensor]:
    return small_model().state_dict()


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def holds(path: Path, expected: dict[str, Tensor], norm_first: bool = False) -> bool:
    model = small_model(norm_first)
    for parameter in model.parameters():
        parameter.data.fill_(7)
    load_into(model, read_checkpoint(path), strict=False, classes=NAMES)
    loaded = model.state_dict()
    return all(torch.equal(loaded[name], value) for name, value in expected.items())


@pytest.mark.parametrize('fmt', ['facebook', 'huggingface', 'mmdetr'])
@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
@pytest.mark.parametrize('wrapper', ['', 'model.', 'net.detector.'])
def test_prefixes(tmp_path: Path, ours: dict, fmt: str, prefix: str, wrapper: str) -> None:
    weights = prefixed(from_mmdetr(ours, fmt), prefix + wrapper)
    weights['criterion.empty_weight'] = torch.ones(4)
    torch.save(dict(state_dict=weights, global_step=3), tmp_path / 'a.ckpt')
    assert holds(tmp_path / 'a.ckpt', ours)


@pytest.mark.parametrize('entry', ['model_ema', 'ema', 'ema_state_dict'])
@pytest.mark.parametrize('module', [True, False])
def test_averaged_weights(tmp_path: Path, ours: dict, entry: str, module: bool) -> None:
    """They are taken where there are no others, and are said to be there otherwise."""
    weights = from_mmdetr(ours, 'facebook')
    averaged = dict(module=weights) if module else weights
    torch.save({entry: averaged, 'last_epoch': 3}, tmp_path / 'a.pth')
    assert holds(tmp_path / 'a.pth', ours)
    others = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save({entry: averaged, 'model': others}, tmp_path / 'b.pth')
    assert not holds(tmp_path / 'b.pth', ours)
    assert read_checkpoint(tmp_path / 'b.pth').averages == [entry]


def hub_folder(folder: Path, weights: dict[str, Tensor], shards: int, safe: bool) -> None:
    folder.mkdir()
    names = sorted(weights)
    suffix = 'safetensors' if safe else 'bin'
    stem = 'model' if safe else 'pytorch_model'
    index = {}
    for i in range(shards):
        part = {name: weights[name].contiguous() for name in names[i::shards]}
        file = f'{stem}.{suffix}' if shards == 1 else f'{stem}-{i + 1}-of-{shards}.{suffix}'
        (save_safetensors if safe else torch.save)(part, folder / file)
        index |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / f'{stem}.{suffix}.index.json').write_text(json.dumps(dict(weight_map=index)))
    labels = {str(i): name for i, name in enumerate(NAMES)}
    (folder / 'config.json').write_text(json.dumps(dict(model_type='detr', id2label=labels)))


@pytest.mark.parametrize('shards', [1, 3])
@pytest.mark.parametrize('safe', [True, False])
def test_folder_of_a_hub(tmp_path: Path, ours: dict, shards: int, safe: bool) -> None:
    folder = tmp_path / 'hub'
    hub_folder(folder, from_mmdetr(ours, 'huggingface'), shards, safe)
    assert read_checkpoint(folder).classes == NAMES
    assert holds(folder, ours)
    if shards > 1:
        next(folder.glob('*1-of-3*')).unlink()
        with pytest.raises(FileNotFoundError, match='1-of-3'):
            read_checkpoint(folder)


def test_index_leads_nowhere_else(tmp_path: Path) -> None:
    index = tmp_path / 'model.safetensors.index.json'
    for content, message in (
        ({'weight_map': {'a': '../a.safetensors'}}, 'not a file beside it'),
        ({'weight_map': {}}, 'no weight_map'),
        ([1], 'not a JSON object'),
    ):
        index.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path)
    index.unlink()
    with pytest.raises(CheckpointError, match='a folder with none of model'):
        read_checkpoint(tmp_path)


def test_pre_norm_file_of_table_transformer(tmp_path: Path) -> None:
    pre = small_model(norm_first=True).state_dict()
    weights = from_mmdetr(pre, 'huggingface')
    assert 'model.encoder.layernorm.weight' in weights  # transformers' own name
    hub_folder(tmp_path / 'hub', weights, 1, True)
    config = json.loads((tmp_path / 'hub' / 'config.json').read_text())
    config['model_type'] = 'table-transformer'
    (tmp_path / 'hub' / 'config.json').write_text(json.dumps(config))
    assert read_checkpoint(tmp_path / 'hub').classes == NAMES
    assert holds(tmp_path / 'hub', pre, norm_first=True)


@pytest.mark.parametrize('key', ['99999999999', '-1', 'x', '1.5'])
def test_labels_that_number_no_class(tmp_path: Path, ours: dict, key: str) -> None:
    hub_folder(tmp_path / 'hub', from_mmdetr(ours, 'huggingface'), 1, True)
    config = dict(model_type='detr', id2label={'0': 'a', key: 'b'})
    (tmp_path / 'hub' / 'config.json').write_text(json.dumps(config))
    file = read_checkpoint(tmp_path / 'hub')
    with pytest.raises(CheckpointError, match=r'config\.json beside .* numbers no class'):
        _ = file.classes


def test_pipe_beside_a_file_is_not_waited_for(tmp_path: Path, ours: dict) -> None:
    hub_folder(tmp_path / 'hub', from_mmdetr(ours, 'huggingface'), 1, True)
    (tmp_path / 'hub' / 'config.json').unlink()
    os.mkfifo(tmp_path / 'hub' / 'config.json')
    assert read_checkpoint(tmp_path / 'hub').classes is None


def test_rows_of_a_file_that_names_none(tmp_path: Path, ours: dict) -> None:
    """91 rows by the authors' code, fine-tuned on category ids of one's own."""
    weights = from_mmdetr(ours, 'facebook')
    for name in ('class_embed.weight', 'class_embed.bias'):
        rows = torch.full((92, *weights[name].shape[1:]), -20.0)
        rows[1:4], rows[91] = weights[name][:3], weights[name][3]
        weights[name] = rows
    torch.save(dict(model=weights), tmp_path / 'a.pth')
    file, model, reports = read_checkpoint(tmp_path / 'a.pth'), small_model(), []
    mine = ('dog', 'person', 'car')
    load_into(model, file, classes=mine, check=lambda _, report: reports.append(report))
    assert 'taken as COCO' in reports[0].doubts[0]
    assert 'checkpoint_classes' in reports[0].doubts[0]
    named = file.with_classes(['N/A', *mine])
    load_into(model, named, classes=mine, check=lambda _, report: reports.append(report))
    assert reports[1].doubts == []
    for name in ('bbox_head.cls_branch.weight', 'bbox_head.cls_branch.bias'):
        assert torch.equal(model.state_dict()[name], ours[name])


def test_yaml_tags_run_nothing(tmp_path: Path) -> None:
    flag = tmp_path / 'flag'
    for tag in ('apply:os.system', 'object/apply:os.system'):
        path = tmp_path / 'a.yaml'
        path.write_text(f"model: !!python/{tag} ['touch {flag}']\n")
        with pytest.raises(SystemExit, match=r'cannot read the config .*a\.yaml.*python'):
            read_config(str(path), None)
    path.write_text('model: {type: DETR}\n')
    (tmp_path / 'b.py').write_text("_base_ = 'c.yml'\n")
    (tmp_path / 'c.yml').write_text(f"model: !!python/object/apply:os.system ['touch {flag}']\n")
    with pytest.raises(SystemExit, match='cannot read the config'):
        read_config(str(tmp_path / 'b.py'), None)
    assert not flag.exists()
