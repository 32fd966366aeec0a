"""Panoptic quality: panopticapi's numbers, hand-made cases, a slow second implementation."""

import json
import math
import os

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from PIL import Image

from mmdetr.datasets import CocoPanopticDataset
from mmdetr.datasets.panoptic_maps import read_panoptic_png, write_panoptic_png
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.evaluation.panoptic_quality import ImageSegments, PanopticScores, compare
from mmdetr.structures import DetDataSample, PanopticResult
from tests.helpers.panoptic import read_panoptic_case, write_panoptic
from tests.helpers.ranks import run_ranks


@pytest.fixture(scope='module')
def case():
    return read_panoptic_case()


@pytest.fixture
def dataset(tmp_path, case):
    prefix = dict(img=str(tmp_path / 'images'), seg=str(tmp_path / 'maps'))
    path = write_panoptic(tmp_path, *case)
    return CocoPanopticDataset(path, data_prefix=prefix, test_mode=True, pipeline=[])


def samples_of(dataset, case) -> list[DetDataSample]:
    """What a model with the case's predictions gives; ids from 1 on instead of from 0."""
    meta, arrays = case
    labels = {cat_id: label for label, cat_id in enumerate(dataset.metainfo['cat_ids'])}
    samples = []
    for i, prediction in enumerate(meta['predictions']):
        info = dataset.get_data_info(i)
        keys = ('img_id', 'img_path', 'segments', 'seg_map_path')
        shape = (info['height'], info['width'])
        sample = DetDataSample(metainfo=dict({key: info[key] for key in keys}, ori_shape=shape))
        segments = [
            dict(
                id=each['id'] + 1,
                label=labels[each['category_id']],
                isthing=each['isthing'],
                area=each['area'],
                score=0.9,
            )
            for each in prediction['segments_info']
        ]
        sample.pred_panoptic = PanopticResult(arrays[f'pred_ids{i}'] + 1, segments)
        samples.append(sample)
    return samples


@pytest.fixture
def samples(dataset, case):
    return samples_of(dataset, case)


def run(samples, meta, size=None, **kwargs):
    evaluator = Evaluator(dict(type='mmdetr.CocoPanopticMetric', **kwargs))
    evaluator.dataset_meta = meta
    evaluator.process(samples)
    return evaluator.evaluate(len(samples) if size is None else size)


def test_numbers_are_panopticapis(dataset, samples, case, log_messages):
    metrics = run(samples, dataset.metainfo, classwise=True)
    expected = case[0]['pq']
    for suffix, group in (('', 'All'), ('_th', 'Things'), ('_st', 'Stuff')):
        for name in ('pq', 'sq', 'rq'):
            found = metrics[f'coco_panoptic/{name.upper()}{suffix}']
            assert found == pytest.approx(expected[group][name], abs=1e-12)
    classes = dict(zip(dataset.metainfo['cat_ids'], dataset.metainfo['classes'], strict=True))
    for cat_id, numbers in expected['per_class'].items():
        found = metrics[f'coco_panoptic/PQ/{classes[int(cat_id)]}']
        assert found == pytest.approx(numbers['pq'], abs=1e-12)
    assert len(metrics) == 9 + 6
    table = next(message for message in log_messages if message.startswith('panoptic evaluation'))
    assert ' all    |  48.7  61.5  65.3        6' in table
    assert any('cat              |   0.0   0.0   0.0' in message for message in log_messages)


def test_order_and_repeats_do_not_matter(dataset, samples):
    once = run(samples, dataset.metainfo)
    again = [*reversed(samples), samples[0]]
    assert run(again, dataset.metainfo, size=3) == once


def test_a_perfect_prediction(dataset, samples):
    for sample in samples:
        truth = [each for each in sample.segments if not each['iscrowd']]
        ids = np.asarray(Image.open(sample.seg_map_path)).astype(np.int32) @ [1, 256, 65536]
        crowd = np.isin(ids, [each['id'] for each in sample.segments if each['iscrowd']])
        segments = [dict(each, isthing=True, area=1, score=1.0) for each in truth]
        sample.pred_panoptic = PanopticResult(np.where(crowd, 0, ids).astype(np.int32), segments)
    metrics = run(samples, dataset.metainfo)
    assert set(metrics.values()) == {1.0}


def segments(ids, labels, iscrowd=()) -> ImageSegments:
    ids = np.array(ids)
    return ImageSegments(ids, list(range(1, len(labels) + 1)), labels, iscrowd)


def counts(scores: PanopticScores) -> list:
    return [list(column) for column in vars(scores).values()]


@pytest.mark.parametrize(
    ('truth', 'found', 'expected'),
    [
        # 3 of 4 pixels: IoU 3/4.
        (([[1, 1, 1, 1, 0]], [0]), ([[1, 1, 1, 0, 0]], [0]), [[0.75, 0], [1, 0], [0, 0], [0, 0]]),
        # The fifth pixel is void: it counts in no union.
        (([[1, 1, 1, 1, 0]], [0]), ([[1, 1, 1, 1, 1]], [0]), [[1.0, 0], [1, 0], [0, 0], [0, 0]]),
        # One half is no match.
        (([[1, 1, 2, 2]], [0, 1]), ([[1, 2, 2, 2]], [0, 1]),
         [[0, 2 / 3], [0, 1], [1, 0], [1, 0]]),
        # Another class at the same place: one too many of one, one missing of the other.
        (([[1, 1]], [0]), ([[1, 1]], [1]), [[0, 0], [0, 0], [0, 1], [1, 0]]),
        # More than half in void is not counted, exactly half is.
        (([[0, 0, 0, 1, 1]], [0]), ([[1, 1, 1, 1, 2]], [1, 1]),
         [[0, 0], [0, 0], [0, 1], [1, 0]]),
        (([[0, 0, 1, 1, 1]], [0]), ([[1, 1, 1, 1, 0]], [1]), [[0, 0], [0, 0], [0, 1], [1, 0]]),
        # In a crowd of its class, and of another class; crowds themselves are not missed.
        (([[1, 1, 1, 1]], [0], [1]), ([[1, 1, 2, 2]], [0, 1]),
         [[0, 0], [0, 0], [0, 1], [0, 0]]),
        # A class that is not asked for is void.
        (([[1, 1, 2, 2]], [-1, 0]), ([[1, 1, 2, 2]], [1, 0]),
         [[1.0, 0], [1, 0], [0, 0], [0, 0]]),
        # Nothing predicted, nothing annotated.
        (([[1, 1]], [0]), ([[0, 0]], []), [[0, 0], [0, 0], [0, 0], [1, 0]]),
        (([[0, 0]], []), ([[0, 0]], []), [[0, 0], [0, 0], [0, 0], [0, 0]]),
    ],
)  # fmt: skip
def test_by_hand(truth, found, expected):
    scores = compare(segments(*truth), segments(*found), num_classes=2)
    assert counts(scores) == [pytest.approx(row) for row in expected]


def test_averages_by_hand():
    """Class 0: one match of 0.8, one extra; class 1: one missing; class 2 never seen."""
    scores = PanopticScores(
        np.array([0.8, 0, 0]), np.array([1, 0, 0]), np.array([1, 0, 0]), np.array([0, 1, 0])
    )
    every = np.array([True, True, True])
    assert scores.means(every) == pytest.approx((0.8 / 1.5 / 2, 0.4, 1 / 1.5 / 2, 2))
    assert scores.means(np.array([False, False, True])) == (-1, -1, -1, 0)
    assert np.isnan(scores.qualities()[2]).all()


def slowly(truth: ImageSegments, found: ImageSegments, num_classes: int) -> list:
    """The definition, mask by mask."""
    iou, tp, fp, fn = (np.zeros(num_classes) for _ in range(4))
    truths = zip(truth.segment_ids, truth.labels, truth.iscrowd, strict=True)
    truths = [(truth.ids == i, label, crowd) for i, label, crowd in truths]
    void = ~np.isin(truth.ids, truth.segment_ids)
    left = [
        (found.ids == i, label) for i, label in zip(found.segment_ids, found.labels, strict=True)
    ]
    for mask, label, crowd in truths:
        if crowd:
            continue
        for number, (other, other_label) in enumerate(left):
            union = ((mask | other) & ~(void & other)).sum()
            if label == other_label and 2 * (mask & other).sum() > union:
                iou[label] += (mask & other).sum() / union
                tp[label] += 1
                del left[number]
                break
        else:
            fn[label] += 1
    for mask, label in left:
        crowds = [each for each, other, crowd in truths if crowd and other == label]
        outside = mask & ~void & ~(crowds[-1] if crowds else False)
        fp[label] += 2 * outside.sum() >= mask.sum()
    return [iou.tolist(), tp.tolist(), fp.tolist(), fn.tolist()]


def random_maps(seed: int) -> tuple[ImageSegments, ImageSegments]:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 7, (6, 7)), np.ones((4, 4), dtype=int))
    labels = rng.integers(0, 3, 6)
    moved = np.roll(blocks, rng.integers(-1, 2, 2), (0, 1))
    noisy = np.where(rng.random(blocks.shape) < 0.1, rng.integers(0, 7, blocks.shape), moved)
    others = np.where(rng.random(6) < 0.7, labels, rng.integers(0, 3, 6))

    def present(ids, labels, iscrowd):
        kept = [i for i in range(1, 7) if (ids == i).any()]
        rows = [(i, int(labels[i - 1]), int(iscrowd[i - 1])) for i in kept]
        return ImageSegments(ids, *map(list, zip(*rows, strict=True)))

    crowds = rng.random(6) < 0.2
    return present(blocks, labels, crowds), present(noisy, others, np.zeros(6))


def test_equals_the_definition():
    matched = 0
    for seed in range(200):
        truth, found = random_maps(seed)
        scores = compare(truth, found, 3)
        assert counts(scores) == [pytest.approx(row) for row in slowly(truth, found, 3)]
        matched += scores.tp.sum()
    assert matched > 200


def test_equals_torchmetrics():
    """It knows no crowds, and takes pixels without prediction out of unions, which COCO does not:
    here everything is predicted.
    """
    detection = pytest.importorskip('torchmetrics.detection')
    metric = detection.PanopticQuality(
        things={0, 1}, stuffs={2}, allow_unknown_preds_category=True, return_per_class=True,
        return_sq_and_rq=True,
    )  # fmt: skip
    total = PanopticScores.zeros(3)
    for seed in range(60):
        truth, found = random_maps(seed)
        truth = ImageSegments(truth.ids, truth.segment_ids, truth.labels, [0] * len(truth.labels))
        filled = np.where(found.ids == 0, found.segment_ids[0], found.ids)
        found = ImageSegments(filled, found.segment_ids, found.labels)
        pairs = []
        for each in (found, truth):
            label_of = np.full(8, 9)  # unknown: void
            label_of[list(each.segment_ids)] = each.labels
            # One segment of stuff per class, as torchmetrics takes stuff without numbers.
            labels = label_of[each.ids]
            numbers = np.where(labels == 2, 0, each.ids)
            pairs.append(np.stack((labels, numbers), axis=-1))
        joined = []
        for each in pairs:
            keys = each[..., 0] * 100 + each[..., 1]
            ids, inverse = np.unique(keys, return_inverse=True)
            known = [k for k, key in enumerate(ids) if key < 900]
            joined.append(
                ImageSegments(
                    inverse.reshape(keys.shape) + 1,
                    [k + 1 for k in known],
                    [int(ids[k] // 100) for k in known],
                    [0] * len(known),
                )
            )
        total += compare(joined[1], joined[0], 3)
        metric.update(*(torch.tensor(each)[None] for each in pairs))
    expected = metric.compute().numpy()
    np.testing.assert_allclose(total.qualities(), expected, atol=1e-6)


def test_results_are_what_coco_takes(dataset, samples, case, tmp_path):
    """Read as panopticapi does: the folder is named like the JSON."""
    prefix = tmp_path / 'out' / 'results'
    assert run(samples, dataset.metainfo, outfile_prefix=str(prefix), format_only=True) == {}
    written = json.loads((tmp_path / 'out' / 'results.panoptic.json').read_text())
    for i, annotation in enumerate(written['annotations']):
        expected = case[0]['predictions'][i]
        assert annotation['image_id'] == expected['image_id']
        assert annotation['file_name'] == expected['file_name']
        theirs = [(each['id'] + 1, each['category_id']) for each in expected['segments_info']]
        ours = [(each['id'], each['category_id']) for each in annotation['segments_info']]
        assert ours == theirs
        with Image.open(tmp_path / 'out' / 'results.panoptic' / annotation['file_name']) as image:
            ids = np.asarray(image).astype(int) @ [1, 256, 65536]
        np.testing.assert_array_equal(ids, case[1][f'pred_ids{i}'] + 1)


def test_maps_with_many_ids_survive_the_png(tmp_path):
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 2**24 - 1, 70000]], dtype=np.int32)
    write_panoptic_png(tmp_path / 'ids.png', ids)
    np.testing.assert_array_equal(read_panoptic_png(str(tmp_path / 'ids.png'), (2, 4)), ids)


def test_ground_truth_that_comes_as_a_map(dataset, samples):
    expected = run(samples, dataset.metainfo)
    for sample in samples:
        ids = np.asarray(Image.open(sample.seg_map_path)).astype(np.int32) @ [1, 256, 65536]
        sample.set_metainfo(dict(segment_ids=ids))
        sample.pop('seg_map_path')
    assert run(samples, dataset.metainfo) == expected


def test_what_cannot_be_scored_names_the_image(dataset, samples, tmp_path):
    meta = dataset.metainfo
    good = samples[0].pred_panoptic
    for change, message in [
        (PanopticResult(good.ids[1:], good.segments), r'has \(39, 56\) pixels .* \(40, 56\)'),
        (PanopticResult(good.ids, good.segments[1:]), 'it has ids 1 that have no segment'),
        (PanopticResult(good.ids, [*good.segments, dict(good.segments[0], id=99)]), 'ids 99'),
        (
            PanopticResult(good.ids, [dict(good.segments[0], label=6), *good.segments[1:]]),
            'predicted labels .* but the dataset has 6 classes',
        ),
    ]:
        samples[0].pred_panoptic = change
        with pytest.raises(ValueError, match=f'image id 1: .*{message}'):
            run(samples, meta)
    del samples[0].pred_panoptic
    with pytest.raises(ValueError, match='image id 1: the model predicts no panoptic'):
        run(samples, meta)
    samples[0].pred_panoptic = good
    (tmp_path / 'maps' / '000000000001.png').unlink()
    with pytest.raises(UnreadableImageError, match=r'image id 1: panoptic PNG .* does not exist'):
        run(samples, meta)
    samples[0].pop('segments')
    with pytest.raises(ValueError, match=r'image id 1: no ground truth .*meta_keys'):
        run(samples, meta)
    with pytest.raises(ValueError, match="'isthing'"):
        run(samples, dict(classes=meta['classes'], cat_ids=meta['cat_ids']))
    with pytest.raises(ValueError, match='set outfile_prefix'):
        run(samples, meta, format_only=True)


def _rank_evaluates(rank, folder, meta, samples):
    os.chdir(folder)
    torch.distributed.init_process_group('gloo')
    part = [*samples, samples[0]][rank::2]
    metrics = run(part, meta, size=3, outfile_prefix='out/both')
    (folder / f'rank{rank}.json').write_text(json.dumps(metrics))


def test_two_processes_equal_one(dataset, samples, tmp_path):
    alone = run(samples, dataset.metainfo, outfile_prefix=str(tmp_path / 'out' / 'one'))
    run_ranks(2, _rank_evaluates, tmp_path, dict(dataset.metainfo), samples)
    for rank in range(2):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == alone
    files = [tmp_path / 'out' / f'{name}.panoptic.json' for name in ('one', 'both')]
    assert files[0].read_text() == files[1].read_text()
    assert len(list((tmp_path / 'out' / 'both.panoptic').iterdir())) == 3
    assert math.isfinite(alone['coco_panoptic/PQ'])
