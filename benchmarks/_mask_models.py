"""DETR-R50 with masks here and in the authors' code: inference, training steps, post-processing.

Peers run on one thread and answer with CPU seconds.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from _common import ROOT
from _losses import MAX_NORM, data_samples, objects, without_dropout
from _models import Built, authors, images, keep_activations_small, nested
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.apis import init_detector
from mmdetr.checkpoint import from_mmdetr
from mmdetr.models import PanopticSegmentation
from mmdetr.models.fast import use_plain_forms
from mmdetr.models.heads.mask_postprocess import encode_masks
from mmdetr.structures import DetDataSample
from mmdetr.utils.mask_frame import Frame

CONFIG = ROOT / 'configs' / 'detr_r50_instance_8xb2-25e_coco.py'
NUM_CLASSES = 91
_OPTIONS = {'model.bbox_head.num_classes': NUM_CLASSES}
ORIGINAL = (480, 640)
KEPT = 15


@contextmanager
def random_mask_weights() -> Iterator[dict[str, str]]:
    """One set of random weights under the names of both codebases: paths by party."""
    torch.manual_seed(0)
    model = init_detector(CONFIG, device='cpu', cfg_options=_OPTIONS)
    keep_activations_small(model)
    weights = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f'{folder}/{name}.pth' for name in ('ours', 'authors')}
        torch.save(dict(state_dict=weights), paths['ours'])
        torch.save(dict(model=from_mmdetr(weights, 'facebook')), paths['authors'])
        yield paths


def _ours(path: str, plain: bool = False, **options: Any) -> nn.Module:
    model = init_detector(CONFIG, path, device='cpu', cfg_options=_OPTIONS, **options)
    if plain:
        use_plain_forms(model.bbox_head)
    return model


def _authors(path: str, freeze: bool = False) -> nn.Module:
    import torchvision
    from models.backbone import Backbone
    from models.segmentation import DETRsegm

    # What their code calls is gone from torchvision.
    torchvision.ops.misc.interpolate = F.interpolate
    weights = torch.load(path, weights_only=True)['model']
    plain = Backbone.__init__
    with tempfile.NamedTemporaryFile() as file:
        boxes = {k.removeprefix('detr.'): v for k, v in weights.items() if k.startswith('detr.')}
        torch.save(dict(model=boxes), file.name)
        # All four stages instead of the last.
        Backbone.__init__ = lambda self, name, train, _, dilation: plain(
            self, name, train, True, dilation
        )
        model = DETRsegm(authors(file.name), freeze_detr=freeze)
    model.load_state_dict(weights)
    return model.eval()


def infer_masks(
    kind: str, path: str, height: int, width: int, kept: int | None = None, **options: Any
) -> Built:
    """Factory of a peer that predicts; ours the masks of the ``kept`` best queries, or of all."""
    torch.set_num_threads(1)
    inputs, _ = images(1, height, width, padded=False)
    if kind == 'authors':
        theirs, given = _authors(path), nested(inputs, None)

        @torch.no_grad()
        def run() -> Any:
            return theirs(given)

        return run, lambda: dict(masks=run()['pred_masks'][:, :KEPT].numpy())
    model = _ours(path, **options)

    @torch.no_grad()
    def run_ours() -> Tensor:
        if kept is None:
            return model(inputs).masks
        head = model.bbox_head
        head.max_per_img = kept
        prediction = model(inputs)
        return torch.stack(head.masks_of(prediction, [torch.arange(kept)]))

    return run_ours, lambda: dict(masks=run_ours()[:, :KEPT].numpy())


def infer_boxes(path: str, height: int, width: int) -> Built:
    """Factory of a peer that predicts with the box model alone."""
    torch.set_num_threads(1)
    inputs, _ = images(1, height, width, padded=False)
    model = _ours(path)

    @torch.no_grad()
    def run() -> Any:
        head = model.bbox_head
        return head.decode(
            head.transform(model.neck(model.backbone(inputs)), None, head.queries(None), False)
        )

    return run, lambda: dict(boxes=run().bboxes.numpy())


def train_masks(
    kind: str,
    path: str,
    batch: int,
    height: int,
    width: int,
    count: int,
    frozen: bool,
    plain: bool = False,
) -> Built:
    """Factory of a peer that does one training step with masks that fill their boxes.

    ``plain`` lets our mask head compute in its plain form.
    """
    torch.set_num_threads(1)
    inputs, _ = images(batch, height, width, padded=False)
    targets = objects(batch, count)
    samples = data_samples(targets, height, width, with_masks=True)
    if kind == 'ours':
        model, loss = _train_ours(path, inputs, samples, frozen, plain)
    else:
        model, loss = _train_authors(path, inputs, samples, targets, frozen)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=1e-4, fused=kind == 'ours')

    def run() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def outputs() -> dict[str, np.ndarray]:
        with torch.no_grad(), without_dropout(model):
            return dict(loss=np.array(float(loss())))

    return run, outputs


def _train_ours(
    path: str, inputs: Tensor, samples: list[DetDataSample], frozen: bool, plain: bool
) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = _ours(path, plain).train()
    for name, parameter in model.named_parameters():
        # As trained_parts does in the config, or not.
        early = name.startswith(('backbone.conv1', 'backbone.bn1', 'backbone.layer1'))
        trains = 'mask_head' in name if frozen else not early
        parameter.requires_grad_(trains)
    return model, lambda: model.parse_losses(model(inputs, None, samples, mode='loss'))[0]


def _train_authors(
    path: str, inputs: Tensor, samples: list[DetDataSample], targets: Any, frozen: bool
) -> tuple[nn.Module, Callable[[], Tensor]]:
    from models.detr import SetCriterion
    from models.matcher import HungarianMatcher

    model = _authors(path, freeze=frozen).train()
    for name, parameter in model.named_parameters():
        if 'layer1' in name or name.endswith('body.conv1.weight'):
            parameter.requires_grad_(False)
    weights = dict(loss_ce=1.0, loss_bbox=5.0, loss_giou=2.0)
    weights |= {f'{k}_{i}': weight for i in range(5) for k, weight in weights.items()}
    weights |= dict(loss_mask=1.0, loss_dice=1.0)
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    kinds = ['labels', 'boxes', 'cardinality', 'masks']
    criterion = SetCriterion(NUM_CLASSES, matcher, weights, eos_coef=0.1, losses=kinds)
    labelled = [
        dict(boxes=boxes, labels=labels, masks=sample.gt_instances.masks)
        for (boxes, labels), sample in zip(targets, samples, strict=True)
    ]
    given = nested(inputs, None)

    def loss() -> Tensor:
        losses = criterion(model(given), labelled)
        return torch.stack([losses[k] * weight for k, weight in weights.items()]).sum()

    return model, loss


# Post-processing


def blobs(num_queries: int, height: int, width: int) -> Tensor:
    """Logits [1, N, H / 4, W / 4] of ellipses, on average a tenth of the image."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.linspace(0, 1, -(-height // 4))[:, None]
    columns = torch.linspace(0, 1, -(-width // 4))
    numbers = torch.rand(4, num_queries, 1, 1, generator=generator)
    y, x, h, w = numbers[0], numbers[1], *(0.1 + 0.2 * numbers[2:])
    return (4 - 4 * ((rows - y) / h) ** 2 - 4 * ((columns - x) / w) ** 2)[None]


def instances(kind: str, height: int, width: int) -> Built:
    """Factory of a peer: mask logits of 100 queries to run-length codes of the original."""
    torch.set_num_threads(1)
    logits = blobs(100, height, width)
    if kind == 'ours':
        frame = Frame((height, width), (height, width), ORIGINAL)

        def run() -> list:
            return encode_masks(logits[0], frame)
    else:
        from models.segmentation import PostProcessSegm

        sizes = torch.tensor([[height, width]]), torch.tensor([ORIGINAL])

        def run() -> list:
            results = PostProcessSegm()([{}], dict(pred_masks=logits), sizes[1], sizes[0])
            # As their evaluation encodes what this returns.
            masks = results[0]['masks'] > 0.5
            return [
                coco_mask.encode(np.array(mask[0, :, :, None], dtype=np.uint8, order='F'))[0]
                for mask in masks.numpy()
            ]

    # Two masks may differ in a pixel whose logit is zero but for rounding.
    return run, lambda: dict(areas=coco_mask.area(run()) / ORIGINAL[0] / ORIGINAL[1])


def panoptic(kind: str, height: int, width: int) -> Built:
    """Factory of a peer: logits of 100 queries, 15 of them sure, to a panoptic segmentation."""
    torch.set_num_threads(1)
    masks = blobs(100, height, width)
    labels = torch.arange(100) % 90
    logits = torch.zeros(1, 100, NUM_CLASSES + 1)
    logits[0, torch.arange(100), torch.where(torch.arange(100) < KEPT, labels, NUM_CLASSES)] = 20
    if kind == 'ours':
        frame = Frame((height, width), (height, width), ORIGINAL)
        segmentation = PanopticSegmentation(things=10)

        def run() -> Any:
            kept = slice(0, KEPT)
            return segmentation(masks[0, kept], torch.ones(KEPT), labels[kept], frame).ids

        return run, lambda: dict(ids=_shares(run()))
    from models import segmentation as theirs

    # From panopticapi, which is in no package index: ids as three bytes.
    theirs.id2rgb = lambda ids: np.stack([ids >> s & 255 for s in (0, 8, 16)], -1).astype('u1')
    theirs.rgb2id = lambda rgb: rgb.astype(np.int64) @ (1, 256, 65536)
    is_thing = {i: i < 10 for i in range(NUM_CLASSES)}
    processor = theirs.PostProcessPanoptic(is_thing)
    outputs = dict(pred_logits=logits, pred_masks=masks, pred_boxes=torch.zeros(1, 100, 4))

    def run() -> Any:
        return processor(outputs, [(height, width)], [ORIGINAL])[0]

    return run, lambda: dict(ids=_shares([each['area'] for each in run()['segments_info']]))


def _shares(found: Any) -> np.ndarray:
    """Areas as parts of the image."""
    areas = np.bincount(found.ravel())[1:] if isinstance(found, np.ndarray) else np.array(found)
    return areas / ORIGINAL[0] / ORIGINAL[1]
