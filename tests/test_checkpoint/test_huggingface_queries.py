"""Conditional, DAB- and Deformable DETR against transformers; skipped where it is not installed."""

import pytest
import torch
from torch import nn

from mmdetr.checkpoint import convert, load_checkpoint, read_checkpoint
from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS
from mmdetr.registry import MODELS
from tests.helpers import deformable_cases
from tests.helpers.reference import facebook_state_dict
from tests.helpers.successor_cases import model_config, read_case

transformers = pytest.importorskip('transformers')
pytest.importorskip('safetensors')
pytest.importorskip('timm')

from tests.test_checkpoint.test_huggingface import padded_batch  # noqa: E402

SIZES = dict(
    encoder_layers=2,
    decoder_layers=3,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    num_queries=9,
    num_labels=91,
    use_timm_backbone=True,
    use_pretrained_backbone=False,
    backbone='resnet18',
)


def theirs_of(case: str) -> nn.Module:
    """transformers' model with random weights, in evaluation mode."""
    if case == 'conditional':
        config = transformers.ConditionalDetrConfig(**SIZES)
        model = transformers.ConditionalDetrForObjectDetection(config)
    elif case in deformable_cases.CASES:
        config = transformers.DeformableDetrConfig(
            **SIZES,
            num_feature_levels=1 if case == 'deformable_single_scale' else 4,
            with_box_refine=case == 'deformable_two_stage',
            two_stage=case == 'deformable_two_stage',
            two_stage_num_proposals=9,
        )
        model = transformers.DeformableDetrForObjectDetection(config)
    else:
        patterns = 2 if case == 'dab_patterns' else 0
        model = transformers.DabDetrForObjectDetection(
            transformers.DabDetrConfig(**SIZES, num_patterns=patterns)
        )
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    weights = facebook_state_dict(shapes, seed=5)
    for name in shapes:
        if 'activation' in name:
            weights[name] *= 0.25
        elif 'class_' in name:
            weights[name] *= 3
    model.load_state_dict(weights)
    return model.eval()


def ours_of(case: str, **head) -> nn.Module:
    """Our model of the same sizes."""
    meta, _ = read_case(case)
    meta['args'] |= dict(
        enc_layers=2, dec_layers=3, num_queries=9, num_patterns=2 if 'patterns' in case else 0
    )
    meta['args']['dim_feedforward'] = 48
    deformable = case in deformable_cases.CASES
    config = (deformable_cases.model_config if deformable else model_config)(meta)
    config['backbone']['depth'] = 18
    config['bbox_head'] |= head
    if case.startswith('dab'):
        config['bbox_head']['eps'] = 1e-5  # theirs; the authors' is 1e-3
    return MODELS.build(config).eval()


@torch.no_grad()
def assert_same_predictions(ours: nn.Module, theirs: nn.Module, rows: list[int]) -> None:
    """In single precision: parts of theirs compute in it whatever the weights."""
    inputs, padding_mask = padded_batch()
    prediction = ours(inputs, padding_mask)
    expected = theirs.eval()(pixel_values=inputs, pixel_mask=(~padding_mask).long())
    logits = expected.logits[..., rows]
    torch.testing.assert_close(prediction.logits[-1], logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction.bboxes[-1], expected.pred_boxes, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    'case',
    [
        *('conditional', 'dab', 'dab_patterns'),
        # Refined boxes are in the two-stage model; without it, models that did not start from a
        # published file tie the class heads of all layers, which no model of ours does.
        *('deformable', 'deformable_single_scale', 'deformable_two_stage'),
    ],
)
def test_their_file_gives_their_numbers(case: str, tmp_path) -> None:
    theirs = theirs_of(case)
    theirs.save_pretrained(tmp_path)
    ours = ours_of(case)
    load_checkpoint(ours, tmp_path / 'model.safetensors', strict=True)
    assert_same_predictions(ours, theirs, list(range(91)))


@pytest.mark.parametrize(
    ('case', 'kind'),
    [
        ('conditional', 'ConditionalDetrForObjectDetection'),
        ('dab_patterns', 'DabDetrForObjectDetection'),
    ],
)
def test_they_load_our_file(case: str, kind: str, tmp_path) -> None:
    ours = ours_of(case, num_classes=80)
    path = tmp_path / 'ours.pth'
    torch.save(dict(meta={}, state_dict=ours.state_dict()), path)
    convert(read_checkpoint(path), tmp_path / 'hf' / 'model.safetensors', 'huggingface')

    theirs, info = getattr(transformers, kind).from_pretrained(
        tmp_path / 'hf', output_loading_info=True
    )

    assert not info['missing_keys']
    assert theirs.config.id2label[18] == 'dog'
    assert_same_predictions(ours, theirs, list(COCO_CATEGORY_IDS))
