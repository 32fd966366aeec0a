"""Masks of exported files: made without torch as the model's head makes them."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from pycocotools import mask as coco_mask

from mmdetr.apis import RuntimeDetector, inference_detector
from mmdetr.deploy import masks, runtime
from mmdetr.deploy.comparison import TOLERANCES, compare_detections
from mmdetr.deploy.description import ExportError, describe
from mmdetr.deploy.detections import ImageDetections, PanopticSegments
from mmdetr.deploy.networks import RawNetwork, plain_copy, traceable_masks
from mmdetr.deploy.run_lengths import encode
from mmdetr.deploy.verification import verify
from mmdetr.models.heads.mask_postprocess import PanopticSegmentation, encode_masks
from mmdetr.utils.mask_frame import Frame
from tests.helpers.exported import build, metadata

CONFIG = 'detr_tiny_1xb16-10e_shapes_masks.py'
HEAD = 'model__bbox_head__'
SMALL = {
    f'{HEAD}transformer__num_decoder_layers': 1,
    f'{HEAD}num_queries': 5,
    # Random weights find nothing that is more probable.
    f'{HEAD}panoptic__score_thr': 0.1,
    # Several chunks, the last of them smaller.
    f'{HEAD}mask_head__chunk_size': 3,
}
FRAMES = [
    Frame((64, 64), (64, 64), (64, 64)),
    Frame((96, 128), (90, 121), (333, 447)),
    Frame((96, 128), (90, 121), (31, 40)),
    Frame((33, 50), (33, 49), (67, 100)),
]


def fields(count: int, frame: Frame, seed: int = 0) -> np.ndarray:
    """Smooth random logits at a quarter of the padded input."""
    rng = np.random.default_rng(seed)
    size = tuple(-(-side // 4) for side in frame.padded)
    coarse = torch.from_numpy(rng.normal(size=(1, count, 5, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size, mode='bicubic')
    return smooth[0].numpy()


def test_run_lengths_are_those_of_coco() -> None:
    rng = np.random.default_rng(0)
    cases = [rng.random((width, height)) < 0.5 for width, height in ((1, 1), (7, 5), (64, 48))]
    cases += [np.zeros((5, 4), bool), np.ones((5, 4), bool)]
    blocks = np.zeros((900, 700), bool)  # runs of many characters, long ones after short ones
    blocks[10:400, 3:600] = blocks[700, 100] = True
    for mask in [*cases, blocks]:
        assert encode(mask) == coco_mask.encode(np.asfortranarray(mask.T.astype(np.uint8)))


@pytest.mark.parametrize('frame', FRAMES, ids=str)
def test_masks_and_segments_are_those_of_the_head(frame: Frame) -> None:
    logits = fields(6, frame)
    logits[3] = -1  # an empty mask
    ours = masks.encode_masks(logits, masks.Frame(*frame))
    assert ours == encode_masks(torch.from_numpy(logits), frame)
    scores = np.float32([0.9, 0.2, 0.8, 0.7, 0.6, 0.95])
    labels = np.array([4, 0, 4, 1, 3, 0])
    for min_area in (4, 300):
        made_by = PanopticSegmentation(things=[0, 1], score_thr=0.5, min_area=min_area)
        kept = scores > 0.5
        tensors = (torch.from_numpy(each[kept]) for each in (logits, scores, labels))
        theirs = made_by(*tensors, frame)
        found = masks.make_segments(
            logits, scores, labels, masks.Frame(*frame), [0, 1], 0.5, min_area
        )
        np.testing.assert_array_equal(found.ids, theirs.ids)
        assert found.segments == theirs.segments
    nothing = masks.make_segments(logits, 0 * scores, labels, masks.Frame(*frame), [], 0.5, 4)
    assert (nothing.ids.shape, nothing.ids.any(), nothing.segments) == (frame.original, False, [])


@pytest.fixture(scope='module')
def model() -> BaseModel:
    return build(CONFIG, **SMALL)


class EagerSession:
    """The network that would be traced, in torch: tracing takes half a minute, see test_zoo.py."""

    def __init__(self, model: BaseModel, dtype: str = 'float32') -> None:
        self.metadata = describe(model, dtype, None, False, False, None).to_json()
        self.network = RawNetwork(plain_copy(model, dtype), traceable_masks)

    @torch.no_grad()
    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.network(**{name: torch.from_numpy(each) for name, each in inputs.items()})
        return {name: each.numpy() for name, each in outputs.items()}


def test_the_network_that_is_traced_gives_what_inference_detector_gives(
    model: BaseModel, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runtime, 'open_session', lambda *_: EagerSession(model))
    detector = RuntimeDetector('a.onnx')
    kinds = {each.what for each in verify(model, detector)}
    assert {'mask logits', 'mask pixels', 'panoptic pixels'} <= kinds
    image = np.random.default_rng(0).integers(0, 256, (70, 91, 3), np.uint8)
    found, sample = detector(image), inference_detector(model, image)
    assert found.masks is not None
    for ours, theirs in zip(found.masks, sample.pred_instances.masks, strict=True):
        assert ours['size'] == theirs['size'] == [70, 91]
        assert np.not_equal(*map(coco_mask.decode, (ours, theirs))).mean() < 1e-3
    assert found.panoptic is not None
    assert len(found.panoptic.segments) > 1
    assert (found.panoptic.ids != sample.pred_panoptic.ids).mean() < 1e-3
    for ours, theirs in zip(found.panoptic.segments, sample.pred_panoptic.segments, strict=True):
        assert {**ours, 'score': 0, 'area': 0} == {**theirs, 'score': 0, 'area': 0}


def test_half_precision_is_within_its_tolerances(model: BaseModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(runtime, 'open_session', lambda *_: EagerSession(model, 'float16'))
    found = verify(model, RuntimeDetector('a.onnx'))
    assert max(each.largest for each in found if each.what == 'logits') > 1e-4  # half it is


class MaskSession:
    """Two detections in each image; the second's mask is the left half of the canvas."""

    metadata = metadata(
        postprocess=True,
        scale=None,
        masks=True,
        panoptic=dict(things=[0], score_thr=0.5, min_area=0),
    ).to_json()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count, height, width = inputs['images'].shape[:3]
        logits = np.full((count, 2, height // 4, width // 4), -1, np.float32)
        logits[:, 1, :, : width // 8] = 1
        return dict(
            boxes=np.zeros((count, 2, 4), np.float32),
            scores=np.tile(np.float32([0.2, 0.9]), (count, 1)),
            labels=np.tile([0, 1], (count, 1)),
            masks=logits,
        )


def test_detections_of_a_file_with_postprocessing(monkeypatch: Any) -> None:
    monkeypatch.setattr(runtime, 'open_session', lambda *_: MaskSession())
    found = RuntimeDetector('a.onnx')(np.zeros((80, 96, 3), np.uint8))
    assert found.masks is not None
    assert found.panoptic is not None
    empty, half = map(coco_mask.decode, found.masks)
    assert (half.shape, half[:, :46].all(), half[:, 50:].any()) == ((80, 96), True, False)
    assert not empty.any()
    assert [each['label'] for each in found.panoptic.segments] == [1]
    (best,) = found.above(0.5).masks or ()
    assert best == found.masks[1]


def test_other_masks_and_segments_are_differences() -> None:
    def detections(share: float, label: int) -> ImageDetections:
        mask = np.zeros((10, 10), np.uint8)
        mask[: round(10 * share)] = 1
        ids = mask.T.astype(np.int32)
        return ImageDetections(
            np.zeros((1, 4), np.float32),
            np.float32([0.9]),
            np.array([0]),
            [encode(mask)],
            PanopticSegments(ids, [dict(id=1, label=label)]),
        )

    def largest(ours: ImageDetections, *logits: float) -> dict[str, float]:
        arrays = [np.full((1, 2, 2), each, np.float32) for each in logits]
        found = compare_detections(
            detections(0.5, 3), ours, (10, 10), TOLERANCES['float32'], arrays
        )
        return {each.what: each.largest for each in found if each.largest > each.allowed}

    assert largest(detections(0.5, 3)) == {}
    assert largest(detections(0.6, 3)) == pytest.approx(
        {'mask pixels': 0.1, 'panoptic pixels': 0.1}
    )
    assert largest(detections(0.5, 2)) == {'panoptic pixels': 0.5}
    assert largest(detections(0.5, 3), 1.0, 1.5) == {'mask logits': 0.5}


@pytest.mark.parametrize(
    ('changes', 'dtype', 'postprocess', 'message'),
    [
        ({}, 'int8', False, 'says nothing of masks: export this model in float32'),
        ({f'{HEAD}max_per_img': 4}, 'float32', True, 'export it without postprocessing'),
        ({}, 'float32', True, 'made from raw predictions'),
    ],
)
def test_refusals(changes: dict, dtype: str, postprocess: bool, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        describe(build(CONFIG, **(SMALL | changes)), dtype, None, False, postprocess, None)
