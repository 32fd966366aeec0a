import contextlib
import io
import json
import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdetr.datasets import CocoDataset
from mmdetr.engine.hooks import MetricDataHook
from mmdetr.evaluation import CocoMetric
from mmdetr.registry import METRICS
from mmdetr.structures import DetDataSample
from tests.helpers.ranks import run_ranks

# Names in the order of pycocotools' stats.
STATS = [
    'coco/bbox_mAP',
    'coco/bbox_mAP_50',
    'coco/bbox_mAP_75',
    'coco/bbox_mAP_s',
    'coco/bbox_mAP_m',
    'coco/bbox_mAP_l',
    'coco/bbox_AR@1',
    'coco/bbox_AR@10',
    'coco/bbox_AR@100',
    'coco/bbox_AR_s@100',
    'coco/bbox_AR_m@100',
    'coco/bbox_AR_l@100',
]
BACKENDS = ['pycocotools', 'faster_coco_eval']
# Sparse, and not in the order of the names.
CATEGORIES = [(7, 'dog'), (3, 'cat'), (90, 'toothbrush')]
META = dict(classes=('cat', 'dog', 'toothbrush'), cat_ids=(3, 7, 90))


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == 'faster_coco_eval':
        pytest.importorskip('faster_coco_eval')
    return request.param


def sample(img_id, bboxes, scores, labels, **meta):
    pred = InstanceData(
        bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    data_sample = DetDataSample(metainfo=dict(img_id=img_id, ori_shape=(500, 500), **meta))
    data_sample.pred_instances = pred
    return data_sample


def instance(bbox, label=0, ignore_flag=0):
    return dict(bbox=bbox, bbox_label=label, ignore_flag=ignore_flag)


def run(samples, meta=META, size=None, **kwargs):
    evaluator = Evaluator(dict(type='mmdetr.CocoMetric', **kwargs))
    evaluator.dataset_meta = meta
    evaluator.process(samples)
    return evaluator.evaluate(len(samples) if size is None else size)


def random_dataset(tmp_path, num_images=40, seed=0):
    """An annotation file and noisy detections; scores in steps of 0.1, so that many are equal."""
    rng = np.random.default_rng(seed)
    annotations, samples = [], []
    img_ids = (rng.permutation(1000)[:num_images]).tolist()
    for img_id in img_ids:
        count = rng.integers(0, 8)
        xy = rng.uniform(0, 300, (count, 2))
        # Small, medium and large ones.
        wh = rng.choice([20, 60, 150], (count, 1)) * rng.uniform(0.7, 1.3, (count, 2))
        labels = rng.integers(0, 3, count)
        for box, label in zip(np.hstack([xy, wh]), labels, strict=True):
            annotations.append(
                dict(
                    # Id 0 must count like any other.
                    id=len(annotations),
                    image_id=img_id,
                    category_id=META['cat_ids'][label],
                    bbox=box.tolist(),
                    area=float(box[2] * box[3] * 0.8),
                    iscrowd=int(rng.random() < 0.1),
                )
            )
        boxes = np.hstack([xy, xy + wh]).repeat(3, axis=0)
        boxes = boxes + rng.normal(0, 6, boxes.shape)
        changed = rng.random(len(boxes)) < 0.2
        pred_labels = np.where(changed, rng.integers(0, 3, len(boxes)), labels.repeat(3))
        scores = rng.integers(1, 11, len(boxes)) / 10
        samples.append(sample(img_id, boxes.tolist(), scores.tolist(), pred_labels.tolist()))
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', height=500, width=500) for i in img_ids],
        categories=[dict(id=i, name=name) for i, name in CATEGORIES],
        annotations=annotations,
    )
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    return path, samples


def pycocotools_run(ann_file, results, img_ids=None):
    """The reference, called as its own demo does. Returns the stats and what it printed."""
    content = json.loads(ann_file.read_text())
    for number, annotation in enumerate(content['annotations'], start=1):
        annotation['id'] = number
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    evaluator = COCOeval(coco, coco.loadRes(results), 'bbox')
    if img_ids is not None:
        evaluator.params.imgIds = img_ids
    evaluator.evaluate()
    evaluator.accumulate()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluator.summarize()
    return evaluator.stats, printed.getvalue()


def as_results(samples):
    results = []
    for data_sample in samples:
        pred = data_sample.pred_instances
        for box, score, label in zip(pred.bboxes, pred.scores, pred.labels, strict=True):
            x1, y1, x2, y2 = box.tolist()
            results.append(
                dict(
                    image_id=data_sample.img_id,
                    category_id=META['cat_ids'][label],
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    score=score.item(),
                )
            )
    return results


# --- by hand ---


def test_average_precision_by_hand(backend):
    """Hit, miss, hit: precision 1 up to recall 1/2 (51 of 101 points), then 2/3."""
    a, b = [10, 10, 60, 60], [200, 200, 250, 250]
    samples = [
        sample(
            5,
            [a, [400, 400, 450, 450], b],
            [0.9, 0.8, 0.7],
            [0, 0, 0],
            instances=[instance(a), instance(b)],
        )
    ]
    metrics = run(samples, meta=dict(classes=('thing',)), backend=backend)
    expected = (51 + 50 * 2 / 3) / 101
    for name in ('coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/bbox_mAP_75', 'coco/bbox_mAP_m'):
        assert metrics[name] == pytest.approx(expected, abs=1e-12)
    # Boxes of 50 x 50 are medium; nothing is small or large.
    assert metrics['coco/bbox_mAP_s'] == metrics['coco/bbox_mAP_l'] == -1
    assert metrics['coco/bbox_AR@1'] == 0.5
    assert metrics['coco/bbox_AR@10'] == metrics['coco/bbox_AR@100'] == 1


def test_iou_thresholds_by_hand(backend):
    """An overlap of 0.62 counts at 0.50, 0.55 and 0.60: three thresholds of ten."""
    samples = [
        sample(1, [[0, 0, 100, 62]], [0.9], [0], instances=[instance([0, 0, 100, 100])]),
    ]
    metrics = run(samples, meta=dict(classes=('thing',)), backend=backend)
    assert metrics['coco/bbox_mAP'] == pytest.approx(0.3, abs=1e-12)
    assert metrics['coco/bbox_mAP_50'] == pytest.approx(1, abs=1e-12)
    assert metrics['coco/bbox_mAP_75'] == 0
    assert metrics['coco/bbox_mAP_l'] == pytest.approx(0.3, abs=1e-12)


def test_mean_over_classes_and_crowd_by_hand(backend):
    """Class 0 is found, class 1 missed, class 2 has no ground truth; the crowd costs nothing."""
    box = [0, 0, 100, 100]
    samples = [
        sample(
            1,
            [box, [300, 300, 350, 350]],
            [0.5, 0.9],
            [0, 0],
            instances=[
                instance(box),
                instance([250, 250, 400, 400], ignore_flag=1),
                instance([5, 5, 50, 50], label=1),
            ],
        )
    ]
    meta = dict(classes=('found', 'missed', 'absent'))
    metrics = run(samples, meta=meta, classwise=True, backend=backend)
    assert metrics['coco/bbox_mAP/found'] == pytest.approx(1, abs=1e-12)
    assert metrics['coco/bbox_mAP/missed'] == 0
    assert math.isnan(metrics['coco/bbox_mAP/absent'])
    assert metrics['coco/bbox_mAP'] == pytest.approx(0.5, abs=1e-12)


def test_other_limits_by_hand(backend):
    """The third-best detection is the second hit: invisible to a limit of two."""
    a, b = [10, 10, 60, 60], [200, 200, 250, 250]
    samples = [
        sample(
            1,
            [a, [400, 400, 450, 450], b],
            [0.9, 0.8, 0.7],
            [0, 0, 0],
            instances=[instance(a), instance(b)],
        )
    ]
    meta = dict(classes=('thing',))
    two = run(samples, meta=meta, max_dets=(1, 2, 300), backend=backend)
    assert two['coco/bbox_AR@1'] == two['coco/bbox_AR@2'] == 0.5
    assert two['coco/bbox_AR@300'] == two['coco/bbox_AR_m@300'] == 1
    assert two['coco/bbox_mAP'] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)


def test_ap_is_taken_at_the_largest_limit(backend):
    box = [10, 10, 60, 60]
    far = [[300 + i, 300, 350 + i, 350] for i in range(3)]
    samples = [
        sample(1, [*far, box], [0.9, 0.8, 0.7, 0.6], [0] * 4, instances=[instance(box)]),
    ]
    meta = dict(classes=('thing',))
    assert run(samples, meta=meta, max_dets=(1, 2, 3), backend=backend)['coco/bbox_mAP'] == 0
    found = run(samples, meta=meta, max_dets=(1, 2, 4), backend=backend)['coco/bbox_mAP']
    assert found == pytest.approx(0.25, abs=1e-12)


# --- against pycocotools ---


def test_equals_pycocotools(tmp_path, backend, log_messages):
    ann_file, samples = random_dataset(tmp_path)
    stats, printed = pycocotools_run(ann_file, as_results(samples))
    assert 0.2 < stats[0] < 0.8
    metrics = run(samples, ann_file=str(ann_file), backend=backend)
    assert list(metrics) == STATS
    assert [metrics[name] for name in STATS] == pytest.approx(list(stats), abs=1e-12)
    # The table people know, line by line.
    table = next(message for message in log_messages if 'Average Precision' in message)
    assert table.splitlines()[1:] == printed.splitlines()


def test_scores_only_processed_images(tmp_path, backend):
    ann_file, samples = random_dataset(tmp_path)
    part = samples[:15]
    stats, _ = pycocotools_run(ann_file, as_results(part), [s.img_id for s in part])
    metrics = run(part, ann_file=str(ann_file), backend=backend)
    assert [metrics[name] for name in STATS] == pytest.approx(list(stats), abs=1e-12)


def test_order_and_repeats_do_not_matter(tmp_path, backend):
    ann_file, samples = random_dataset(tmp_path)
    once = run(samples, ann_file=str(ann_file), backend=backend)
    shuffled = [*reversed(samples), *samples[:5]]
    assert run(shuffled, size=len(samples), ann_file=str(ann_file), backend=backend) == once


def test_ground_truth_from_samples_equals_file(tmp_path, backend):
    ann_file, samples = random_dataset(tmp_path)
    content = json.loads(ann_file.read_text())
    for annotation in content['annotations']:
        annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
    ann_file.write_text(json.dumps(content))
    from_file = run(samples, ann_file=str(ann_file), backend=backend)
    for data_sample in samples:
        instances = [
            instance(
                [x, y, x + w, y + h], META['cat_ids'].index(ann['category_id']), ann['iscrowd']
            )
            for ann in content['annotations']
            if ann['image_id'] == data_sample.img_id
            for x, y, w, h in [ann['bbox']]
        ]
        data_sample.set_metainfo(dict(instances=instances))
    from_samples = run(samples, meta=dict(classes=META['classes']), backend=backend)
    assert from_samples == pytest.approx(from_file, abs=1e-9)


def test_areas_of_the_file_count_without_naming_it_to_the_metric(tmp_path, backend):
    """Areas of masks are smaller than their boxes', which moves objects between S, M and L."""
    ann_file, samples = random_dataset(tmp_path)
    dataset = CocoDataset(str(ann_file), test_mode=True)
    infos = {info['img_id']: info for info in map(dataset.get_data_info, range(len(dataset)))}
    meta = dict(dataset.metainfo)
    for data_sample in samples:
        data_sample.set_metainfo(dict(instances=infos[data_sample.img_id]['instances']))
        # The file's classes come by category id, as META has them.
        assert meta['classes'] == META['classes']
    stats, _ = pycocotools_run(ann_file, as_results(samples))
    scores = run(samples, meta=meta, backend=backend)
    np.testing.assert_allclose([scores[name] for name in STATS], stats, atol=1e-9)


@pytest.mark.parametrize('named', [True, False])
@pytest.mark.parametrize('areas', ['masks', 'some', 'none'])
def test_sizes_with_and_without_naming_the_file(tmp_path, areas, named):
    """Crowds and boxes that leave their images among them, as a runner scores them."""
    ann_file, samples = random_dataset(tmp_path, seed=3)
    content = json.loads(ann_file.read_text())
    for number, each in enumerate(content['annotations']):
        each['iscrowd'] = int(number % 7 == 0)
        if number % 5 == 0:
            each['bbox'][0] = 480
        if areas == 'none' or (areas == 'some' and number % 2):
            del each['area']
        elif areas == 'some' and number % 3 == 0:
            each['area'] = None
        else:
            each['area'] *= 0.5
    ann_file.write_text(json.dumps(content))
    metric = CocoMetric(str(ann_file) if named else None)
    dataset = CocoDataset(str(ann_file), test_mode=True)
    evaluator = Evaluator(metric)
    loader = SimpleNamespace(dataset=dataset)
    MetricDataHook().before_test(SimpleNamespace(test_dataloader=loader, test_evaluator=evaluator))
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process(samples)
    scores = evaluator.evaluate(len(samples))

    for each in content['annotations']:  # pycocotools cannot do without
        if each.get('area') is None:
            each['area'] = each['bbox'][2] * each['bbox'][3]
    ann_file.write_text(json.dumps(content))
    stats, _ = pycocotools_run(ann_file, as_results(samples))
    assert min(stats[3:6]) > 0
    np.testing.assert_allclose([scores[name] for name in STATS], stats, atol=1e-12)


def test_classes_by_name(tmp_path):
    """Without category ids the names decide; a part of the classes is scored on its own."""
    ann_file, samples = random_dataset(tmp_path)
    full = run(samples, ann_file=str(ann_file), classwise=True)
    by_name = run(samples, meta=dict(classes=META['classes']), ann_file=str(ann_file))
    assert by_name.items() <= full.items()
    dogs = []
    for data_sample in samples:
        pred = data_sample.pred_instances
        pred = pred[pred.labels == 1]
        labels = [0] * len(pred)
        dogs.append(sample(data_sample.img_id, pred.bboxes.tolist(), pred.scores.tolist(), labels))
    only_dogs = run(dogs, meta=dict(classes=('dog',)), ann_file=str(ann_file))
    assert only_dogs['coco/bbox_mAP'] == full['coco/bbox_mAP/dog']


# --- results file ---


def test_results_file_is_what_coco_takes(tmp_path):
    ann_file, samples = random_dataset(tmp_path)
    prefix = tmp_path / 'new_folder' / 'val'
    metrics = run(samples, ann_file=str(ann_file), outfile_prefix=str(prefix))
    results = json.loads((tmp_path / 'new_folder' / 'val.bbox.json').read_text())
    key = lambda r: (r['image_id'], r['category_id'], r['score'], r['bbox'])  # noqa: E731
    assert sorted(results, key=key) == sorted(as_results(samples), key=key)
    stats, _ = pycocotools_run(ann_file, results)
    assert [metrics[name] for name in STATS] == pytest.approx(list(stats), abs=1e-12)


def test_format_only_needs_no_annotations(tmp_path):
    ann_file, samples = random_dataset(tmp_path)
    content = json.loads(ann_file.read_text())
    del content['annotations']
    ann_file.write_text(json.dumps(content))
    prefix = str(tmp_path / 'hidden')
    assert run(samples, ann_file=str(ann_file), outfile_prefix=prefix, format_only=True) == {}
    assert len(json.loads((tmp_path / 'hidden.bbox.json').read_text())) == len(as_results(samples))
    with pytest.raises(ValueError, match='set outfile_prefix'):
        CocoMetric(format_only=True)


# --- edges ---


def test_no_detections_score_zero(tmp_path, backend, log_messages):
    ann_file, samples = random_dataset(tmp_path)
    empty = [sample(s.img_id, [], [], []) for s in samples]
    metrics = run(empty, ann_file=str(ann_file), backend=backend)
    assert set(metrics.values()) == {0.0}
    assert sum('no detections in any of 40 images' in m for m in log_messages) == 1


def test_warns_once_of_too_many_detections(log_messages):
    box = [0, 0, 50, 50]
    many = sample(1, [box] * 4, [0.5] * 4, [0] * 4, instances=[instance(box)])
    few = sample(2, [box], [0.5], [0], instances=[instance(box)])
    metric = METRICS.build(dict(type='CocoMetric', max_dets=(1, 2, 3)))
    metric.dataset_meta = dict(classes=('thing',))
    for _ in range(2):
        metric.process(None, [many.to_dict(), few.to_dict()])
        metric.evaluate(2)
    warnings = [m for m in log_messages if 'more than the largest max_dets=3' in m]
    assert len(warnings) == 1
    assert 'up to 4 detections in 1 of 2 images' in warnings[0]


def test_counts_images_that_share_an_id(log_messages):
    box = [0, 0, 50, 50]
    samples = [sample(1, [box], [0.5], [0], instances=[instance(box)]) for _ in range(3)]
    run(samples, meta=dict(classes=('thing',)))
    assert any('has 3 images' in m and 'only 1 different' in m for m in log_messages)


def test_takes_half_precision_scores():
    box = [0, 0, 50, 50]
    data_sample = sample(1, [box], [0.5], [0], instances=[instance(box)])
    data_sample.pred_instances = data_sample.pred_instances.to(torch.bfloat16)
    data_sample.pred_instances.labels = torch.zeros(1, dtype=torch.int64)
    assert run([data_sample], meta=dict(classes=('thing',)))['coco/bbox_mAP_50'] == 1


@pytest.mark.parametrize('field', ['bboxes', 'scores'])
def test_non_finite_predictions_name_the_image(field):
    data_sample = sample(17, [[0, 0, 5, 5]], [0.5], [0], instances=[])
    data_sample.pred_instances[field][0] = float('nan')
    with pytest.raises(ValueError, match='image id 17'):
        run([data_sample])


def test_missing_ground_truth_says_what_to_do():
    with pytest.raises(ValueError, match=r'image id 3.*Set ann_file.*meta_keys of PackDetInputs'):
        run([sample(3, [], [], [])])


def test_label_outside_the_classes_names_the_image():
    with pytest.raises(ValueError, match=r'image id 9: predicted labels 0\.\.3 .* 3 classes'):
        run([sample(9, [[0, 0, 5, 5]] * 2, [0.5] * 2, [3, 0], instances=[])])


def test_empty_dataset_is_an_error():
    with pytest.raises(ValueError, match='no image to score'):
        run([])


def test_needs_classes_from_somewhere():
    with pytest.raises(ValueError, match="'classes' in its metainfo"):
        run([sample(1, [], [], [], instances=[])], meta={})


@pytest.mark.parametrize('max_dets', [(100,), (1, 10), (10, 10, 100), (0, 1, 2), (100, 10, 1)])
def test_limits_must_ascend(max_dets):
    with pytest.raises(ValueError, match='three ascending'):
        CocoMetric(max_dets=max_dets)


def test_missing_annotation_file_is_found_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        CocoMetric(ann_file=str(tmp_path / 'nowhere.json'))


def test_unknown_image_names_file_and_id(tmp_path):
    ann_file, _ = random_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"1 predicted image ids .*annotations\.json.* is 'new'"):
        run([sample('new', [], [], [])], ann_file=str(ann_file))


def test_categories_must_agree_with_the_file(tmp_path):
    ann_file, samples = random_dataset(tmp_path)
    with pytest.raises(ValueError, match="no class 'bird', only 3 'cat', 7 'dog'"):
        run(samples, meta=dict(classes=('bird',)), ann_file=str(ann_file))
    with pytest.raises(ValueError, match="'cat' has category id 7"):
        run(samples, meta=dict(classes=('cat',), cat_ids=(7,)), ann_file=str(ann_file))


# --- several processes ---


def _rank_evaluates(rank, folder, ann_file, samples):
    os.chdir(folder)
    torch.distributed.init_process_group('gloo')
    # As DefaultSampler deals seven images: every other one, the first repeated to fill up.
    dealt = [*samples, samples[0]][rank::2]
    # And as a sampler that deals them in blocks, repeats in the middle.
    blocks = samples[:4] if rank == 0 else [*samples[:3], *samples[4:]]
    metrics = [
        run(part, size=len(samples), ann_file=str(ann_file), collect_device=device)
        for part in (dealt, blocks)
        for device in ('cpu', 'gpu')
    ]
    (folder / f'rank{rank}.json').write_text(json.dumps(metrics))


def test_two_processes_equal_one(tmp_path):
    ann_file, samples = random_dataset(tmp_path, num_images=7)
    alone = run(samples, ann_file=str(ann_file))
    run_ranks(2, _rank_evaluates, tmp_path, ann_file, samples)
    for rank in range(2):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == [alone] * 4
