import re
from functools import cache

import pytest
import torch

from mmdetr.checkpoint import CheckpointError, from_mmdetr, get_layout, read_checkpoint
from mmdetr.checkpoint.layouts import find_layout
from mmdetr.registry import MODELS
from tests.helpers.layouts import mask_head_names, names
from tests.helpers.reference import CASES, facebook_state_dict, model_config, our_name, read_case

FOREIGN = (
    'mmdetection',
    'huggingface',
    'huggingface-native',
    'huggingface-5',
    'huggingface-native-5',
)
WRITTEN = ('facebook', 'mmdetection', 'huggingface', 'huggingface-native')


@cache
def detr_names(depth: int) -> frozenset[str]:
    """Names of our model's weights."""
    meta, _ = read_case('sine_post')
    meta['args'] |= dict(backbone=f'resnet{depth}', enc_layers=6, dec_layers=6, dim_feedforward=8)
    return frozenset(MODELS.build(model_config(meta)).state_dict())


@cache
def case_weights(case: str) -> dict[str, torch.Tensor]:
    meta, _ = read_case(case)
    return facebook_state_dict(meta['shapes'], meta['seed'])


def marked(layout: str, depth: int) -> tuple[dict, dict]:
    """A file of ``layout`` whose weights are numbered, and what ours must hold."""
    file, ours = {}, {}
    for number, (facebook_name, name) in enumerate(names(layout, depth).items()):
        file[name] = torch.tensor([number])
        base, _, part = facebook_name.partition('#')
        ours.setdefault(our_name(base), {})[part] = number
    order = ('', 'q', 'k', 'v')
    return file, {
        name: [parts[p] for p in sorted(parts, key=order.index)] for name, parts in ours.items()
    }


@pytest.mark.parametrize('depth', [18, 50, 101])
@pytest.mark.parametrize('layout', FOREIGN)
def test_each_weight_of_a_published_layout_finds_its_place(layout, depth):
    file, expected = marked(layout, depth)

    found = find_layout(file)
    converted = found.to_ours(file)

    assert found.format == layout.removesuffix('-5')
    assert {name: value.tolist() for name, value in converted.state_dict.items()} == expected
    assert converted.unknown == []


@pytest.mark.parametrize('depth', [18, 50, 101])
def test_the_layouts_cover_every_weight_of_our_model(depth):
    own = detr_names(depth)
    for layout in FOREIGN:
        assert marked(layout, depth)[1].keys() == own


@pytest.mark.parametrize(
    ('layout', 'depth', 'count'),
    [('mmdetection', 50, 458), ('huggingface', 50, 530), ('huggingface-native', 50, 530)],
)
def test_number_of_weights_in_the_published_files(layout, depth, count):
    assert len(names(layout, depth)) == count


@pytest.mark.parametrize('case', CASES)
def test_facebook_names_of_the_reference_cases(case):
    weights = case_weights(case)
    converted = find_layout(weights).to_ours(weights)

    assert converted.unknown == []
    assert converted.state_dict.keys() == {our_name(name) for name in weights}
    assert all(converted.state_dict[our_name(name)] is value for name, value in weights.items())


@pytest.mark.parametrize(('depth', 'count'), [(50, 458), (101, 713)])
def test_number_of_facebook_names(depth, count):
    ours = dict.fromkeys(detr_names(depth), torch.zeros(1))
    assert len(from_mmdetr(ours, 'facebook')) == count


def test_mmdetection_file_with_batch_counters():
    file = {name: torch.zeros(1) for name in names('mmdetection').values()}
    counters = {
        name.replace('running_mean', 'num_batches_tracked'): torch.tensor(7)
        for name in file
        if name.endswith('running_mean')
    }
    file |= counters
    assert len(file) == 511

    converted = get_layout('DETR', 'mmdetection').to_ours(file)

    assert converted.state_dict.keys() == detr_names(50)
    assert converted.unknown == []


@pytest.mark.parametrize('layout', WRITTEN)
@pytest.mark.parametrize('case', ['sine_post', 'dc5'])  # ResNet-18 and 50
def test_round_trips_keep_every_bit(case, layout):
    ours = {our_name(name): value for name, value in case_weights(case).items()}

    theirs = from_mmdetr(ours, layout)
    assert find_layout(theirs).format == layout
    back = find_layout(theirs).to_ours(theirs).state_dict
    again = from_mmdetr(back, layout)

    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], value) for name, value in ours.items())
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[name], value) for name, value in theirs.items())


def test_fused_projection_is_query_key_value_in_this_order():
    name = 'bbox_head.transformer.decoder.layers.0.cross_attn.in_proj_weight'
    fused = torch.arange(3 * 2 * 2.0).reshape(6, 2)

    split = get_layout('DETR', 'huggingface').from_ours({name: fused})

    root = 'model.decoder.layers.0.encoder_attn'
    assert split[f'{root}.q_proj.weight'].tolist() == [[0, 1], [2, 3]]
    assert split[f'{root}.k_proj.weight'].tolist() == [[4, 5], [6, 7]]
    assert split[f'{root}.v_proj.weight'].tolist() == [[8, 9], [10, 11]]


def test_learned_positions_and_pre_norm_survive_the_facebook_format():
    for case in ('learned_post', 'sine_pre'):
        weights = case_weights(case)
        theirs = from_mmdetr(get_layout('DETR', 'facebook').to_ours(weights).state_dict, 'facebook')
        assert theirs.keys() == weights.keys()


@pytest.mark.parametrize('root', ['model.backbone.position_embedding', 'model.position_embedding'])
def test_learned_positions_of_huggingface_4_and_5(root):
    file = {f'{root}.row_embeddings.weight': torch.zeros(1)}
    file[f'{root}.column_embeddings.weight'] = torch.ones(1)

    ours = get_layout('DETR', 'huggingface').to_ours(file).state_dict

    encoding = 'bbox_head.positional_encoding'
    assert ours == {
        f'{encoding}.row_embed.weight': torch.zeros(1),
        f'{encoding}.col_embed.weight': torch.ones(1),
    }


@pytest.mark.parametrize('fmt', ['mmdetection'])
def test_format_without_a_place_for_a_weight(fmt):
    ours = {our_name(name): value for name, value in case_weights('sine_pre').items()}
    with pytest.raises(ValueError, match=rf'{fmt} format has no place for .*encoder\.norm'):
        from_mmdetr(ours, fmt)


@pytest.mark.parametrize(
    ('layout', 'count'),
    [('facebook', 490), ('huggingface', 562), ('huggingface-native', 562), ('huggingface-5', 562)],
)
def test_panoptic_file(layout, count):
    """A box model after ``detr.``, the mask head beside it."""
    if layout == 'facebook':
        boxes = dict.fromkeys(names('mmdetection'), torch.zeros(1))
    else:
        boxes = marked(layout, 50)[0]
    masks = mask_head_names(version_5=layout.endswith('5'))
    file = {f'detr.{name}': value for name, value in boxes.items()}
    file |= {name: torch.tensor([i]) for i, name in enumerate(masks)}
    assert len(file) == count

    converted = find_layout(file).to_ours(file)

    assert converted.unknown == []
    assert converted.state_dict.keys() == detr_names(50) | set(masks.values())
    for i, name in enumerate(masks.values()):
        assert converted.state_dict[name].tolist() == [i]
    if not layout.endswith('5'):
        assert from_mmdetr(converted.state_dict, layout).keys() == file.keys()


def test_missing_part_of_a_separate_projection():
    file = {name: torch.zeros(1) for name in names('huggingface', 18).values()}
    del file['model.encoder.layers.3.self_attn.q_proj.bias']
    with pytest.raises(ValueError, match=r'encoder\.layers\.3\.self_attn\.q_proj\.bias'):
        get_layout('DETR', 'huggingface').to_ours(file)


@pytest.mark.parametrize(
    'state_dict',
    [
        {'layer1.0.conv1.weight': torch.zeros(1), 'fc.weight': torch.zeros(1)},
        # Deformable DETR and Conditional DETR share some names with DETR.
        {'input_proj.0.0.weight': torch.zeros(1), 'query_embed.weight': torch.zeros(1)},
        {
            'input_proj.weight': torch.zeros(1),
            'transformer.decoder.layers.0.ca_qpos_proj.weight': torch.zeros(1),
        },
        # DETR of mmdetection 2.
        {
            'bbox_head.query_embedding.weight': torch.zeros(1),
            'bbox_head.fc_cls.weight': torch.zeros(1),
        },
    ],
)
def test_unknown_checkpoint_names_what_was_looked_for(state_dict, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'model': state_dict}, path)
    with pytest.raises(CheckpointError, match=r'other\.pth: of no known layout') as error:
        read_checkpoint(path)
    message = str(error.value)
    assert '\n' not in message
    assert f'{len(state_dict)} names ({min(state_dict)}' in message
    for fmt in ('mmdetr', 'facebook', 'mmdetection', 'huggingface', 'huggingface-native'):
        assert re.search(rf' {fmt} of DETR \(\S+, \.\.\.\)', message)


@pytest.mark.parametrize('content', [[1, 2], {'state_dict': {}}, {'epoch': 3}, torch.zeros(2)])
def test_file_without_weights(content, tmp_path):
    path = tmp_path / 'empty.pth'
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='no weights in it'):
        read_checkpoint(path)
