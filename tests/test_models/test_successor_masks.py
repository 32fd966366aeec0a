"""Masks on the successors: those that can have them, and what the others are told."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = {
    'model.backbone.init_cfg': None,
    'model.backbone.out_indices': (0, 1),
    'model.neck.out_channels': 32,
    'model.bbox_head.transformer.feedforward_channels': 32,
    'model.bbox_head.transformer.num_decoder_layers': 2,
}
MASKS = {
    'model.bbox_head.mask_head': dict(type='MaskHead'),
    'model.bbox_head.panoptic': dict(type='PanopticSegmentation', things=2, score_thr=0.0),
    'model.bbox_head.criterion.type': 'MaskCriterion',
    'model.bbox_head.criterion.loss_mask': dict(type='SigmoidFocalLoss'),
    'model.bbox_head.criterion.loss_dice': dict(type='DiceLoss'),
}


def build(name: str, **options) -> nn.Module:
    """Build the tiny model of a successor; ``options`` are keys of its head."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(CONFIGS / f'{name}_tiny_1xb32-12e_shapes.py')
    cfg.merge_from_dict(SMALL)
    cfg.merge_from_dict({f'model.bbox_head.{key}': value for key, value in options.items()})
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def masked(name: str, **options) -> nn.Module:
    head = {key.removeprefix('model.bbox_head.'): value for key, value in MASKS.items()}
    return build(name, **head, **options)


def batch() -> dict:
    """Two images of 64 x 64 with two objects and none."""
    torch.manual_seed(1)
    samples = []
    for number in (2, 0):
        masks = torch.zeros(number, 64, 64, dtype=torch.uint8)
        masks[:, 8:40, 16:48] = 1
        sample = DetDataSample(metainfo=dict(img_id=1, img_shape=(64, 64), ori_shape=(64, 64)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[16.0, 8, 48, 40]]).expand(number, 4),
            labels=torch.zeros(number, dtype=torch.long),
            masks=masks,
        )
        samples.append(sample)
    return dict(inputs=torch.randn(2, 3, 64, 64), data_samples=samples)


@pytest.mark.parametrize(
    ('name', 'head', 'plain'),
    [
        ('conditional_detr', 'ConditionalMaskHead', 'ConditionalHead'),
        ('dab_detr', 'AnchorMaskHead', 'AnchorHead'),
    ],
)
def test_boxes_are_the_successors_and_masks_train(name, head, plain):
    model, data = masked(name, type=head), batch()
    losses = model(**data, mode='loss')
    model.parse_losses(losses)[0].backward()
    assert losses['loss_mask'] > 0
    gradients = [p.grad for p in model.bbox_head.mask_head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)

    boxes = build(name, type=plain)
    weights = {k: v for k, v in model.state_dict().items() if '.mask_head.' not in k}
    boxes.load_state_dict(weights)
    with torch.no_grad():
        expected = boxes.eval()(data['inputs'])
        prediction = model.eval()(data['inputs'])
        found = model(**data, mode='predict')[0]
    torch.testing.assert_close(prediction.bboxes, expected.bboxes)
    torch.testing.assert_close(prediction.logits, expected.logits)
    assert prediction.masks.shape == (2, 10, 16, 16)
    assert len(found.pred_instances.masks) == len(found.pred_instances.scores)
    assert found.pred_panoptic.ids.shape == (64, 64)


@pytest.mark.parametrize('name', ['conditional', 'dab', 'dn', 'deformable', 'dino'])
def test_heads_without_masks_say_so(name):
    with pytest.raises(ValueError, match=r'predicts no masks: leave out mask_head, panoptic, Mask'):
        masked(name if name == 'dino' else f'{name}_detr')


def test_a_box_head_with_mask_losses_alone_is_refused():
    criterion = {k.removeprefix('model.bbox_head.'): v for k, v in MASKS.items() if 'crit' in k}
    with pytest.raises(ValueError, match='ConditionalHead predicts no masks: leave out MaskCrit'):
        build('conditional_detr', **criterion)


def test_the_head_of_another_decoder_is_refused():
    model = masked('conditional_detr', type='DETRMaskHead').eval()
    with pytest.raises(ValueError, match=r'DETRMaskHead reads no reference points.*Conditional'):
        model(batch()['inputs'])


def test_denoising_with_masks_is_refused():
    with pytest.raises(ValueError, match='no denoising with masks: set denoising=None'):
        masked('dab_detr', type='AnchorMaskHead', denoising=dict(type='Denoising'))
