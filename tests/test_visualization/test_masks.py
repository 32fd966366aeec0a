"""Masks and panoptic segments in pictures, by the colours of single pixels."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools import mask as coco_mask

from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.structures import DetDataSample, PanopticResult
from mmdetr.visualization import DetVisualizer, det_visualizer
from mmdetr.visualization.drawing import class_colour
from mmdetr.visualization.mask_drawing import object_colours

GREY = np.full((500, 600, 3), 128, dtype=np.uint8)
META = dict(classes=('cat', 'dog', 'sky'), isthing=(True, True, False))
SQUARE = (slice(100, 300), slice(200, 400))


def rle(*region: slice) -> dict:
    mask = np.zeros((500, 600), dtype=np.uint8)
    mask[region] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def predicted(regions, labels, scores=None, **meta) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(img_id=1, ori_shape=(500, 600), **meta))
    masks = [rle(*region) for region in regions]
    xywh = np.array([coco_mask.toBbox(mask) for mask in masks]).reshape(-1, 4)
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)),
        labels=torch.tensor(labels),
        scores=torch.tensor(scores or [0.9] * len(labels)),
        masks=masks,
    )
    return sample


def visualizer() -> DetVisualizer:
    drawer = DetVisualizer()
    drawer.dataset_meta = META
    return drawer


def mixed(share: float, colour) -> list:
    return pytest.approx([(1 - share) * 128 + share * c for c in colour], abs=1)


def test_fill_outline_and_nothing_else():
    picture = visualizer().draw(GREY, predicted([SQUARE], [0]))
    assert picture[200, 300].tolist() == mixed(0.45, class_colour(0))
    assert picture[200, 200].tolist() == list(class_colour(0))
    assert picture[150, 100].tolist() == [128] * 3
    # No box: the corner of a triangle's box stays as it was.
    triangle = np.tril(np.ones((200, 200), dtype=np.uint8))
    mask = np.zeros((500, 600), dtype=np.uint8)
    mask[SQUARE] = triangle
    sample = predicted([SQUARE], [0])
    sample.pred_instances.masks = [coco_mask.encode(np.asfortranarray(mask))]
    picture = visualizer().draw(GREY, sample)
    assert picture[150, 395].tolist() == [128] * 3


def test_objects_of_one_class_have_shades_of_their_own():
    colours = object_colours([3, 3, 1, 3, 3, 3, 3])
    assert len(set(colours[:1] + colours[1:2] + colours[3:6])) == 5
    assert colours[0] == colours[6] == class_colour(3)
    assert colours[2] == class_colour(1)


def test_best_on_top_and_every_outline_visible():
    lower = (slice(200, 400), slice(300, 500))
    picture = visualizer().draw(GREY, predicted([lower, SQUARE], [0, 1], [0.6, 0.8]))
    first, second = object_colours([1, 0])
    both = [0.55 * (0.55 * 128 + 0.45 * b) + 0.45 * a for a, b in zip(first, second, strict=True)]
    assert picture[250, 350].tolist() == pytest.approx(both, abs=1)
    # The edge of the lower one inside of the upper one.
    assert picture[250, 300].tolist() == list(second)
    assert picture[250, 399].tolist() == list(first)


def test_empty_mask_is_shown_by_its_box():
    sample = predicted([SQUARE], [0])
    sample.pred_instances.masks = [rle(slice(0, 0), slice(0, 0))]
    picture = visualizer().draw(GREY, sample)
    assert picture[200, 200].tolist() == list(class_colour(0))
    assert picture[200, 300].tolist() == [128] * 3


def test_masks_of_the_ground_truth_in_each_frame():
    """Listed as polygons of the original image, or as a tensor of the network's input."""
    polygon = [[200, 100, 400, 100, 400, 300, 200, 300]]
    listed = [
        dict(bbox=[200, 100, 400, 300], bbox_label=1, ignore_flag=0, mask=polygon),
        dict(bbox=[0, 0, 600, 500], bbox_label=0, ignore_flag=1, mask=polygon),
    ]
    sample = DetDataSample(metainfo=dict(img_id=1, ori_shape=(500, 600), instances=listed))
    from_list = visualizer().draw(GREY, sample)
    assert from_list[200, 300].tolist() == mixed(0.45, class_colour(1))
    masks = torch.zeros(1, 250, 300, dtype=torch.bool)
    masks[0, 50:150, 100:200] = True
    loaded = DetDataSample(
        metainfo=dict(ori_shape=(500, 600), img_shape=(250, 300), scale_factor=(0.5, 0.5))
    )
    loaded.gt_instances = InstanceData(
        bboxes=torch.tensor([[100.0, 50, 200, 150]]), labels=torch.tensor([1]), masks=masks
    )
    np.testing.assert_array_equal(visualizer().draw(GREY, loaded), from_list)


def test_small_masks_stay_sharp_when_pictures_are_enlarged():
    small = np.full((50, 60, 3), 128, dtype=np.uint8)
    sample = DetDataSample(metainfo=dict(img_id=1, ori_shape=(50, 60)))
    mask = np.zeros((50, 60), dtype=np.uint8, order='F')
    mask[10:30, 20:40] = 1
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[20.0, 10, 40, 30]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.9]),
        masks=[coco_mask.encode(mask)],
    )
    picture = visualizer().draw(small, sample)
    assert picture.shape == (400, 480, 3)
    assert picture[160, 165].tolist() == mixed(0.45, class_colour(0))
    assert picture[160, 155].tolist() == [128] * 3


def panoptic_map() -> np.ndarray:
    ids = np.ones((500, 600), dtype=np.int32)
    ids[SQUARE] = 7
    ids[400:] = 0
    return ids


def with_panoptic(sample: DetDataSample) -> DetDataSample:
    segments = [dict(id=1, label=2), dict(id=7, label=0), dict(id=9, label=1)]
    sample.pred_panoptic = PanopticResult(panoptic_map(), segments)
    return sample


def test_segments_void_and_names(monkeypatch):
    written: list = []
    draw_names = det_visualizer.draw_names

    def spy(image, points, captions, *more):
        written.extend(zip(points, captions, strict=True))
        return draw_names(image, points, captions, *more)

    monkeypatch.setattr(det_visualizer, 'draw_names', spy)
    empty = DetDataSample(metainfo=dict(img_id=1, ori_shape=(500, 600)))
    picture = visualizer().draw(GREY, with_panoptic(empty))
    assert picture[150, 50].tolist() == mixed(0.6, class_colour(2))
    assert picture[150, 300].tolist() == mixed(0.6, class_colour(0))
    assert picture[450, 300].tolist() == [128] * 3
    # The largest first, each at its innermost point; what has no pixel is not drawn.
    assert [caption for _, caption in written] == ['sky', 'cat']
    assert written[1][0] == pytest.approx((300, 200), abs=2)


def test_things_left_and_segments_right():
    """Stuff is drawn among the segments alone."""
    everything = (slice(0, 500), slice(0, 600))
    sample = with_panoptic(predicted([SQUARE, everything], [0, 2]))
    picture = visualizer().draw(GREY, sample)
    gap = picture.shape[1] - 1200
    strip = picture.shape[0] - 500
    assert gap == 6
    assert picture[strip + 200, 300].tolist() == mixed(0.45, class_colour(0))
    assert picture[strip + 20, 20].tolist() == [128] * 3
    assert picture[strip + 150, 606 + 50].tolist() == mixed(0.6, class_colour(2))
    # Without a panoptic picture stuff is drawn as any object.
    del sample.pred_panoptic
    assert visualizer().draw(GREY, sample)[20, 20].tolist() != [128] * 3


def test_ground_truth_above_and_beside(tmp_path):
    path = tmp_path / 'map.png'
    channels = np.stack((panoptic_map(),) * 3, axis=-1).astype(np.uint8)
    channels[..., 1:] = 0
    Image.fromarray(channels).save(path)
    segments = [dict(id=1, label=2, iscrowd=0), dict(id=7, label=-1, iscrowd=0)]
    listed = [dict(bbox=[200, 100, 400, 300], bbox_label=1, ignore_flag=0)]
    known = dict(instances=listed, segments=segments)
    from_file = with_panoptic(predicted([SQUARE], [0], seg_map_path=str(path), **known))
    picture = visualizer().draw(GREY, from_file)
    strip = picture.shape[0] // 2 - 500
    assert picture.shape[1] == 1206
    lower = 500 + 2 * strip
    # Label -1 is a class that is not asked for: not drawn.
    assert picture[lower + 150, 300].tolist() == [128] * 3
    assert picture[lower + 150, 906].tolist() == mixed(0.6, class_colour(0))
    from_map = with_panoptic(predicted([SQUARE], [0], segment_ids=panoptic_map(), **known))
    np.testing.assert_array_equal(visualizer().draw(GREY, from_map), picture)
    path.unlink()
    with pytest.raises(UnreadableImageError, match='does not exist'):
        visualizer().draw(GREY, from_file)
