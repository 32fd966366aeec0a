"""What a real DETR predicts, and its AP, do not depend on the batch size of the test."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from mmdetr.evaluation import CocoMetric
from mmdetr.registry import MODELS
from tests.helpers.coco_files import annotation, image, write_coco, write_images

CONFIGS = Path(__file__).parents[2] / 'configs'
SIZES = [(96, 72), (72, 96), (96, 72), (60, 60), (96, 54), (72, 96), (96, 72), (96, 54), (80, 80)]


@pytest.fixture(params=['detr_r50_8xb2-150e_coco.py', 'detr_r50-dc5_16xb4-500e_coco.py'])
def cfg(request, tmp_path):
    """A published architecture with a narrow transformer, on nine small images of five sizes."""
    images = [image(number, *size) for number, size in enumerate(SIZES)]
    write_images(tmp_path, images)
    write_coco(tmp_path, images, [])
    cfg = Config.fromfile(CONFIGS / request.param)
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.norm_frozen = False
    cfg.model.neck.out_channels = 32
    cfg.model.bbox_head.num_classes = 3
    cfg.model.bbox_head.transformer.update(
        num_encoder_layers=2, num_decoder_layers=2, feedforward_channels=64
    )
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.update(
        data_root='', ann_file=f'{tmp_path}/coco.json', data_prefix=dict(img=f'{tmp_path}/')
    )
    cfg.test_dataloader.dataset.pipeline[1].scale = (72, 128)
    return cfg


def build_model(cfg):
    """Random weights, with statistics of the batch norms that keep features of one size."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(3):
            model.backbone(torch.randn(2, 3, 96, 96))
    return model.eval()


def predict(model, batches):
    """Detections by image id, and whether anything was padded."""
    detections, padded = {}, False
    for batch in batches:
        padded |= model.data_preprocessor(batch)['padding_mask'] is not None
        for sample in model.test_step(batch):
            detections[sample.img_id] = sample.pred_instances
    assert len(detections) == len(SIZES)
    return detections, padded


def average_precision(detections, ann_file):
    metric = CocoMetric(ann_file=str(ann_file))
    metric.dataset_meta = dict(classes=('cat', 'dog', 'bird'), cat_ids=(2, 7, 90))
    samples = [dict(img_id=i, pred_instances=each) for i, each in detections.items()]
    metric.process(None, samples)
    return metric.evaluate(len(samples))['coco/bbox_mAP']


def annotate_as_predicted(detections, folder):
    """Ground truth that makes the AP say how near predictions are to these ones."""
    annotations = []
    threshold = torch.cat([each.scores for each in detections.values()]).topk(60).values[-1]
    for img_id, each in detections.items():
        best = each.scores >= threshold
        for (x1, y1, x2, y2), label in zip(
            each.bboxes[best].tolist(), each.labels[best].tolist(), strict=True
        ):
            size = dict(area=(x2 - x1) * (y2 - y1), iscrowd=0)
            bbox = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                annotation(len(annotations) + 1, img_id, (2, 7, 90)[label], bbox, **size)
            )
    folder.mkdir()
    return write_coco(folder, [image(i, *size) for i, size in enumerate(SIZES)], annotations)


def test_predictions_and_ap_at_batch_1_2_and_8(cfg, tmp_path):
    model = build_model(cfg)
    results = {}
    for batch_size in (1, 2, 8):
        cfg.test_dataloader.batch_size = batch_size
        results[batch_size], padded = predict(model, Runner.build_dataloader(cfg.test_dataloader))
        assert not padded
    truth = annotate_as_predicted(results[1], tmp_path / 'predicted')
    expected = average_precision(results[1], truth)
    assert expected == pytest.approx(1, abs=0.02)
    for batch_size in (2, 8):
        for img_id, alone in results[1].items():
            together = results[batch_size][img_id]
            torch.testing.assert_close(together.scores, alone.scores, atol=1e-5, rtol=0)
            torch.testing.assert_close(together.bboxes, alone.bboxes, atol=1e-2, rtol=0)
        assert average_precision(results[batch_size], truth) == pytest.approx(expected, abs=1e-3)

    # And it is the batches that do it: padded to one size, predictions are others.
    dataset = Runner.build_dataloader(cfg.test_dataloader).dataset
    forced, padded = predict(model, [pseudo_collate([dataset[i] for i in range(len(dataset))])])
    assert padded
    moved = max((forced[i].bboxes - results[1][i].bboxes).abs().max() for i in forced)
    assert moved > 0.1
    assert average_precision(forced, truth) < expected - 1e-3
