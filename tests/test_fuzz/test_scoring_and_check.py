"""The metric's numbers and the data check's findings on annotation files of every kind."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdetr.config.data_check import check_config
from mmdetr.evaluation import CocoMetric

from . import coco_oracle as oracle
from .profiles import profiles
from .test_annotation_files import damaged_files, files, refusal, write

# A stray warning of numpy's is no message to a user.
pytestmark = pytest.mark.filterwarnings('error')


def random_predictions(content: dict, seed: int) -> list[dict]:
    """Data samples as the metric takes them: objects of the file, some moved, some invented."""
    rng = np.random.default_rng(seed)
    num_classes = len(content['categories'])
    samples = []
    for stated, found in zip(content['images'], oracle.objects(content)[0], strict=True):
        bboxes = [np.add(bbox, rng.choice([0, 0, 1], 4)) for bbox, _, _ in found]
        bboxes += list(rng.uniform(0, 90, (rng.integers(0, 3), 4)))
        labels = [label for _, label, _ in found]
        labels += rng.integers(0, num_classes, len(bboxes) - len(labels)).tolist()
        pred = InstanceData(
            bboxes=torch.tensor(np.array(bboxes).reshape(-1, 4), dtype=torch.float32),
            labels=torch.tensor(labels, dtype=torch.int64),
            scores=torch.tensor(rng.permutation(len(bboxes)) / 100, dtype=torch.float32),
        )
        samples.append(dict(img_id=stated['id'], pred_instances=pred))
    return samples


def reference(content: dict, samples: list[dict]) -> list[float]:
    """pycocotools on the same objects, images and categories numbered from 1 by their ids.

    Detections with the same score count in the order of their images.
    """
    ids = sorted((each['id'] for each in content['images']), key=lambda i: (isinstance(i, str), i))
    number_of = {img_id: i for i, img_id in enumerate(ids, 1)}
    cat_ids = sorted(each['id'] for each in content['categories'])
    coco, results = COCO(), COCO()
    frame = dict(
        images=[dict(id=i) for i in number_of.values()],
        categories=[dict(id=i) for i in range(1, len(cat_ids) + 1)],
    )
    truth = [
        dict(
            id=i,
            image_id=number_of[each['image_id']],
            category_id=cat_ids.index(each['category_id']) + 1,
            bbox=each['bbox'],
            area=each['area'],
            iscrowd=int(each.get('iscrowd', 0)),
        )
        for i, each in enumerate(oracle.scored(content), 1)
    ]
    detections: list[dict] = []
    for sample in samples:
        pred = sample['pred_instances']
        for bbox, label, score in zip(pred.bboxes, pred.labels, pred.scores, strict=True):
            x1, y1, x2, y2 = bbox.double().tolist()
            detections.append(
                dict(
                    id=len(detections) + 1,
                    image_id=number_of[sample['img_id']],
                    category_id=int(label) + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    score=float(score),
                    iscrowd=0,
                )
            )
    with contextlib.redirect_stdout(io.StringIO()):
        for each, annotations in ((coco, truth), (results, detections)):
            each.dataset = {**frame, 'annotations': annotations}
            each.createIndex()
        evaluator = COCOeval(coco, results, 'bbox')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats)


@profiles(quick=40, long=1500)
def test_scores_are_those_of_pycocotools(profile: Any, tmp_path: Path) -> None:
    @profile
    @given(
        files.filter(lambda content: oracle.is_valid(oracle.parse(content))),
        st.integers(0, 2**32 - 1),
    )
    def check(content: bytes, seed: int) -> None:
        parsed = oracle.parse(content)
        metric = CocoMetric(write(tmp_path, content), backend='pycocotools')
        samples = random_predictions(parsed, seed)
        metric.process(None, samples)
        metrics = metric.evaluate(len(samples))
        expected = reference(parsed, samples)
        assert list(metrics.values()) == pytest.approx(expected, abs=1e-9)

    check()


@profiles(quick=60, long=2000)
def test_data_check_ends_with_findings(profile: Any, tmp_path: Path) -> None:
    path = tmp_path / 'annotations.json'
    dataset = dict(type='CocoDataset', ann_file=str(path), serialize_data=False)
    config = Config(
        dict(
            model=dict(type='DETR', bbox_head=dict(num_classes=3, num_queries=2)),
            train_dataloader=dict(batch_size=2, dataset=dataset),
            val_dataloader=dict(batch_size=2, dataset={**dataset, 'test_mode': True}),
            train_cfg=dict(max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
        )
    )

    @profile
    @given(files | damaged_files())
    def check(content: bytes) -> None:
        write(tmp_path, content)
        findings = check_config(config, 1, 1)
        assert all(level in ('error', 'warning', 'info') for level, _ in findings)
        texts = [text for level, text in findings if level == 'error']
        parsed = oracle.parse(content)
        for loader, needed in (('train_dataloader', True), ('val_dataloader', False)):
            refused = [text for text in texts if text.startswith(f'{loader}: {path}')]
            assert len(refused) == (not oracle.is_valid(parsed, need_annotations=needed))

    check()


def test_metric_that_cannot_score_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"images": []}')
    metric = CocoMetric(path)
    sample = dict(
        img_id=1,
        pred_instances=InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long)
        ),
    )
    metric.process(None, [sample])
    assert refusal(lambda: metric.evaluate(1), path)
