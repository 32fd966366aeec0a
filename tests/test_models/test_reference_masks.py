"""Masks, their losses and the post-processing against the numbers of the authors' code."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mmdetr.models import PanopticSegmentation
from mmdetr.structures import SetPrediction
from mmdetr.utils.mask_frame import Frame
from tests.helpers.reference_masks import CASES, batch, build_model, our_name, read_case


@pytest.fixture(scope='module', params=CASES)
def case(request):
    """Meta data, arrays, model and batch of one reference case."""
    meta, arrays = read_case(request.param)
    return meta, arrays, build_model(meta), batch(meta, arrays)


def test_predictions(case):
    _, arrays, model, inputs = case
    with torch.no_grad():
        layers = model(**inputs)
        prediction = model.bbox_head.with_masks(layers)
    np.testing.assert_allclose(layers.logits, arrays['pred_logits'], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(layers.bboxes, arrays['pred_boxes'], atol=1e-5)
    np.testing.assert_allclose(prediction.masks, arrays['pred_masks'], rtol=1e-4, atol=1e-3)
    # Another order of summation moves single logits further.
    error = np.abs(prediction.masks.numpy() - arrays['pred_masks'])
    assert np.quantile(error, 0.999) < 1e-4
    maps = layers.mask_inputs
    attention = model.bbox_head.mask_head.attention
    with torch.no_grad():
        ours = attention(maps.hidden, maps.memory, maps.padding_mask)
    np.testing.assert_allclose(ours, arrays['attention_maps'], rtol=1e-3, atol=1e-6)


def test_losses_and_gradients(case):
    meta, _, model, inputs = case
    losses = model(**inputs, mode='loss')
    expected = meta['losses']
    for kind in ('mask', 'dice'):
        assert losses[f'loss_{kind}'].item() == pytest.approx(expected[f'loss_{kind}'], rel=1e-4)
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(meta['total_loss'], rel=1e-4)

    model.zero_grad()
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == {our_name(name) for name in meta['grad_norms']}
    for name, norm in meta['grad_norms'].items():
        ours = gradients[our_name(name)].norm().item()
        assert ours == pytest.approx(norm, rel=1e-3, abs=1e-4), name


def test_instance_masks(case):
    meta, arrays, model, inputs = case
    for i, sample in enumerate(predict(model, inputs)):
        width = meta['original_sizes'][i][1]
        expected = np.unpackbits(arrays[f'result{i}_masks'], axis=-1)[..., :width]
        ours = np.stack([coco_mask.decode(code) for code in sample.pred_instances.masks])
        assert ours.shape == expected.shape
        assert (ours != expected).mean() < 0.0005
        np.testing.assert_array_equal(sample.pred_instances.labels, arrays[f'result{i}_labels'])


def predict(model, inputs):
    model.eval()
    with torch.no_grad():
        samples = model(**inputs, mode='predict')
    model.train()
    return samples


def squeeze(frame):
    """The authors resize the padding along with the image."""
    return frame._replace(padded=frame.resized)


def authors_form(result):
    """Segments and map as the authors write them: category ids, numbers from 0."""
    segments = [
        dict(
            id=each['id'] - 1,
            isthing=each['isthing'],
            category_id=each['label'],
            area=each['area'],
        )
        for each in result.segments
    ]
    return segments, np.maximum(result.ids - 1, 0)


def test_panoptic_of_the_model():
    meta, arrays = read_case('panoptic_frozen')
    model, inputs = build_model(meta), batch(meta, arrays)
    cut = [sample.pred_panoptic for sample in predict(model, inputs)]
    plain = PanopticSegmentation.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            PanopticSegmentation,
            '__call__',
            lambda *args: plain(*args[:-1], squeeze(args[-1])),
        )
        squeezed = [sample.pred_panoptic for sample in predict(model, inputs)]
    for i, result in enumerate(squeezed):
        segments, ids = authors_form(result)
        expected = meta['panoptic']['segments_info'][i]
        for ours, theirs in zip(segments, expected, strict=True):
            assert ours['area'] == pytest.approx(theirs['area'], rel=0.005)
            assert {**ours, 'area': 0} == {**theirs, 'area': 0}
        assert (ids != arrays[f'panoptic_ids{i}']).mean() < 0.005
    assert all((a.ids != b.ids).mean() > 0.1 for a, b in zip(cut, squeezed, strict=True))


@pytest.mark.parametrize('suffix', ['', '_processed_size'])
@pytest.mark.parametrize('image', range(4))
def test_panoptic_postprocessing(image, suffix):
    meta, arrays = read_case('postprocess')
    logits, bboxes, masks = (
        torch.from_numpy(arrays[f'pred_{name}'][image]) for name in ('logits', 'boxes', 'masks')
    )
    panoptic = PanopticSegmentation(things=91, score_thr=meta['threshold'])
    prediction = SetPrediction(logits[None, None], bboxes[None, None])
    kept = panoptic.keep(prediction)[0]
    scores, labels = (part[0, kept] for part in panoptic.rate(prediction))
    size = tuple(meta['processed_sizes'][image])
    wanted = size if suffix else tuple(meta['target_sizes'][image])
    result = panoptic(masks[kept], scores, labels, Frame(size, size, wanted))
    segments, ids = authors_form(result)
    assert segments == meta[f'segments_info{suffix}'][image]
    np.testing.assert_array_equal(ids, arrays[f'panoptic_ids{suffix}{image}'])
