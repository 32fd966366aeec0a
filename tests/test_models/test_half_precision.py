"""Each member of the family in half precision: what optimize_for_inference and exports rely on."""

import pytest
import torch

from mmdetr.deploy.comparison import TOLERANCES, compare_predictions
from mmdetr.deploy.networks import plain_copy
from tests.helpers.exported import build

MODELS = (
    *('detr', 'conditional_detr', 'dab_detr', 'dn_detr'),
    *('deformable_detr', 'dino', 'rtdetrv2', 'dfine'),
)
SIDE = 64
# Rounding must not choose other proposals: every pixel of strides 8 and 16 is chosen, or the best
# alone where the place of a proposal tells its content.
QUERIES = {'dino': 1, 'rtdetrv2': 80, 'dfine': 80}


@pytest.mark.parametrize('name', MODELS)
def test_half_precision_is_near_single(name: str) -> None:
    changes = dict(model__bbox_head__num_queries=QUERIES[name]) if name in QUERIES else {}
    model = build(f'{name}_tiny_1xb32-12e_shapes.py', **changes)
    assert model.bbox_head.chooses_proposals == (name in QUERIES)
    half = plain_copy(model, 'float16')
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = [each.network(x.to(dtype)) for each, dtype in ((model, x.dtype), (half, x.half()))]
    theirs, ours = (
        {key: getattr(each, key)[-1].float().numpy() for key in ('logits', 'bboxes')}
        for each in found
    )
    assert ours['logits'].shape[1] == QUERIES.get(name, 10)
    differences = list(compare_predictions(theirs, ours, tuple(x.shape), TOLERANCES['float16']))
    assert all(each.largest <= each.allowed for each in differences), differences
    assert max(each.largest for each in differences) > 1e-6  # half it is
