"""Layouts of Deformable DETR and its successors on files of their exact names."""

import argparse
import re

import pytest
import torch
from torch import Tensor

from mmdetr.checkpoint import convert, from_mmdetr, load_checkpoint, read_checkpoint
from mmdetr.checkpoint.layouts import find_layout
from mmdetr.datasets.coco_classes import COCO_CLASSES
from mmdetr.registry import MODELS
from tests.helpers.deformable_cases import CASES, model_config, our_name
from tests.helpers.successor_cases import authors_state_dict, read_case

NAMES = {
    'dab_deformable': 'DAB-Deformable DETR',
    'dn_deformable': 'DN-Deformable DETR',
    'dino': 'DINO',
}
DEFORMABLE = [case for case in CASES if case not in NAMES]

# Authors' name -> name elsewhere, by hand; each pattern is tried in turn.
MMDETECTION = [
    (r'^backbone\.0\.body\.', 'backbone.'),
    (r'^input_proj\.([0-2])\.0', r'neck.convs.\1.conv'),
    (r'^input_proj\.([0-2])\.1', r'neck.convs.\1.gn'),
    (r'^input_proj\.3\.0', 'neck.extra_convs.0.conv'),
    (r'^input_proj\.3\.1', 'neck.extra_convs.0.gn'),
    (r'^transformer\.enc_out_(class|bbox)_embed', r'\1_embed.3'),
    (r'^transformer\.enc_output_norm', 'memory_trans_norm'),
    (r'^transformer\.enc_output', 'memory_trans_fc'),
    (r'^transformer\.pos_trans_norm', 'pos_trans_norm'),
    (r'^transformer\.pos_trans', 'pos_trans_fc'),
    (r'^transformer\.reference_points', 'reference_points_fc'),
    (r'^transformer\.tgt_embed', 'query_embedding'),
    (r'^query_embed\.', 'query_embedding.'),
    (r'^label_enc', 'dn_query_generator.label_embedding'),
    (r'^transformer\.', ''),
    (r'^(decoder\.)?class_embed\.', 'bbox_head.cls_branches.'),
    (r'^(decoder\.)?bbox_embed\.(\d)\.layers\.0', r'bbox_head.reg_branches.\2.0'),
    (r'^(decoder\.)?bbox_embed\.(\d)\.layers\.1', r'bbox_head.reg_branches.\2.2'),
    (r'^(decoder\.)?bbox_embed\.(\d)\.layers\.2', r'bbox_head.reg_branches.\2.4'),
    (r'^(decoder\.layers\.\d)\.self_attn\.', r'\1.self_attn.attn.'),
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'^(encoder\.layers\.\d)\.norm1\.', r'\1.norms.0.'),
    (r'^(encoder\.layers\.\d)\.norm2\.', r'\1.norms.1.'),
    (r'^(decoder\.layers\.\d)\.norm2\.', r'\1.norms.0.'),
    (r'^(decoder\.layers\.\d)\.norm1\.', r'\1.norms.1.'),
    (r'^(decoder\.layers\.\d)\.norm3\.', r'\1.norms.2.'),
]
HUGGINGFACE = [
    (r'^backbone\.0\.body\.', 'model.backbone.conv_encoder.model.'),
    (r'^input_proj\.', 'model.input_proj.'),
    (r'^query_embed\.', 'model.query_position_embeddings.'),
    (r'^(transformer\.decoder\.)?(class|bbox)_embed\.', r'\2_embed.'),
    (r'^transformer\.', 'model.'),
    (r'\.cross_attn\.', '.encoder_attn.'),
    (r'\.linear', '.fc'),
    (r'(encoder\.layers\.\d)\.norm1\.', r'\1.self_attn_layer_norm.'),
    (r'(encoder\.layers\.\d)\.norm2\.', r'\1.final_layer_norm.'),
    (r'(decoder\.layers\.\d)\.norm2\.', r'\1.self_attn_layer_norm.'),
    (r'(decoder\.layers\.\d)\.norm1\.', r'\1.encoder_attn_layer_norm.'),
    (r'(decoder\.layers\.\d)\.norm3\.', r'\1.final_layer_norm.'),
]


def numbered(case: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    """A file of the authors whose weights are numbered, and the number of each of ours."""
    meta, _ = read_case(case)
    file, ours = {}, {}
    for number, (name, shape) in enumerate(meta['shapes'].items()):
        size = shape[-2:] if len(shape) == 4 else shape[:1] if '.in_proj_' in name else [1]
        file[name] = torch.full(
            [2 if name == 'label_enc.weight' else 1] * (len(shape) > 1) + size, number
        )
        ours[our_name(name, meta)] = number
    return file | {again: file[name] for again, name in meta['aliases'].items()}, ours


def elsewhere(layout: str, case: str) -> dict[str, Tensor]:
    """The same file as another codebase writes it."""
    file: dict[str, Tensor] = {}
    for name, value in numbered(case)[0].items():
        for pattern, theirs in MMDETECTION if layout == 'mmdetection' else HUGGINGFACE:
            name = re.sub(pattern, theirs, name)
        if layout == 'huggingface' and '.in_proj_' in name:
            for part, rows in zip('qkv', value.chunk(3, dim=-1), strict=True):
                file[name.replace('.in_proj_', f'.{part}_proj.')] = rows
        elif layout == 'mmdetection' and name.startswith('neck') and name.endswith('conv.bias'):
            continue  # mmdetection has none
        else:
            file[name] = value[:1] if 'label_embedding' in name else value
    return file


@pytest.mark.parametrize(
    ('layout', 'case'),
    [
        *(('authors', case) for case in CASES),
        *(('mmdetection', case) for case in [*DEFORMABLE, 'dino']),
        *(('huggingface', case) for case in DEFORMABLE),
    ],
)
def test_each_weight_of_a_published_layout_finds_its_place(layout: str, case: str) -> None:
    authors, expected = numbered(case)
    file = authors if layout == 'authors' else elsewhere(layout, case)
    found = find_layout(file)
    architecture = NAMES.get(case, 'Deformable DETR')
    assert (found.architecture.name, found.format) == (architecture, layout)
    converted = found.to_ours(file)
    assert converted.unknown == []
    if layout == 'mmdetection':
        no_bias = [name for name in expected if re.match(r'neck.*conv\.bias', name)]
        expected |= dict.fromkeys(no_bias, 0)
    numbers = {name: value.flatten()[0].item() for name, value in converted.state_dict.items()}
    assert numbers == expected


@pytest.mark.parametrize('case', CASES)
def test_written_as_the_authors_do(case: str) -> None:
    file, _ = numbered(case)
    ours = find_layout(file).to_ours(file).state_dict
    written = from_mmdetr(ours, 'authors')
    assert written.keys() == file.keys()
    assert all(written[name].equal(value) for name, value in file.items())


@pytest.mark.parametrize('layout', ['mmdetection', 'huggingface'])
@pytest.mark.parametrize('case', DEFORMABLE)
def test_written_as_others_do(layout: str, case: str) -> None:
    file = elsewhere(layout, case)
    ours = find_layout(file).to_ours(file).state_dict
    written = from_mmdetr(ours, layout)
    more = {
        name for name in written if re.match(r'neck.*conv\.bias|model\.decoder\.\w+_embed', name)
    }
    assert written.keys() - more == file.keys()
    assert all(written[name].flatten()[0] == value.flatten()[0] for name, value in file.items())


@pytest.mark.parametrize('case', ['deformable_two_stage', 'dino'])
def test_a_file_of_the_authors_in_and_out(case: str, tmp_path) -> None:
    """Class rows by name, from 91 category ids to 80 classes and back; "object" stays row 0."""
    meta, _ = read_case(case)
    weights = authors_state_dict(meta)
    every = weights | {again: weights[name] for again, name in meta['aliases'].items()}
    source = tmp_path / 'checkpoint.pth'
    torch.save(dict(model=every, args=argparse.Namespace(dilation=False), epoch=49), source)
    file = read_checkpoint(source)
    words = '4 scales, two-stage, heads: '
    words += 'of each layer' if case == 'deformable_two_stage' else 'one for all layers'
    assert words in str(file.variant)
    config = model_config(meta)
    config['bbox_head']['num_classes'] = 80
    model = MODELS.build(config)
    model.dataset_meta = dict(classes=COCO_CLASSES)

    load_checkpoint(model, source)

    bicycle = weights['transformer.decoder.class_embed.0.weight'][2]
    assert model.bbox_head.cls_branches[0].weight[1].equal(bicycle)
    proposals = model.bbox_head.proposals.cls_branch.weight
    if case == 'dino':
        assert proposals[1].equal(weights['transformer.enc_out_class_embed.weight'][2])
        table = model.bbox_head.label_embedding.embedding.weight
        assert table[79].equal(weights['label_enc.weight'][90])  # toothbrush
    else:
        assert proposals[0].equal(weights['transformer.decoder.class_embed.3.weight'][0])

    own = tmp_path / 'own.pth'
    meta_of_run = dict(mmdetr_version='0', dataset_meta=dict(classes=COCO_CLASSES))
    torch.save(dict(meta=meta_of_run, state_dict=model.state_dict()), own)
    convert(read_checkpoint(own), tmp_path / 'back.pth', 'authors')
    back = torch.load(tmp_path / 'back.pth', weights_only=True)['model']
    assert back.keys() == every.keys()
    for name in ('class_embed.0.weight', 'transformer.decoder.class_embed.2.weight'):
        assert back[name].shape == (91, 256)
        assert back[name][2].equal(every[name][2])
    if case == 'deformable_two_stage':
        assert back['class_embed.3.weight'].shape == (91, 256)
        assert back['class_embed.3.weight'][0].equal(every['class_embed.3.weight'][0])
