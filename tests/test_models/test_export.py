"""torch.export of the whole family, with any batch, height, width and padding."""

import pytest
import torch
from torch import nn

from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction, SigmoidClasses
from tests.helpers import deformable_cases, successor_cases
from tests.helpers.successor_cases import read_case

# One of each kind by default.
CASES = ['conditional', 'dino']
OTHERS = ['dab', 'dab_patterns', 'dn', *(case for case in deformable_cases.CASES if case != 'dino')]


def build(case: str) -> nn.Module:
    """A model of the case with the fewest layers and random weights."""
    meta = read_case(case)[0]
    meta['args'] |= dict(enc_layers=1, dec_layers=2)
    if meta['args'].get('num_feature_levels', 1) > 1:
        meta['args'] |= dict(num_feature_levels=2)
    deformable = case in deformable_cases.CASES
    cfg = (deformable_cases if deformable else successor_cases).model_config(meta)
    cfg['backbone'] |= dict(depth=18, out_indices=(0,))
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for name, parameter in model.named_parameters():
        # At the start all points are on a grid and all boxes alike.
        if 'sampling_offsets' in name or 'reg_branch' in name:
            nn.init.normal_(parameter, std=0.05)
    return model


def batch(size: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images, the last one narrower than the others."""
    padding_mask = torch.zeros(size, height, width, dtype=torch.bool)
    padding_mask[-1, :, width * 3 // 4 :] = True
    return torch.randn(size, 3, height, width).masked_fill(padding_mask[:, None], 0), padding_mask


@pytest.mark.parametrize(
    'case', CASES + [pytest.param(each, marks=pytest.mark.slow) for each in OTHERS]
)
def test_exported_model_takes_any_batch_and_size(case: str) -> None:
    model = build(case)
    # At least two pixels on the last map: torch takes a size of one for a constant.
    height, width = (torch.export.Dim(name, min=9, max=4096) for name in ('height', 'width'))
    images = torch.export.Dim('batch', min=1, max=64)
    sizes = ({0: images, 2: height, 3: width}, {0: images, 1: height, 2: width})
    with torch.no_grad():
        example = batch(2, 40, 48)
        program = torch.export.export(model, example, dynamic_shapes=sizes, strict=False)
        exported = program.module()
        for shape in ((2, 40, 48), (1, 37, 33), (3, 41, 56)):
            inputs = batch(*shape)
            found, expected = exported(*inputs), model(*inputs)
            assert type(found) is SetPrediction
            assert isinstance(found.class_activation, SigmoidClasses)
            torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.bboxes, expected.bboxes, atol=1e-6, rtol=0)
