"""Deformable DETR and its successors against the numbers of the authors' code."""

import re

import numpy as np
import pytest
import torch

from tests.helpers.deformable_cases import CASES, build_model, our_name
from tests.helpers.successor_cases import KEPT, batch, read_case

# The others are between these.
SLOW = ('deformable', 'deformable_single_scale', 'deformable_refine', 'dab_deformable')
WITH_PROPOSALS = ('deformable_two_stage', 'dino')
WITH_DENOISING = ('dn_deformable', 'dino')
LOSSES = dict(ce='cls', bbox='bbox', giou='giou')


def marked(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in names]


@pytest.fixture(scope='module', params=marked(CASES))
def case(request):
    """Meta data, arrays, model, batch, and the model's prediction in training."""
    meta, arrays = read_case(request.param)
    model, inputs = build_model(meta, arrays), batch(meta)
    head = model.bbox_head
    targets = head.targets(inputs['data_samples'], inputs['inputs'].device)
    prediction = model.network(inputs['inputs'], inputs['padding_mask'], targets)
    return meta, arrays, model, inputs, targets, prediction


def check_matches(criterion, prediction, targets, arrays, name):
    assignment = criterion.match(prediction, targets)
    first = [0, len(targets[0].labels)]
    for layer in range(prediction.num_layers):
        for image in range(2):
            chosen = assignment.image[layer] == image
            ours = torch.stack((assignment.query, assignment.target - first[image]))
            expected = arrays[f'match_{name.format(layer)}_i{image}']
            np.testing.assert_array_equal(ours[:, layer, chosen], expected)


def test_predictions_and_matching(case):
    _, arrays, model, _, targets, prediction = case
    logits, bboxes = (each.detach() for each in prediction)
    np.testing.assert_allclose(logits[..., KEPT], arrays['pred_logits'], atol=1e-5)
    np.testing.assert_allclose(bboxes, arrays['pred_boxes'], atol=1e-5)
    check_matches(model.bbox_head.criterion, prediction, targets, arrays, 'l{}')


@pytest.mark.parametrize('case', marked(WITH_PROPOSALS), indirect=True)
def test_proposals(case):
    _, arrays, model, _, targets, prediction = case
    found = prediction.proposals
    bboxes, logits = found.bboxes[0].detach(), found.logits[0].detach()
    if 'enc_boxes' in arrays:
        np.testing.assert_allclose(logits[..., 0], arrays['enc_logits_class0'], atol=1e-5)
        np.testing.assert_allclose(bboxes, arrays['enc_boxes'], atol=1e-5)
        targets = [type(each)(torch.zeros_like(each.labels), each.bboxes) for each in targets]
        name = 'enc_outputs'
    else:
        np.testing.assert_allclose(logits[..., KEPT], arrays['interm_logits'], atol=1e-5)
        np.testing.assert_allclose(bboxes, arrays['interm_boxes'], atol=1e-5)
        name = 'interm_outputs'
    check_matches(model.bbox_head.criterion, found, targets, arrays, name)


@pytest.mark.parametrize('case', marked(WITH_DENOISING), indirect=True)
def test_denoising(case):
    meta, arrays, *_, prediction = case
    kept = slice(None, None, 4 if meta['case'] == 'dino' else 1)
    logits, bboxes = (each.detach()[:, :, kept] for each in prediction.denoising)
    np.testing.assert_allclose(logits[..., KEPT], arrays['dn_pred_logits'], atol=1e-5)
    np.testing.assert_allclose(bboxes, arrays['dn_pred_boxes'], atol=1e-5)


def our_loss(name: str) -> str:
    """``tgt_loss_ce_0``, ``loss_ce_dn_0``, ``loss_ce_enc`` -> ``d0.dn_loss_cls``, ..."""
    found = re.fullmatch(r'(tgt_)?loss_(ce|bbox|giou)(_dn|_enc|_interm)?(_\d)?', name)
    known, kind, part, layer = found.groups()
    prefix = 'dn_' if known or part == '_dn' else 'enc_' if part else ''
    return f'{f"d{layer[1]}." if layer else ""}{prefix}loss_{LOSSES[kind]}'


def test_losses_and_gradients(case):
    meta, _, model, inputs, *_ = case
    losses = model(**inputs, mode='loss')
    expected = meta['losses']
    for name, weight in meta['weights'].items():
        ours = losses[our_loss(name)].item()
        assert ours == pytest.approx(weight * expected[name], rel=1e-4), name
    assert sum('loss' in name for name in losses) == len(meta['weights'])
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(meta['total_loss'], rel=1e-4)

    model.zero_grad()
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert gradients.keys() == {our_name(name, meta) for name in meta['grad_norms']}
    for name, norm in meta['grad_norms'].items():
        ours = gradients[our_name(name, meta)].norm().item()
        assert ours == pytest.approx(norm, rel=1e-3, abs=1e-4), name


def test_evaluation(case):
    _, arrays, model, inputs, *_ = case
    model.eval()
    with torch.no_grad():
        logits, bboxes = model(inputs['inputs'], inputs['padding_mask'])
        samples = model(**inputs, mode='predict')
    model.train()
    if 'eval_logits' in arrays:
        np.testing.assert_allclose(logits[0, ..., KEPT], arrays['eval_logits'], atol=1e-5)
        np.testing.assert_allclose(bboxes[0], arrays['eval_boxes'], atol=1e-5)
    for i, sample in enumerate(samples):
        result = sample.pred_instances
        np.testing.assert_allclose(result.bboxes, arrays[f'result{i}_boxes'], atol=1e-3)
        np.testing.assert_allclose(result.scores, arrays[f'result{i}_scores'], atol=1e-5)
        np.testing.assert_array_equal(result.labels, arrays[f'result{i}_labels'])
