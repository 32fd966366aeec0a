"""A whole model with masks: what training and testing compute, and input that is wrong."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from torch import nn
from torch.nn import functional as F

from mmdetr.apis import optimize_for_inference
from mmdetr.models import DiceLoss, PanopticSegmentation, SigmoidFocalLoss
from mmdetr.models.heads import mask_postprocess
from mmdetr.models.heads.mask_sampling import MaskSampler
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from mmdetr.utils.mask_frame import Frame
from tests.helpers import reference_masks

NUM_QUERIES = 12


def config(**head) -> dict:
    """A small model with ResNet-18 and width 128."""
    meta, _ = reference_masks.read_case('instance')
    meta['args'] |= dict(backbone='resnet18', num_queries=NUM_QUERIES, nheads=8)
    model = reference_masks.model_config(meta)
    model['bbox_head'] |= dict(num_classes=4) | head
    return model


def build(trained_parts=None, **head) -> nn.Module:
    init_default_scope('mmdetr')
    torch.manual_seed(0)
    model = MODELS.build(config(**head) | dict(trained_parts=trained_parts))
    # Attention maps are small numbers: let them decide where masks are.
    with torch.no_grad():
        model.bbox_head.mask_head.convs[0].weight[:, 128:] *= 300
        model.bbox_head.cls_branch.weight *= 30
        model.bbox_head.query_embedding.weight *= 3
    return model


def sample(number=3, size=(64, 96), **changes) -> DetDataSample:
    """Objects that are rectangles; the mask of the first is empty."""
    masks = torch.zeros(number, *size, dtype=torch.uint8)
    masks[1:, 8:30, 10:50] = 1
    boxes = torch.tensor([[10.0, 8, 50, 30]]).expand(number, 4)
    fields = dict(bboxes=boxes, labels=torch.zeros(number, dtype=torch.long), masks=masks)
    meta = dict(img_id=7, img_path='seven.jpg', img_shape=size, ori_shape=(50, 75))
    result = DetDataSample(metainfo=meta)
    fields |= changes
    result.gt_instances = InstanceData(**{k: v for k, v in fields.items() if v is not None})
    return result


def batch(*samples: DetDataSample) -> dict:
    torch.manual_seed(1)
    return dict(inputs=torch.randn(len(samples), 3, 64, 96), data_samples=list(samples))


def masks_of(result: DetDataSample) -> np.ndarray:
    return np.stack([coco_mask.decode(code) for code in result.pred_instances.masks])


@torch.no_grad()
def predict(model: nn.Module, **head) -> DetDataSample:
    model = copy.deepcopy(model).eval()
    for name, value in head.items():
        setattr(model.bbox_head, name, value)
    return model(**batch(sample()), mode='predict')[0]


def test_fewer_detections_have_the_masks_that_they_have_among_all():
    model = build()
    every, best = predict(model), predict(model, max_per_img=4)
    order = every.pred_instances.scores.topk(4).indices
    masks = masks_of(every)
    assert len(np.unique(masks.reshape(NUM_QUERIES, -1), axis=0)) == NUM_QUERIES
    assert masks_of(best).shape == (4, 50, 75)
    assert (masks_of(best) != masks[order]).mean() < 1e-3


def test_panoptic_result_alone():
    panoptic = dict(type='PanopticSegmentation', things=4, score_thr=0.2)
    model = build(panoptic=panoptic)
    both, alone = predict(model), predict(model, instance_masks=False)
    assert 'masks' not in alone.pred_instances
    assert len(both.pred_panoptic.segments) > 1
    assert (both.pred_panoptic.ids != alone.pred_panoptic.ids).mean() < 1e-3
    areas = [each['area'] for each in alone.pred_panoptic.segments]
    assert np.bincount(alone.pred_panoptic.ids.flatten())[1:].tolist() == areas
    # Nothing is as sure as this.
    model.bbox_head.panoptic.score_thr = 1.0
    nothing = predict(model, instance_masks=False).pred_panoptic
    assert nothing.segments == []
    assert nothing.ids.shape == (50, 75)
    assert not nothing.ids.any()


@pytest.mark.parametrize('number', [0, 3, NUM_QUERIES + 2])
def test_losses_are_those_of_all_masks(number):
    """Training computes the matched queries' masks, eval mode all of them: the same losses.

    With an empty mask, without objects, and with more objects than queries.
    """
    model = build()
    data = batch(sample(), sample(number))
    losses = model(**data, mode='loss')
    whole = model.eval()(**data, mode='loss')
    for name in ('loss_mask', 'loss_dice'):
        assert losses[name].isfinite()
        torch.testing.assert_close(losses[name], whole[name], rtol=1e-4, atol=1e-6)
    model.parse_losses(losses)[0].backward()
    gradients = [p.grad for p in model.bbox_head.mask_head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_chunks_of_several_images_change_no_loss(monkeypatch):
    """Pairs of images of different sizes, all at once or two at a time."""
    model, results = build(), []
    for pixels in (2**22, 2 * 64 * 96):
        monkeypatch.setattr('mmdetr.models.losses.mask_criterion._CHUNK_PIXELS', pixels)
        data = batch(sample(), sample(2, size=(60, 90)), sample(0))
        model.zero_grad()
        losses = model(**data, mode='loss')
        (losses['loss_mask'] + losses['loss_dice']).backward()
        gradients = [p.grad.clone() for p in model.bbox_head.mask_head.parameters()]
        results.append((losses['loss_mask'], losses['loss_dice'], *gradients))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_only_the_mask_head_trains():
    model = build(trained_parts=['bbox_head.mask_head']).train()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(names) == 32
    assert all(name.startswith('bbox_head.mask_head.') for name in names)
    model.parse_losses(model(**batch(sample()), mode='loss'))[0].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == names
    with pytest.raises(ValueError, match=r'bbox_head\.masks, but no parameter'):
        build(trained_parts=['bbox_head.masks'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(masks=None), r'image 7 \(seven.jpg\) has boxes but no masks.*with_mask=True'),
        (dict(masks=torch.zeros(3, 8, 8)), r'image 7 \(seven.jpg\) .*\(3, 8, 8\).*\(3, 64, 96\)'),
        (dict(masks=torch.zeros(2, 64, 96)), None),
    ],
)
def test_missing_or_wrong_masks_are_named(changes, message):
    if message is None:  # mmengine refuses fields of another length itself
        with pytest.raises(AssertionError):
            sample(**changes)
        return
    with pytest.raises(ValueError, match=message):
        build()(**batch(sample(), sample(**changes)), mode='loss')


def test_mask_losses_by_their_formulas():
    torch.manual_seed(0)
    logits, truth = torch.randn(3, 50).double(), (torch.rand(3, 50) > 0.7).double()
    p = logits.sigmoid()
    p_t, alpha_t = torch.where(truth > 0, p, 1 - p), torch.where(truth > 0, 0.25, 0.75)
    focal = (-alpha_t * (1 - p_t) ** 2 * p_t.log()).mean(1).sum() / 5
    dice = (1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).sum() / 5
    factor = torch.tensor(5)
    torch.testing.assert_close(SigmoidFocalLoss()(logits, truth, factor), focal)
    torch.testing.assert_close(DiceLoss(loss_weight=2)(logits, truth, factor), 2 * dice)


def test_instance_masks_step_by_step():
    """Bilinear to the input, above one half, cut, nearest to the original, each as a whole."""
    model = build().eval()
    data = batch(sample(size=(60, 90)))
    data['padding_mask'] = torch.ones(1, 64, 96, dtype=torch.bool)
    data['padding_mask'][:, :60, :90] = False
    with torch.no_grad():
        logits = model(data['inputs'], data['padding_mask']).masks
        large = F.interpolate(logits, size=(64, 96), mode='bilinear')[0, :, :60, :90]
        expected = F.interpolate((large.sigmoid() > 0.5)[None].float(), size=(50, 75))[0]
        result = model(**data, mode='predict')[0]
    assert 0.02 < expected.mean() < 0.98
    assert (masks_of(result) != expected.numpy()).mean() < 1e-3


def test_optimised_model_has_the_same_masks():
    model = build()
    expected = masks_of(predict(model))
    optimize_for_inference(model)
    assert (masks_of(predict(model)) != expected).mean() < 2e-3


class Network(nn.Module):
    """What is exported: image in, tensors out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> tuple:
        prediction = self.model.network(inputs)
        return prediction.logits, prediction.bboxes, prediction.masks


@pytest.mark.slow
def test_network_is_exported():
    network = Network(build().eval())
    inputs = batch(sample())['inputs']
    with torch.no_grad():
        exported = torch.export.export(network, (inputs,), strict=False).module()
        torch.testing.assert_close(exported(inputs), network(inputs))


def test_autocast_gives_finite_losses_near_those_of_float32():
    model, data = build(), batch(sample())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model(**data, mode='loss')
    full = model(**data, mode='loss')
    for name in ('loss_mask', 'loss_dice'):
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], full[name], rtol=0.1, atol=0)
    model.parse_losses(half)[0].backward()
    gradients = [p.grad for p in model.bbox_head.mask_head.parameters()]
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in gradients)


@pytest.mark.parametrize('form', ['autocast', 'optimised'])
def test_masks_in_bfloat16_are_near_those_of_float32(form):
    panoptic = dict(type='PanopticSegmentation', things=4, score_thr=0.2)
    model = build(panoptic=panoptic)
    expected = predict(model)
    if form == 'optimised':
        optimize_for_inference(model, dtype='bfloat16')
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=form == 'autocast'):
        found = predict(model)
    assert (masks_of(found) != masks_of(expected)).mean() < 0.1
    assert (found.pred_panoptic.ids > 0).all()


@pytest.mark.parametrize(('pixels', 'kept'), [(4, 1), (5, 2)])
def test_segments_of_few_pixels_go_to_others(pixels, kept):
    """The logits have the size of the image, so nothing is interpolated."""
    size = (6, 8)
    masks = torch.zeros(2, *size)
    masks[1] = -1
    masks[1, 2, :pixels] = 1
    frame = Frame(size, size, size)
    result = PanopticSegmentation(things=2)(
        masks, torch.tensor([0.9, 0.95]), torch.tensor([1, 1]), frame
    )
    assert [each['id'] for each in result.segments] == [1, 2][:kept]
    areas = [48 - pixels, pixels] if kept == 2 else [48]
    assert [each['area'] for each in result.segments] == areas
    assert (result.ids == 2).sum() == (pixels if kept == 2 else 0)
    assert (result.ids > 0).all()


def test_masks_on_a_backbone_of_timm():
    pytest.importorskip('timm')
    init_default_scope('mmdetr')
    cfg = config()
    cfg['backbone'] = dict(
        type='TimmBackbone',
        model_name='mobilenetv2_100',
        out_indices=(1, 2, 3, 4),
        norm_frozen=False,
    )
    model = MODELS.build(cfg)
    losses = model(**batch(sample(), sample()), mode='loss')
    sum(losses.values()).backward()
    assert model.backbone.body.conv_stem.weight.grad.abs().sum() > 0
    assert len(masks_of(predict(model))) == NUM_QUERIES


def test_masks_of_a_gpu_are_those_of_a_cpu(monkeypatch):
    """A GPU computes whole masks, many at once."""
    monkeypatch.setattr(mask_postprocess, '_GPU_MASKS', 4)
    logits = torch.randn(9, 12, 16, generator=torch.Generator().manual_seed(0))
    logits[3] = -1.0
    frame = Frame((48, 64), (44, 60), (101, 131))
    sampler = MaskSampler(logits.shape[-2:], frame, centred=False, device=logits.device)
    on_gpu = list(mask_postprocess._gpu_masks(logits, sampler))
    on_cpu = list(mask_postprocess._cpu_masks(logits, sampler))
    assert [each.sum() for each in on_gpu][3] == 0
    assert len(on_gpu) == len(on_cpu) == 9
    for gpu, cpu in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(gpu, cpu)
