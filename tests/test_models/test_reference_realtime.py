"""RT-DETRv2 and D-FINE against the numbers of the authors' code."""

import copy
import re

import numpy as np
import pytest
import torch

from mmdetr.datasets.coco_classes import COCO_CLASSES
from mmdetr.structures.edge_distribution import EdgePrediction
from tests.helpers.realtime_cases import batch, build_model, our_name
from tests.helpers.successor_cases import KEPT, read_case


@pytest.fixture(scope='module', params=['rtdetrv2', 'dfine'])
def case(request):
    """Meta data, arrays, model, batch and prediction in training of one case.

    One thread, as for the authors' numbers: two add up batch statistics in another order, which
    moves gradients of D-FINE's affine blocks by a hundredth.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    meta, arrays = read_case(request.param)
    model, inputs = build_model(meta, arrays), batch(meta)
    evaluated = copy.deepcopy(model).eval()
    targets = model.bbox_head.targets(inputs['data_samples'], 'cpu')
    prediction = model.network(inputs['inputs'], targets=targets)
    yield meta, arrays, model, evaluated, inputs, targets, prediction
    torch.set_num_threads(threads)


def close(ours, theirs):
    np.testing.assert_allclose(ours.detach(), theirs, atol=1e-4, rtol=1e-4)


def test_predictions_of_all_layers(case):
    _, arrays, *_, prediction = case
    parts = dict(pred=prediction, dn=prediction.denoising, enc=prediction.proposals)
    if isinstance(prediction, EdgePrediction):
        close(prediction.corners[..., ::4], arrays['pred_corners'])
        parts |= dict(pre=prediction.first, dn_pre=prediction.denoising.first)
    for name, ours in parts.items():
        shape = arrays[f'{name}_boxes'].shape
        close(ours.logits[..., KEPT].view(*shape[:-1], -1), arrays[f'{name}_logits'])
        close(ours.bboxes.view(shape), arrays[f'{name}_boxes'])


def test_matching(case):
    _, arrays, model, _, _, targets, prediction = case
    assignment = model.bbox_head.criterion.match(prediction, targets)
    first = [0, len(targets[0].labels)]
    for layer in range(prediction.num_layers):
        for image in range(2):
            chosen = assignment.image[layer] == image
            ours = torch.stack((assignment.query, assignment.target - first[image]))
            np.testing.assert_array_equal(
                ours[:, layer, chosen], arrays[f'match_l{layer}_i{image}']
            )


def test_losses(case):
    meta, _, model, _, inputs, targets, prediction = case
    losses = model.bbox_head.loss(prediction, inputs['data_samples'], targets)
    ours = {name: value.item() for name, value in losses.items() if 'loss' in name}
    last = prediction.num_layers - 1
    for name, expected in meta['losses'].items():
        if name == f'loss_ddf_dn_{last}':  # of the teacher itself
            assert expected == 0
            continue
        assert ours.pop(our_loss(name, last)) == pytest.approx(expected, rel=1e-4, abs=1e-6), name
    assert not ours
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(meta['total_loss'], rel=1e-4)
    model.zero_grad()
    total.backward(retain_graph=True)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    for name, expected in meta['grad_norms'].items():
        ours = gradients.pop(our_name(name)).norm().item()
        assert ours == pytest.approx(expected, rel=1e-3, abs=1e-4), name
    assert not [name for name, value in gradients.items() if value is not None and value.any()]


def our_loss(name, last):
    """``loss_vfl_dn_0`` -> ``d0.dn_loss_cls``."""
    pattern = r'loss_([a-z]+)(?:_(aux|dn_pre|dn|enc|pre))?(?:_(\d))?'
    kind, part, layer = re.fullmatch(pattern, name).groups()
    kind = dict(vfl='cls').get(kind, kind)
    prefix = '' if part in (None, 'aux') else f'{part}_'
    of_layer = '' if layer is None or part == 'enc' or int(layer) == last else f'd{layer}.'
    return f'{of_layer}{prefix}loss_{kind}'


def test_evaluation(case):
    _, arrays, _, model, inputs, *_ = case
    with torch.no_grad():
        prediction = model(inputs['inputs'])
        results = model(**inputs, mode='predict')
    assert prediction.proposals is None
    assert prediction.denoising is None
    close(prediction.logits[-1][..., KEPT], arrays['eval_logits'])
    close(prediction.bboxes[-1], arrays['eval_boxes'])
    category_ids = [entry for entry in range(1, 91) if entry not in MISSING_IDS]
    assert len(category_ids) == len(COCO_CLASSES)
    for i, sample in enumerate(results):
        found = sample.pred_instances
        close(found.scores, arrays[f'result{i}_scores'])
        np.testing.assert_allclose(found.bboxes, arrays[f'result{i}_boxes'], atol=1e-3)
        labels = [category_ids[label] for label in found.labels]
        assert labels == arrays[f'result{i}_labels'].tolist()


MISSING_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
