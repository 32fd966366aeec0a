"""Layouts of Conditional, DAB- and DN-DETR on files of their exact names."""

import argparse
import re
from functools import cache

import pytest
import torch

from mmdetr.checkpoint import convert, from_mmdetr, load_checkpoint, read_checkpoint
from mmdetr.checkpoint.layouts import find_layout
from mmdetr.checkpoint.layouts.query_variant import check_anchors
from mmdetr.checkpoint.report import LoadReport
from mmdetr.datasets.coco_classes import COCO_CLASSES
from mmdetr.registry import MODELS
from tests.helpers.successor_cases import authors_state_dict, model_config, our_name, read_case

NAMES = {
    'conditional': 'Conditional DETR',
    'dab': 'DAB-DETR',
    'dab_patterns': 'DAB-DETR',
    'dn': 'DN-DETR',
}

# Authors' name -> name elsewhere, by hand; each pattern is tried in turn.
COMMON = [(r'^transformer\.((en|de)coder)', r'\1')]
MMDETECTION = [
    (r'^backbone\.0\.body\.', 'backbone.'),
    (r'^input_proj\.', 'neck.convs.0.conv.'),
    *COMMON,
    (r'^transformer\.patterns', 'patterns'),
    (r'^(query|refpoint)_embed\.', 'query_embedding.'),
    (r'^class_embed\.', 'bbox_head.fc_cls.'),
    (r'encoder\.(layers\.\d+)\.self_attn\.', r'encoder.\1.self_attn.attn.'),
    (r'\.sa_(\w+)_proj\.', r'.self_attn.\1_proj.'),
    (r'\.ca_(\w+)_proj\.', r'.cross_attn.\1_proj.'),
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'\.activation\.', '.ffn.layers.0.1.'),
    (r'\.norm1\.', '.norms.0.'),
    (r'\.norm2\.', '.norms.1.'),
    (r'\.norm3\.', '.norms.2.'),
    (r'^decoder\.norm\.', 'decoder.post_norm.'),
]
MMDETECTION_BOXES = {
    'conditional': [
        (r'^bbox_embed\.layers\.0', 'bbox_head.reg_ffn.layers.0.0'),
        (r'^bbox_embed\.layers\.1', 'bbox_head.reg_ffn.layers.1'),
        (r'^bbox_embed\.layers\.2', 'bbox_head.fc_reg'),
    ],
    'dab': [(r'^(decoder\.)?bbox_embed\.', 'bbox_head.fc_reg.')],
}
HUGGINGFACE_COMMON = [
    (r'^input_proj\.', 'model.input_projection.'),
    (r'^transformer\.', 'model.'),
    (r'^query_embed\.', 'model.query_position_embeddings.'),
    (r'^refpoint_embed\.', 'model.query_refpoint_embeddings.'),
    (r'encoder\.(layers\.\d+)\.linear', r'encoder.\1.fc'),
    (r'encoder\.(layers\.\d+)\.norm1\.', r'encoder.\1.self_attn_layer_norm.'),
    (r'encoder\.(layers\.\d+)\.norm2\.', r'encoder.\1.final_layer_norm.'),
    (r'decoder\.norm\.', 'decoder.layernorm.'),
]
HUGGINGFACE = {
    'conditional': [
        (r'^backbone\.0\.body\.', 'model.backbone.conv_encoder.model.'),
        *HUGGINGFACE_COMMON,
        (r'\.cross_attn\.', '.encoder_attn.'),
        (r'\.linear', '.fc'),
        (r'\.norm1\.', '.self_attn_layer_norm.'),
        (r'\.norm2\.', '.encoder_attn_layer_norm.'),
        (r'\.norm3\.', '.final_layer_norm.'),
        (r'^class_embed\.', 'class_labels_classifier.'),
        (r'^bbox_embed\.', 'bbox_predictor.'),
    ],
    'dab': [
        (r'^backbone\.0\.body\.', 'model.backbone.conv_encoder.model._backbone.'),
        *HUGGINGFACE_COMMON,
        (r'encoder\.(layers\.\d+)\.activation\.', r'encoder.\1.activation_fn.'),
        (r'decoder\.(layers\.\d+)\.self_attn\.out', r'decoder.\1.self_attn.self_attn.output'),
        (r'decoder\.(layers\.\d+)\.cross_attn\.out', r'decoder.\1.cross_attn.cross_attn.output'),
        (r'\.sa_([qkv])', r'.self_attn.self_attn_\1'),
        (r'\.ca_([qkv])', r'.cross_attn.cross_attn_\1'),
        (r'_attn_qcontent', '_attn_query_content'),
        (r'_attn_qpos', '_attn_query_pos'),
        (r'_attn_kcontent', '_attn_key_content'),
        (r'_attn_kpos', '_attn_key_pos'),
        (r'_attn_v_proj', '_attn_value_proj'),
        (r'\.linear', '.mlp.fc'),
        (r'\.norm1\.', '.self_attn.self_attn_layer_norm.'),
        (r'\.norm2\.', '.cross_attn.cross_attn_layer_norm.'),
        (r'\.norm3\.', '.mlp.final_layer_norm.'),
        (r'\.activation\.', '.mlp.activation_fn.'),
        (r'^(model\.decoder\.)?bbox_embed\.', 'bbox_predictor.'),
    ],
}


@cache
def authors_names(case: str) -> tuple[str, ...]:
    """Names of a case's weights."""
    return tuple(read_case(case)[0]['shapes'])


def other_name(layout: str, case: str, name: str) -> str:
    """The name in mmdetection or on the hub, with fused attention."""
    kind = case.partition('_')[0]
    table = MMDETECTION_BOXES[kind] + MMDETECTION if layout == 'mmdetection' else HUGGINGFACE[kind]
    if layout == 'mmdetection':
        table = [*COMMON, *table]
    for pattern, theirs in table:
        name = re.sub(pattern, theirs, name)
    return name


def numbered(layout: str, case: str) -> tuple[dict, dict]:
    """A file of ``layout`` whose weights are numbered, and what ours must hold."""
    meta, _ = read_case(case)
    file, ours = {}, {}
    for number, name in enumerate(authors_names(case)):
        expected = ours[our_name(meta, name)] = [number]
        if layout == 'authors':
            file[name] = torch.tensor([number])
        elif layout == 'huggingface' and '.in_proj_' in name:
            expected *= 3
            for part in 'qkv':
                theirs = other_name(layout, case, name.replace('.in_proj_', f'.{part}_proj.'))
                file[theirs] = torch.tensor([number])
        else:
            file[other_name(layout, case, name)] = torch.tensor([number])
    return file, ours


@pytest.mark.parametrize(
    ('layout', 'case'),
    [('authors', case) for case in NAMES]
    + [(layout, case) for layout in ('mmdetection', 'huggingface') for case in list(NAMES)[:3]],
)
def test_each_weight_of_a_published_layout_finds_its_place(layout: str, case: str) -> None:
    file, expected = numbered(layout, case)
    found = find_layout(file)
    assert (found.architecture.name, found.format) == (NAMES[case], layout)
    converted = found.to_ours(file)
    assert converted.unknown == []
    assert {name: value.tolist() for name, value in converted.state_dict.items()} == expected


@pytest.mark.parametrize('case', NAMES)
def test_the_second_name_of_the_box_head_is_the_same_weight(case: str) -> None:
    meta, _ = read_case(case)
    file, expected = numbered('authors', case)
    again = {alias: file[name] for alias, name in meta['aliases'].items()}
    converted = find_layout(file | again).to_ours(file | again)
    assert {name: value.tolist() for name, value in converted.state_dict.items()} == expected
    ours = {name: torch.tensor(value) for name, value in expected.items()}
    written = from_mmdetr(ours, 'authors')
    assert written.keys() == (file | again).keys()
    assert all(written[name].tolist() == value.tolist() for name, value in (file | again).items())


@pytest.mark.parametrize('case', ['conditional', 'dn'])
def test_a_file_of_the_authors_in_and_out(case: str, tmp_path) -> None:
    """Class rows by name, from 91 category ids to 80 classes and back; DC5 by the arguments."""
    meta, _ = read_case(case)
    weights = authors_state_dict(meta)
    args = argparse.Namespace(dilation=True, pe_temperatureH=20)
    source = tmp_path / 'checkpoint.pth'
    torch.save(dict(model=weights, args=args, epoch=49), source)
    config = model_config(meta)
    config['bbox_head'] |= dict(num_classes=80)
    model = MODELS.build(config)
    model.dataset_meta = dict(classes=COCO_CLASSES)

    load_checkpoint(model, source)

    bicycle = model.bbox_head.cls_branch.weight[1]
    assert bicycle.equal(weights['class_embed.weight'][2])
    if case == 'dn':
        table = model.bbox_head.label_embedding.embedding.weight
        assert table.shape == (81, 255)
        assert table[79].equal(weights['label_enc.weight'][90])  # toothbrush
        assert table[80].equal(weights['label_enc.weight'][91])  # no label
    file = read_checkpoint(source)
    assert file.layout.architecture.traits(file)['DC5'] == 'yes'

    own = tmp_path / 'own.pth'
    meta_of_run = dict(mmdetr_version='0', dataset_meta=dict(classes=COCO_CLASSES))
    torch.save(dict(meta=meta_of_run, state_dict=model.state_dict()), own)
    convert(read_checkpoint(own), tmp_path / 'back.pth', 'authors')
    back = torch.load(tmp_path / 'back.pth', weights_only=True)['model']
    assert back['class_embed.weight'].shape == (91, 256)
    assert back['class_embed.weight'][2].equal(weights['class_embed.weight'][2])
    if case == 'dn':
        assert back['label_enc.weight'].shape == (92, 255)
        assert back['label_enc.weight'][[90, 91]].equal(weights['label_enc.weight'][[90, 91]])


def test_variant_and_another_temperature_are_told(tmp_path) -> None:
    meta, _ = read_case('dab_patterns')
    path = tmp_path / 'checkpoint.pth'
    args = argparse.Namespace(dilation=False, pe_temperatureH=20)
    torch.save(dict(model=authors_state_dict(meta), args=args), path)
    assert '6 queries, 91 class rows, 3 patterns' in str(read_checkpoint(path).variant)
    config = model_config(meta)
    config['bbox_head']['positional_encoding']['temperature'] = 10000
    report = LoadReport(str(path), 'authors', '')
    check_anchors(read_checkpoint(path), MODELS.build(config), report)
    assert any('temperature=20, this one has 10000' in warning for warning in report.warnings)
