"""Masks in CocoMetric, against pycocotools as its own demo calls it."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdetr.evaluation.box_scores import score_boxes
from mmdetr.evaluation.detections import Detections
from mmdetr.structures import DetDataSample

META = dict(classes=('cat', 'dog', 'tree'), cat_ids=(3, 7, 90))
NAMES = [
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR@1', 'AR@10', 'AR@100', 'AR_s@100', 'AR_m@100', 'AR_l@100'),
]
HEIGHT, WIDTH = 120, 150


@pytest.fixture(params=['pycocotools', 'faster_coco_eval'])
def backend(request):
    if request.param == 'faster_coco_eval':
        pytest.importorskip('faster_coco_eval')
    return request.param


def ellipse(rng: np.random.Generator) -> tuple:
    return *rng.uniform(10, 110, 2), *rng.choice([6, 20, 60], 2)


def polygon(x: float, y: float, a: float, b: float) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = np.stack((x + a * np.cos(angles), y + b * np.sin(angles)), axis=1)
    return points.clip(0, (WIDTH, HEIGHT)).ravel().round(2).tolist()


def rle_of(outline: list[float]) -> dict:
    return coco_mask.merge(coco_mask.frPyObjects([outline], HEIGHT, WIDTH))


def uncompressed(rle: dict) -> dict:
    pixels = coco_mask.decode(rle).ravel(order='F')
    changes = np.flatnonzero(np.diff(pixels, prepend=0, append=0))
    counts = np.diff(changes, prepend=0, append=pixels.size)
    if changes.size and changes[-1] == pixels.size:
        counts = counts[:-1]
    return dict(size=[HEIGHT, WIDTH], counts=counts.tolist())


def random_dataset(num_images: int = 25, seed: int = 0) -> tuple[dict, list[DetDataSample]]:
    """Polygons, run lengths and crowds; detections near them, with equal scores, and noise."""
    rng = np.random.default_rng(seed)
    images, annotations, samples = [], [], []
    for img_id in range(1, num_images + 1):
        images.append(dict(id=img_id, file_name=f'{img_id}.jpg', width=WIDTH, height=HEIGHT))
        found: list[tuple] = [(ellipse(rng), rng.integers(3)) for _ in range(rng.integers(0, 6))]
        for _ in range(rng.integers(0, 4)):
            shape, label = ellipse(rng), int(rng.integers(3))
            outline, crowd = polygon(*shape), int(rng.random() < 0.2)
            rle = rle_of(outline)
            x, y, w, h = coco_mask.toBbox(rle).tolist()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=img_id,
                    category_id=META['cat_ids'][label],
                    bbox=[x, y, w, h],
                    area=float(coco_mask.area(rle)),
                    iscrowd=crowd,
                    segmentation=uncompressed(rle) if crowd or label == 1 else [outline],
                )
            )
            moved = tuple(np.add(shape, rng.normal(0, 2, 4)).clip(3).tolist())
            found += [(moved, label), (shape, rng.integers(3))]
        masks = [rle_of(polygon(*shape)) for shape, _ in found]
        xywh = np.array([coco_mask.toBbox(mask) for mask in masks]).reshape(-1, 4)
        sample = DetDataSample(metainfo=dict(img_id=img_id, ori_shape=(HEIGHT, WIDTH)))
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1)),
            scores=torch.tensor(rng.integers(1, 6, len(found)) / 5),
            labels=torch.tensor([int(label) for _, label in found], dtype=torch.int64),
            masks=masks,
        )
        samples.append(sample)
    categories = [
        dict(id=i, name=name) for i, name in zip(META['cat_ids'], META['classes'], strict=True)
    ]
    return dict(images=images, annotations=annotations, categories=categories), samples


@pytest.fixture
def dataset(tmp_path):
    content, samples = random_dataset()
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    return content, str(path), samples


def run(samples, meta=META, **kwargs):
    evaluator = Evaluator(dict(type='mmdetr.CocoMetric', **kwargs))
    evaluator.dataset_meta = meta
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def reference(path: str, results: list[dict], iou_type: str, cat_ids=None) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
        evaluator = COCOeval(coco, coco.loadRes(results), iou_type)
        if cat_ids is not None:
            evaluator.params.catIds = cat_ids
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


def as_results(samples, iou_type: str) -> list[dict]:
    results = []
    for each in samples:
        pred = each.pred_instances
        rows = zip(pred.bboxes.tolist(), pred.scores.tolist(), pred.labels, pred.masks, strict=True)
        for (x1, y1, x2, y2), score, label, mask in rows:
            shape = dict(bbox=[x1, y1, x2 - x1, y2 - y1])
            if iou_type == 'segm':
                shape = dict(segmentation=dict(mask, counts=mask['counts'].decode()))
            cat_id = META['cat_ids'][label]
            results.append(dict(image_id=each.img_id, category_id=cat_id, score=score, **shape))
    return results


def test_both_kinds_equal_pycocotools(dataset, backend):
    _, path, samples = dataset
    metrics = run(samples, ann_file=path, metric=['bbox', 'segm'], backend=backend)
    assert list(metrics) == [f'coco/{kind}_{n}' for kind in ('bbox', 'segm') for n in NAMES]
    for kind in ('bbox', 'segm'):
        expected = reference(path, as_results(samples, kind), kind)
        assert 0.1 < expected[0] < 0.9
        found = [metrics[f'coco/{kind}_{name}'] for name in NAMES]
        assert found == pytest.approx(expected, abs=1e-12)
    assert metrics['coco/segm_mAP'] != metrics['coco/bbox_mAP']


def test_hundreds_of_detections_of_one_class(tmp_path, backend):
    content, samples = random_dataset(num_images=90)
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    for each in samples:
        each.pred_instances.labels[:] = 0
    assert sum(len(each.pred_instances) for each in samples) > 300
    metrics = run(samples, ann_file=str(path), metric='segm', backend=backend)
    expected = reference(str(path), as_results(samples, 'segm'), 'segm')
    assert metrics['coco/segm_mAP'] == pytest.approx(expected[0], abs=1e-12)


@pytest.mark.parametrize('seed', range(6))
def test_tables_of_both_backends(seed):
    pytest.importorskip('faster_coco_eval')
    content, samples = random_dataset(seed=seed)
    results = [
        dict(
            bboxes=each.pred_instances.bboxes.numpy(),
            scores=each.pred_instances.scores.numpy(),
            labels=each.pred_instances.labels.numpy(),
            masks=each.pred_instances.masks,
        )
        for each in samples
    ]
    number = {cat_id: k for k, cat_id in enumerate(META['cat_ids'], start=1)}
    tables = []
    for name in ('pycocotools', 'faster_coco_eval'):
        truth = [
            dict(
                image_id=each['image_id'],
                category_id=number[each['category_id']],
                bbox=each['bbox'],
                area=each['area'],
                iscrowd=each['iscrowd'],
                segmentation=coco_mask.frPyObjects(each['segmentation'], HEIGHT, WIDTH)
                if isinstance(each['segmentation'], dict)
                else rle_of(each['segmentation'][0]),
            )
            for each in content['annotations']
        ]
        stacked = Detections.stack(results, 3)
        tables.append(score_boxes(truth, stacked, 25, 3, (1, 2, 4), name, 'segm'))
    np.testing.assert_allclose(tables[1].precision, tables[0].precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tables[1].recall, tables[0].recall, rtol=0, atol=1e-12)


def listed(content: dict, samples: list) -> list:
    """The samples with the ground truth in their metainfo, as datasets list it."""
    for each in samples:
        instances = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=META['cat_ids'].index(a['category_id']),
                ignore_flag=a['iscrowd'],
                area=a['area'],
                mask=a['segmentation'],
            )
            for a in content['annotations']
            if a['image_id'] == each.img_id
            for x, y, w, h in [a['bbox']]
        ]
        each.set_metainfo(dict(instances=instances))
    return samples


def test_ground_truth_from_samples_equals_file(dataset, backend):
    content, path, samples = dataset
    from_file = run(samples, ann_file=path, metric='segm', backend=backend, classwise=True)
    assert 'coco/segm_mAP/dog' in from_file
    from_samples = run(listed(content, samples), metric='segm', backend=backend, classwise=True)
    assert from_samples == pytest.approx(from_file, abs=1e-12)


def test_results_files_are_what_coco_takes(dataset, tmp_path):
    _, path, samples = dataset
    prefix = str(tmp_path / 'out' / 'results')
    run(samples, metric=['bbox', 'segm'], outfile_prefix=prefix, format_only=True)
    for kind in ('bbox', 'segm'):
        written = json.loads((tmp_path / 'out' / f'results.{kind}.json').read_text())
        assert reference(path, written, kind) == pytest.approx(
            reference(path, as_results(samples, kind), kind), abs=1e-12
        )


def test_things_alone_are_scored(dataset, backend):
    """The file knows no stuff, as COCO's instances; with it in the file it does not count."""
    content, path, samples = dataset
    expected = reference(path, as_results(samples, 'segm'), 'segm', cat_ids=[3, 7])
    meta = META | dict(isthing=(True, True, False))
    things = dict(
        images=content['images'],
        categories=content['categories'][:2],
        annotations=[a for a in content['annotations'] if a['category_id'] != 90],
    )
    with open(path, 'w') as file:
        json.dump(things, file)
    metrics = run(samples, meta, ann_file=path, metric='segm', backend=backend, classwise=True)
    assert [metrics[f'coco/segm_{name}'] for name in NAMES] == pytest.approx(expected, abs=1e-12)
    assert 'coco/segm_mAP/tree' not in metrics
    from_samples = run(listed(content, samples), meta, metric='segm', backend=backend)
    assert from_samples['coco/segm_mAP'] == pytest.approx(expected[0], abs=1e-12)


def test_bad_segmentations_are_counted_and_not_scored(dataset, log_messages):
    content, path, samples = dataset
    bad = content['annotations'][3:5]
    bad[0]['segmentation'] = [[1, 2, 3]]
    del bad[1]['segmentation']
    with open(path, 'w') as file:
        json.dump(content, file)
    metrics = run(samples, ann_file=path, metric=['bbox', 'segm'])
    ids = dict.fromkeys(each['image_id'] for each in bad)
    (warning,) = [message for message in log_messages if 'are not scored' in message]
    assert 'masks of 2 annotations' in warning
    assert '1 no segmentation, 1 malformed segmentation' in warning
    assert warning.endswith(', '.join(map(str, ids)))
    expected = reference(path, as_results(samples, 'bbox'), 'bbox')
    assert metrics['coco/bbox_mAP'] == pytest.approx(expected[0], abs=1e-12)


def test_box_annotations_cannot_score_masks(dataset):
    content, path, samples = dataset
    for each in content['annotations']:
        del each['segmentation']
    with open(path, 'w') as file:
        json.dump(content, file)
    with pytest.raises(ValueError, match=r"none of .* has a segmentation .*metric='bbox'"):
        run(samples, ann_file=path, metric=['bbox', 'segm'])
    for each in listed(content | dict(annotations=[]), samples):
        each.set_metainfo(dict(instances=[dict(bbox=[0, 0, 1, 1], bbox_label=0, ignore_flag=0)]))
    with pytest.raises(ValueError, match='image id 1: the ground truth has no masks'):
        run(samples, metric='segm')


def test_predictions_that_cannot_be_scored(dataset):
    _, path, samples = dataset
    pred = samples[0].pred_instances
    masks = pred.masks
    del pred.masks
    with pytest.raises(ValueError, match='image id 1: the model predicts no masks'):
        run(samples, ann_file=path, metric='segm')
    pred.masks = [dict(mask, size=[HEIGHT, WIDTH + 1]) for mask in masks]
    with pytest.raises(ValueError, match=r'image id 1: a predicted mask has \[120, 151\] pixels'):
        run(samples, ann_file=path, metric='segm')
    pred.masks = masks
    for each in samples:
        each.set_metainfo(dict(ori_shape=(HEIGHT, WIDTH + 1)))
        each.pred_instances.masks = [
            dict(mask, size=[HEIGHT, WIDTH + 1]) for mask in each.pred_instances.masks
        ]
    with pytest.raises(ValueError, match=r'image id \d+: an annotated mask has \[120, 150\]'):
        run(samples, ann_file=path, metric='segm')
    for metric in ('mask', [], ['bbox', 'keypoints']):
        with pytest.raises(ValueError, match="metric of CocoMetric is 'bbox', 'segm' or both"):
            run(samples, ann_file=path, metric=metric)
