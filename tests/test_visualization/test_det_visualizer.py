import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image

from mmdetr.registry import VISUALIZERS
from mmdetr.structures import DetDataSample
from mmdetr.utils.operating_point import ClassPoint, OperatingPoint
from mmdetr.visualization import DetVisualizer
from mmdetr.visualization.drawing import class_colour, draw_boxes, side_by_side

GREY = np.full((500, 600, 3), 128, dtype=np.uint8)


def extent(picture, label, rows=slice(None), columns=slice(None)):
    """Left, top, right, bottom of the pixels that have exactly the class's colour."""
    ys, xs = np.nonzero((picture[rows, columns] == class_colour(label)).all(-1))
    return (xs.min(), ys.min(), xs.max(), ys.max()) if len(xs) else None


def instances(bboxes, labels, scores=None):
    data = InstanceData(
        bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    if scores is not None:
        data.scores = torch.tensor(scores)
    return data


def make_sample(gt=None, pred=None, **meta):
    sample = DetDataSample(metainfo=dict(img_id=7, **meta))
    if gt is not None:
        sample.gt_instances = gt
    if pred is not None:
        sample.pred_instances = pred
    return sample


# --- drawing ---


def test_outline_lies_on_the_box():
    before = GREY.copy()
    picture = draw_boxes(GREY, np.array([[100, 150, 400, 450.0]]), ['cat'], [class_colour(0)])
    assert picture.shape == GREY.shape
    assert (before == GREY).all()
    left, top, right, bottom = extent(picture, 0)
    assert (left, right, bottom) == (100, 400, 450)
    # The caption stands above the box.
    assert 120 < top < 140
    # The inside stays as it was, but for the line.
    assert (picture[160:440, 110:390] == 128).all()


def test_boxes_beyond_the_image_are_cut_off():
    picture = draw_boxes(GREY, np.array([[-50, 60, 900, 700.0]]), ['cat'], [class_colour(0)])
    left, _, right, bottom = extent(picture, 0)
    assert (left, right, bottom) == (0, 599, 499)


@pytest.mark.parametrize(
    ('box', 'point'),
    [
        ([700, 700, 800, 800], (599, 499)),  # beyond the image: its nearest corner
        ([10, 10, 10, 10], (10, 10)),
        ([300, 200, 100, 50], (300, 200)),  # turned inside out
    ],
)
def test_odd_boxes_become_a_point(box, point):
    picture = draw_boxes(GREY, np.array([box], dtype=float), ['cat'], [class_colour(0)])
    x, y = point
    assert tuple(picture[y, x]) == class_colour(0)
    ys, xs = np.nonzero((picture != GREY).any(-1))
    assert np.abs(ys - y).max() < 30
    assert np.abs(xs - x).max() < 60, 'nothing but the point and its caption'


def test_small_images_are_enlarged_by_a_whole_factor():
    small = np.zeros((64, 64, 3), dtype=np.uint8)
    picture = draw_boxes(small, np.array([[16, 32, 48, 60.0]]), ['cat'], [class_colour(0)])
    assert picture.shape == (448, 448, 3)
    left, _, right, bottom = extent(picture, 0)
    assert (left, right, bottom) == (16 * 7, 48 * 7, 60 * 7)
    # Never into giants.
    narrow = draw_boxes(np.zeros((10, 900, 3), dtype=np.uint8), np.zeros((0, 4)), [], [])
    assert narrow.shape == (10, 900, 3)


def test_captions_avoid_each_other():
    boxes = np.array([[100, 100, 400, 400.0]] * 3)
    colours = [class_colour(k) for k in range(3)]
    together = draw_boxes(GREY, boxes, ['a cat 0.90'] * 3, colours)
    for colour in colours:
        with_caption = draw_boxes(GREY, boxes[:1], ['a cat 0.90'], [colour])
        without = draw_boxes(GREY, boxes[:1], [''], [colour])
        caption = (with_caption == colour).all(-1).sum() - (without == colour).all(-1).sum()
        assert (together == colour).all(-1).sum() >= caption


def test_class_colours_differ():
    colours = np.array([class_colour(k) for k in range(80)])
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(80, dtype=int)
    assert distance.min() >= 8
    assert distance[:10, :10].min() > 60


def test_title_and_sides():
    left = draw_boxes(GREY, np.zeros((0, 4)), [], [], title='ground truth')
    assert left.shape[0] > GREY.shape[0]
    assert (left[-500:] == GREY).all()
    both = side_by_side(left, left)
    assert both.shape[1] > 2 * left.shape[1]
    assert (both[:, -600:] == left).all()


# --- the visualizer ---


def test_predictions_below_the_threshold_are_left_out():
    pred = instances([[50, 60, 200, 400], [300, 60, 500, 400]], [0, 1], [0.9, 0.2])
    sample = make_sample(pred=pred, ori_shape=(500, 600))
    visualizer = DetVisualizer()
    picture = visualizer.draw(GREY, sample, pred_score_thr=0.5)
    assert extent(picture, 0) is not None
    assert extent(picture, 1) is None
    assert extent(visualizer.draw(GREY, sample, pred_score_thr=0.1), 1) is not None


def test_without_threshold_the_operating_point_decides():
    pred = instances([[50, 60, 200, 400], [300, 60, 500, 400]], [0, 1], [0.4, 0.25])
    sample = make_sample(pred=pred, ori_shape=(500, 600))
    visualizer = DetVisualizer()
    picture = visualizer.draw(GREY, sample)  # 0.3
    assert extent(picture, 0) is not None
    assert extent(picture, 1) is None
    visualizer.dataset_meta = dict(classes=('cat', 'dog'))
    everything = ClassPoint('all', 0.35, 1.0, 1.0, 1.0, 9)
    own = tuple(ClassPoint(n, t, 1.0, 1.0, 1.0, 9) for n, t in (('cat', 0.5), ('dog', 0.2)))
    visualizer.operating_point = OperatingPoint(everything, own)
    picture = visualizer.draw(GREY, sample)
    assert extent(picture, 0) is None
    assert extent(picture, 1) is not None


def test_ground_truth_and_predictions_side_by_side():
    sample = make_sample(
        instances([[50, 100, 300, 400]], [1]),
        instances([[50, 100, 300, 400]], [2], [0.9]),
        ori_shape=(500, 600),
    )
    visualizer = DetVisualizer()
    picture = visualizer.draw(GREY, sample)
    half = picture.shape[1] // 2
    assert extent(picture, 1, columns=slice(half, None)) is None
    assert extent(picture, 2, columns=slice(0, half)) is None
    assert extent(picture, 1) is not None
    assert extent(picture, 2) is not None
    assert visualizer.draw(GREY, sample, draw_gt=False).shape == GREY.shape
    assert visualizer.draw(GREY, sample, draw_pred=False).shape == GREY.shape
    assert (visualizer.draw(GREY, sample, draw_gt=False, draw_pred=False) == GREY).all()
    assert (visualizer.draw(GREY) == GREY).all()


def test_boxes_follow_the_frame_of_the_image():
    """Original 500 x 600, network input 1000 x 1200: the same picture twice as large."""
    sample = make_sample(
        instances([[200, 400, 600, 800]], [0]),
        instances([[100, 200, 300, 400]], [0], [0.9]),
        ori_shape=(500, 600),
        img_shape=(1000, 1200),
        scale_factor=(2.0, 2.0),
    )
    visualizer = DetVisualizer()
    for draw_gt in (True, False):
        kwargs = dict(draw_gt=draw_gt, draw_pred=not draw_gt)
        left, _, right, bottom = extent(visualizer.draw(GREY, sample, **kwargs), 0)
        assert (left, right, bottom) == (100, 300, 400)
        large = np.full((1000, 1200, 3), 128, dtype=np.uint8)
        left, _, right, bottom = extent(visualizer.draw(large, sample, **kwargs), 0)
        assert (left, right, bottom) == (200, 600, 800)
    with pytest.raises(ValueError, match=r'image id 7.*\(40, 40\).*\(500, 600\)'):
        visualizer.draw(GREY[:40, :40], sample)


def test_ground_truth_as_the_dataset_lists_it():
    """Where a test pipeline loads no annotations; crowds are left out."""
    listed = [
        dict(bbox=[100, 200, 300, 400], bbox_label=0, ignore_flag=0),
        dict(bbox=[350, 200, 450, 400], bbox_label=1, ignore_flag=1),
    ]
    meta = dict(ori_shape=(500, 600), img_shape=(1000, 1200), scale_factor=(2.0, 2.0))
    picture = DetVisualizer().draw(GREY, make_sample(instances=listed, **meta))
    left, _, right, bottom = extent(picture, 0)
    assert (left, right, bottom) == (100, 300, 400)
    assert extent(picture, 1) is None
    # No objects at all: an empty picture.
    assert (DetVisualizer().draw(GREY, make_sample(instances=[], **meta)) == GREY).all()


def test_class_names_come_from_the_dataset(monkeypatch):
    seen = []
    monkeypatch.setattr(
        'mmdetr.visualization.det_visualizer.draw_boxes',
        lambda image, bboxes, captions, *_: seen.append((bboxes.tolist(), captions)) or image,
    )
    visualizer = DetVisualizer()
    pred = instances([[1, 1, 2, 2], [3, 3, 4, 4]], [0, 5], [0.6, 0.75])
    sample = make_sample(pred=pred)
    visualizer.draw(GREY, sample)
    visualizer.dataset_meta = dict(classes=('cat',))
    visualizer.draw(GREY, sample)
    # The best first: it gets the best place.
    boxes = [[3, 3, 4, 4], [1, 1, 2, 2]]
    assert seen == [
        (boxes, ['class 5 0.75', 'class 0 0.60']),
        (boxes, ['class 5 0.75', 'cat 0.60']),
    ]


def test_writes_files_or_tells_the_backends(tmp_path):
    visualizer = VISUALIZERS.build(
        dict(
            type='DetVisualizer',
            name='test_writes',
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path),
        )
    )
    assert isinstance(visualizer, Visualizer)
    sample = make_sample(pred=instances([[50, 60, 200, 400]], [0], [0.9]))
    visualizer.add_datasample('shown', GREY, sample, out_file=tmp_path / 'new' / 'a.png')
    expected = visualizer.draw(GREY, sample)
    assert (np.asarray(Image.open(tmp_path / 'new' / 'a.png')) == expected).all()
    assert not (tmp_path / 'vis_data').exists()
    visualizer.add_datasample('shown', GREY, sample, step=3)
    written = tmp_path / 'vis_data' / 'vis_image' / 'shown_3.png'
    assert (np.asarray(Image.open(written)) == expected).all()
