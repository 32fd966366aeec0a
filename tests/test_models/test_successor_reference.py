"""Conditional, DAB- and DN-DETR as a whole against the numbers of the authors' code."""

import numpy as np
import pytest
import torch

from mmdetr.structures import QueryPrediction
from tests.helpers.successor_cases import KEPT, batch, build_model, our_name, read_case

# DAB-DETR without patterns is what DN-DETR is in evaluation.
CASES = ('conditional', pytest.param('dab', marks=pytest.mark.slow), 'dab_patterns', 'dn')


@pytest.fixture(scope='module', params=CASES)
def case(request):
    """Meta data, arrays, model and batch of one reference case, and a prediction in training."""
    meta, arrays = read_case(request.param)
    model, inputs = build_model(meta, arrays), batch(meta)
    targets = model.bbox_head.targets(inputs['data_samples'], torch.device('cpu'))
    prediction = model.network(inputs['inputs'], inputs['padding_mask'], targets)
    return meta, arrays, model, inputs, prediction


def test_predictions(case):
    _, arrays, _, _, prediction = case
    parts = dict(pred=prediction)
    if isinstance(prediction, QueryPrediction):
        parts['dn_pred'] = prediction.denoising
    assert ('dn_pred' in parts) == ('dn_pred_logits' in arrays)
    for name, part in parts.items():
        logits, bboxes = part.map(torch.Tensor.detach)
        np.testing.assert_allclose(logits[..., KEPT], arrays[f'{name}_logits'], atol=5e-5)
        np.testing.assert_allclose(bboxes, arrays[f'{name}_boxes'], atol=1e-5)


def test_matching(case):
    _, arrays, model, inputs, prediction = case
    criterion = model.bbox_head.criterion
    targets = criterion.targets(inputs['data_samples'], prediction.logits.device)
    assignment = criterion.match(prediction, targets)
    first = [0, len(targets[0].labels)]
    for layer in range(prediction.num_layers):
        for image in range(2):
            chosen = assignment.image[layer] == image
            ours = torch.stack((assignment.query, assignment.target - first[image]))
            expected = arrays[f'match_l{layer}_i{image}']
            np.testing.assert_array_equal(ours[:, layer, chosen], expected)


def test_losses_and_gradients(case):
    meta, _, model, inputs, prediction = case
    losses = model.bbox_head.loss(prediction, inputs['data_samples'])
    for name, expected in meta['losses'].items():
        if name not in meta['weights']:
            continue
        kind, *layer = name.removeprefix('tgt_').removeprefix('loss_').split('_')
        ours = f'{"dn_" if name.startswith("tgt") else ""}loss_{kind.replace("ce", "cls")}'
        value = losses[f'{f"d{layer[0]}." if layer else ""}{ours}'].item()
        assert value == pytest.approx(meta['weights'][name] * expected, rel=1e-4), name
    assert sum('loss' in name for name in losses) == len(meta['weights'])

    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(meta['total_loss'], rel=1e-4)

    model.zero_grad()
    total.backward(retain_graph=True)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert gradients.keys() == {our_name(meta, name) for name in meta['grad_norms']}
    for name, norm in meta['grad_norms'].items():
        ours = gradients[our_name(meta, name)].norm().item()
        assert ours == pytest.approx(norm, rel=1e-3, abs=1e-4), name


def test_evaluation(case):
    _, arrays, model, inputs, _ = case
    model.eval()
    with torch.no_grad():
        prediction = model.network(inputs['inputs'], inputs['padding_mask'])
        samples = model.bbox_head.predict(prediction, inputs['data_samples'])
    model.train()
    if 'eval_logits' in arrays:
        np.testing.assert_allclose(
            prediction.logits[0][..., KEPT], arrays['eval_logits'], atol=5e-5
        )
        np.testing.assert_allclose(prediction.bboxes[0], arrays['eval_boxes'], atol=1e-5)
    for i, sample in enumerate(samples):
        result = sample.pred_instances
        np.testing.assert_allclose(result.bboxes, arrays[f'result{i}_boxes'], atol=1e-3)
        np.testing.assert_allclose(result.scores, arrays[f'result{i}_scores'], atol=1e-5)
        np.testing.assert_array_equal(result.labels, arrays[f'result{i}_labels'])
