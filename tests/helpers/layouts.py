"""Names of DETR's weights in each codebase, written out apart from mmdetr.checkpoint.

``names(layout, ...)`` pairs the name in facebookresearch/detr with the one in another codebase, as
their modules are composed. ``tests.helpers.reference.our_name`` gives ours.
"""

from collections.abc import Iterator

from . import reference_masks

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NORM = ('weight', 'bias', 'running_mean', 'running_var')
WB = ('weight', 'bias')


def names(layout: str, depth: int = 50, layers: int = 6) -> dict[str, str]:
    """facebookresearch/detr name -> name in ``layout``; separate projections under ``name#q``."""
    pairs = [*_backbone(layout, depth), *_transformer(layout, layers), *_rest(layout)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def separates_projections(layout: str) -> bool:
    return layout.startswith('huggingface')


def _convs(depth: int) -> Iterator[tuple[str, str, str]]:
    """(convolution, its norm) in torchvision's naming, and transformers' path of the pair."""
    yield 'conv1', 'bn1', 'embedder.embedder'
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            ours, theirs = f'layer{stage + 1}.{block}', f'encoder.stages.{stage}.layers.{block}'
            for i in range(3 if depth >= 50 else 2):
                yield f'{ours}.conv{i + 1}', f'{ours}.bn{i + 1}', f'{theirs}.layer.{i}'
            if block == 0 and (stage > 0 or depth >= 50):
                yield f'{ours}.downsample.0', f'{ours}.downsample.1', f'{theirs}.shortcut'


def _backbone(layout: str, depth: int) -> Iterator[tuple[str, str]]:
    root = {
        'mmdetection': 'backbone',
        'huggingface': 'model.backbone.conv_encoder.model',
        'huggingface-native': 'model.backbone.conv_encoder.model',
        'huggingface-5': 'model.backbone.model',
        'huggingface-native-5': 'model.backbone.model',
    }[layout]
    for conv, norm, path in _convs(depth):
        if 'native' in layout:
            conv_name, norm_name = f'{path}.convolution', f'{path}.normalization'
        else:
            conv_name, norm_name = conv, norm
        yield f'backbone.0.body.{conv}.weight', f'{root}.{conv_name}.weight'
        for leaf in NORM:
            yield f'backbone.0.body.{norm}.{leaf}', f'{root}.{norm_name}.{leaf}'


def _transformer(layout: str, layers: int) -> Iterator[tuple[str, str]]:
    for stack in ('encoder', 'decoder'):
        for i in range(layers):
            theirs = _layer_parts(layout, stack)
            for part, path in theirs.items():
                old = f'transformer.{stack}.layers.{i}.{part}'
                new = f'{_root(layout)}{stack}.layers.{i}.{path}'
                if 'attn' not in part:
                    yield from ((f'{old}.{leaf}', f'{new}.{leaf}') for leaf in WB)
                elif separates_projections(layout):
                    out = 'o_proj' if layout.endswith('5') else 'out_proj'
                    for leaf in WB:
                        yield f'{old}.out_proj.{leaf}', f'{new}.{out}.{leaf}'
                        for p in 'qkv':
                            yield f'{old}.in_proj_{leaf}#{p}', f'{new}.{p}_proj.{leaf}'
                else:
                    for leaf in (
                        'in_proj_weight',
                        'in_proj_bias',
                        'out_proj.weight',
                        'out_proj.bias',
                    ):
                        yield f'{old}.{leaf}', f'{new}.{leaf}'


def _root(layout: str) -> str:
    return '' if layout == 'mmdetection' else 'model.'


def _layer_parts(layout: str, stack: str) -> dict[str, str]:
    decoder = stack == 'decoder'
    if layout == 'mmdetection':
        parts = {
            'self_attn': 'self_attn.attn',
            'linear1': 'ffn.layers.0.0',
            'linear2': 'ffn.layers.1',
        }
        parts |= {f'norm{i + 1}': f'norms.{i}' for i in range(3 if decoder else 2)}
        return parts | ({'multihead_attn': 'cross_attn.attn'} if decoder else {})
    mlp = 'mlp.' if layout.endswith('5') else ''
    parts = {'self_attn': 'self_attn', 'linear1': f'{mlp}fc1', 'linear2': f'{mlp}fc2'}
    parts['norm1'] = 'self_attn_layer_norm'
    if not decoder:
        return parts | {'norm2': 'final_layer_norm'}
    return parts | {
        'multihead_attn': 'encoder_attn',
        'norm2': 'encoder_attn_layer_norm',
        'norm3': 'final_layer_norm',
    }


def _rest(layout: str) -> Iterator[tuple[str, str]]:
    if layout == 'mmdetection':
        modules = {
            'input_proj': 'neck.convs.0.conv',
            'transformer.decoder.norm': 'decoder.post_norm',
            'class_embed': 'bbox_head.fc_cls',
            'bbox_embed.layers.0': 'bbox_head.reg_ffn.layers.0.0',
            'bbox_embed.layers.1': 'bbox_head.reg_ffn.layers.1',
            'bbox_embed.layers.2': 'bbox_head.fc_reg',
        }
        yield 'query_embed.weight', 'query_embedding.weight'
    else:
        modules = {
            'input_proj': 'model.input_projection',
            'transformer.decoder.norm': 'model.decoder.layernorm',
            'class_embed': 'class_labels_classifier',
            'bbox_embed.layers.0': 'bbox_predictor.layers.0',
            'bbox_embed.layers.1': 'bbox_predictor.layers.1',
            'bbox_embed.layers.2': 'bbox_predictor.layers.2',
        }
        yield 'query_embed.weight', 'model.query_position_embeddings.weight'
    for old, new in modules.items():
        yield from ((f'{old}.{leaf}', f'{new}.{leaf}') for leaf in WB)


def mask_head_names(version_5: bool = False) -> dict[str, str]:
    """The 32 names of the mask head, which panoptic files have beside ``detr.`` -> ours.

    Those of transformers 5 in memory, or of the authors and of the hub.
    """
    modules = {'bbox_attention.q_linear': 'bbox_attention.q_proj'}
    modules |= {'bbox_attention.k_linear': 'bbox_attention.k_proj'}
    modules['mask_head.out_lay'] = 'mask_head.output_conv'
    for i in (1, 2):
        modules[f'mask_head.lay{i}'] = f'mask_head.conv{i}.conv'
        modules[f'mask_head.gn{i}'] = f'mask_head.conv{i}.norm'
    for i in range(3):
        modules[f'mask_head.lay{i + 3}'] = f'mask_head.fpn_stages.{i}.refine.conv'
        modules[f'mask_head.gn{i + 3}'] = f'mask_head.fpn_stages.{i}.refine.norm'
        modules[f'mask_head.adapter{i + 1}'] = f'mask_head.fpn_stages.{i}.fpn_adapter'
    return {
        f'{newer if version_5 else module}.{leaf}': reference_masks.our_name(f'{module}.{leaf}')
        for module, newer in modules.items()
        for leaf in WB
    }
