"""detrex's files of Conditional, DAB-, DN- and Deformable DETR and DINO, by their exact names."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from mmdetr.checkpoint import from_mmdetr
from mmdetr.checkpoint.layouts import find_layout
from mmdetr.checkpoint.layouts.deformable_variant import check_encoding
from mmdetr.checkpoint.report import LoadReport
from mmdetr.models import SinePositionalEncoding
from tests.helpers import deformable_cases, successor_cases
from tests.helpers.successor_cases import read_case

NAMES = {
    'conditional': 'Conditional DETR',
    'dab': 'DAB-DETR',
    'dab_patterns': 'DAB-DETR',
    'dn': 'DN-DETR',
    'deformable': 'Deformable DETR',
    'deformable_two_stage': 'Deformable DETR',
    'dino': 'DINO',
}

# Authors' name -> detrex's, by hand; each pattern is tried in turn.
COMMON = [
    (r'^backbone\.0\.body\.(conv1|bn1)', r'backbone.stem.\1'),
    (r'^backbone\.0\.body\.layer(\d)', lambda m: f'backbone.res{int(m[1]) + 1}'),
    (r'^(backbone.*)\.bn(\d)', r'\1.conv\2.norm'),
    (r'^(backbone.*)\.downsample\.0', r'\1.shortcut'),
    (r'^(backbone.*)\.downsample\.1', r'\1.shortcut.norm'),
    (r'\.linear1\.', '.ffns.0.layers.0.0.'),
    (r'\.linear2\.', '.ffns.0.layers.1.'),
    (r'\.activation\.', '.ffns.0.layers.0.1.'),
]
ONE_MAP = [
    *COMMON,
    (r'encoder\.(layers\.\d)\.self_attn\.', r'encoder.\1.attentions.0.attn.'),
    (r'\.(sa|self_attn)(_|\.)', '.attentions.0.'),
    (r'\.(ca|cross_attn)(_|\.)', '.attentions.1.'),
    (r'\.qcontent_proj', '.query_content_proj'),
    (r'\.qpos', '.query_pos'),
    (r'\.kcontent', '.key_content'),
    (r'\.kpos', '.key_pos'),
    (r'\.v_proj', '.value_proj'),
    (r'(layers\.\d)\.norm(\d)', lambda m: f'{m[1]}.norms.{int(m[2]) - 1}'),
    (r'decoder\.norm\.', 'decoder.post_norm_layer.'),
    (r'^refpoint_embed\.', 'anchor_box_embed.'),
    (r'^label_enc\.', 'denoising_generator.label_encoder.'),
]
SEVERAL_MAPS = [
    *COMMON,
    (r'encoder\.(layers\.\d)\.self_attn\.', r'encoder.\1.attentions.0.'),
    (r'decoder\.(layers\.\d)\.self_attn\.', r'decoder.\1.attentions.0.attn.'),
    (r'\.cross_attn\.', '.attentions.1.'),
    (r'encoder\.(layers\.\d)\.norm(\d)', lambda m: f'encoder.{m[1]}.norms.{int(m[2]) - 1}'),
    (r'(decoder\.layers\.\d)\.norm2', r'\1.norms.0'),
    (r'(decoder\.layers\.\d)\.norm1', r'\1.norms.1'),
    (r'(decoder\.layers\.\d)\.norm3', r'\1.norms.2'),
    (r'^input_proj\.([0-2])\.0', r'neck.convs.\1.conv'),
    (r'^input_proj\.([0-2])\.1', r'neck.convs.\1.norm'),
    (r'^input_proj\.3\.0', 'neck.extra_convs.0.conv'),
    (r'^input_proj\.3\.1', 'neck.extra_convs.0.norm'),
    (r'\.level_embed$', '.level_embeds'),
    (r'^query_embed\.', 'query_embedding.'),
    (r'^transformer\.enc_out_(class|bbox)_embed', r'\1_embed.3'),
]


def numbered(case: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    """A file whose weights are numbered, and the number of each of ours."""
    meta, _ = read_case(case)
    file: dict[str, Tensor] = {}
    ours = {}
    several = case in deformable_cases.CASES
    names = list(meta['shapes'])
    for name, source in [*zip(names, names, strict=True), *meta['aliases'].items()]:
        number = names.index(source)
        if source == name and several:
            ours[deformable_cases.our_name(name, meta)] = number
        elif source == name:
            ours[successor_cases.our_name(meta, name)] = number
        shape = meta['shapes'][source]
        size = [1] * (len(shape) > 1) + (shape[-2:] if len(shape) == 4 else [1])
        for pattern, theirs in SEVERAL_MAPS if several else ONE_MAP:
            name = re.sub(pattern, theirs, name)
        file[name] = torch.full(size, number)
    return file, ours


@pytest.mark.parametrize('case', NAMES)
def test_each_weight_finds_its_place(case: str) -> None:
    file, expected = numbered(case)
    for name in list(file):  # one PReLU under two names
        if '.ffns.0.layers.0.1.' in name:
            file[name.replace('.layers.0.1.', '.activation.')] = file[name]
    found = find_layout(file)
    assert (found.architecture.name, found.format) == (NAMES[case], 'detrex')
    converted = found.to_ours(file)
    assert converted.unknown == []
    values = converted.state_dict
    assert {name: int(value.flatten()[0]) for name, value in values.items()} == expected
    if case == 'dino':  # detrex has no row for "no label"
        assert len(values['bbox_head.label_embedding.embedding.weight']) == 2


def test_it_is_not_written() -> None:
    file, _ = numbered('conditional')
    with pytest.raises(ValueError, match='detrex is read, not written'):
        from_mmdetr(find_layout(file).to_ours(file).state_dict, 'detrex')


@pytest.mark.parametrize(('offset', 'warned'), [(0.0, True), (-0.5, False)])
def test_another_encoding_of_pixels_is_told(offset: float, warned: bool) -> None:
    file = SimpleNamespace(format='detrex', state_dict={})
    encoding = SinePositionalEncoding(num_feats=2, offset=offset)
    model: nn.Module = nn.Module()
    model.bbox_head = nn.Module()
    model.bbox_head.positional_encoding = encoding
    report = LoadReport('dino.pth', 'detrex', '')
    check_encoding(file, model, report)
    assert any('offset=-0.5, this model has' in text for text in report.warnings) == warned
