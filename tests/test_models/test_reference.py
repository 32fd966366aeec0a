"""The whole model against the numbers of the authors' code."""

import numpy as np
import pytest
import torch

from tests.helpers.reference import CASES, batch, build_model, our_name, read_case


@pytest.fixture(scope='module', params=CASES)
def case(request):
    """Meta data, arrays, model and batch of one reference case."""
    meta, arrays = read_case(request.param)
    return meta, arrays, build_model(meta), batch(meta, arrays)


def test_predictions(case):
    _, arrays, model, inputs = case
    prediction = model(**inputs, mode='tensor')
    np.testing.assert_allclose(prediction.logits.detach(), arrays['pred_logits'], atol=1e-5)
    np.testing.assert_allclose(prediction.bboxes.detach(), arrays['pred_boxes'], atol=1e-5)


def test_matching(case):
    _, arrays, model, inputs = case
    prediction = model(**inputs, mode='tensor')
    criterion = model.bbox_head.criterion
    targets = criterion.targets(inputs['data_samples'], prediction.logits.device)
    assignment = criterion.match(prediction, targets)
    first = [0, len(targets[0].labels)]
    for layer in range(len(prediction.logits)):
        for image in range(2):
            chosen = assignment.image[layer] == image
            ours = torch.stack((assignment.query, assignment.target - first[image]))
            expected = arrays[f'match_l{layer}_i{image}']
            np.testing.assert_array_equal(ours[:, layer, chosen], expected)


def test_losses_and_gradients(case):
    meta, _, model, inputs = case
    losses = model(**inputs, mode='loss')
    args, expected = meta['args'], meta['losses']
    weights = dict(ce=1, bbox=args['bbox_loss_coef'], giou=args['giou_loss_coef'])
    names = dict(ce='cls', bbox='bbox', giou='giou')
    for name in expected:
        if not name.startswith('loss_'):
            continue
        kind, *layer = name.removeprefix('loss_').split('_')
        ours = losses[f'{f"d{layer[0]}." if layer else ""}loss_{names[kind]}'].item()
        assert ours == pytest.approx(weights[kind] * expected[name], rel=1e-4), name
    assert losses['class_error'].item() == pytest.approx(expected['class_error'], abs=1e-4)
    assert losses['cardinality_error'].item() == expected['cardinality_error']
    assert sum('loss' in name for name in losses) == sum('loss' in name for name in expected)

    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(meta['total_loss'], rel=1e-4)

    model.zero_grad()
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert gradients.keys() == {our_name(name) for name in meta['grad_norms']}
    for name, norm in meta['grad_norms'].items():
        ours = gradients[our_name(name)].norm().item()
        assert ours == pytest.approx(norm, rel=1e-3, abs=1e-4), name


def test_postprocessing(case):
    _, arrays, model, inputs = case
    model.eval()
    with torch.no_grad():
        samples = model(**inputs, mode='predict')
    model.train()
    for i, sample in enumerate(samples):
        result = sample.pred_instances
        np.testing.assert_allclose(result.bboxes, arrays[f'result{i}_boxes'], atol=1e-3)
        np.testing.assert_allclose(result.scores, arrays[f'result{i}_scores'], atol=1e-5)
        np.testing.assert_array_equal(result.labels, arrays[f'result{i}_labels'])
