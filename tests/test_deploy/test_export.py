"""Exported files give what the model gives in torch, in ONNX Runtime and in OpenVINO."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel

from mmdetr.apis import RuntimeDetector, export_detector, inference_detector
from mmdetr.deploy import export
from mmdetr.deploy.description import ExportError
from mmdetr.deploy.verification import verify
from tests.helpers.exported import build

pytest.importorskip('onnxscript', reason="needs pip install 'mmdetr[export]'")
TRANSFORMER = 'model__bbox_head__transformer__'
SMALL = {
    f'{TRANSFORMER}num_encoder_layers': 1,
    f'{TRANSFORMER}num_decoder_layers': 1,
    'model__bbox_head__num_queries': 5,
}
rng = np.random.default_rng(0)


def picture(*size: int) -> np.ndarray:
    return rng.integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture(scope='module')
def model() -> BaseModel:
    return build(**SMALL)


@pytest.fixture(scope='module')
def raw_file(model: BaseModel, tmp_path_factory: Any) -> Path:
    pytest.importorskip('onnxruntime')
    folder = tmp_path_factory.mktemp('raw')
    return export_detector(model, folder / 'model.onnx', score_threshold=0.25).file


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_raw_predictions_of_any_batch_and_size(
    model: BaseModel, raw_file: Path, runtime: str
) -> None:
    pytest.importorskip(runtime)
    detector = RuntimeDetector(raw_file, runtime=runtime, threads=1)
    for batch_size, height, width in ((1, 64, 64), (3, 70, 91)):
        inputs = torch.randn(batch_size, 3, height, width)
        mask = torch.zeros(batch_size, height, width, dtype=torch.bool)
        mask[-1, 50:] = mask[-1, :, 60:] = True
        with torch.no_grad():
            logits, bboxes = model(inputs, mask)
        found = detector.session.run(dict(inputs=inputs.numpy(), padding_mask=mask.numpy()))
        np.testing.assert_allclose(found['logits'], logits[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found['bboxes'], bboxes[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_detections_are_those_of_inference_detector(
    model: BaseModel, raw_file: Path, runtime: str
) -> None:
    pytest.importorskip(runtime)
    detector = RuntimeDetector(raw_file, runtime=runtime, threads=1)
    images = [picture(64, 64), picture(65, 80), picture(64, 64)]
    pairs = zip(detector(images), inference_detector(model, images), strict=True)
    for ours, sample in pairs:
        theirs = sample.pred_instances
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes, theirs.bboxes, atol=1e-3)
    assert detector.classes == tuple(model.dataset_meta['classes'])
    assert detector.score_threshold == 0.25


def test_the_file_names_what_is_free(raw_file: Path) -> None:
    onnx = pytest.importorskip('onnx')
    graph = onnx.load(raw_file).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == dict(
        inputs=['batch', 3, 'height', 'width'],
        padding_mask=['batch', 'height', 'width'],
        logits=['batch', 5, 4],
        bboxes=['batch', 5, 4],
    )


def test_a_file_of_another_model_is_refused(raw_file: Path) -> None:
    detector = RuntimeDetector(raw_file, threads=1)
    other = build(**SMALL)
    with torch.no_grad():
        other.bbox_head.cls_branch.bias[0] += 0.001
    with pytest.raises(ExportError, match=r'not kept: logits by 0\.001 at size'):
        verify(other, detector)


def test_a_file_that_differs_is_not_left(
    model: BaseModel, raw_file: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    other = build(**SMALL)
    other.bbox_head.reg_branch.layers[-1].bias.data += 0.1
    monkeypatch.setattr(export, 'trace', lambda *_: None)
    monkeypatch.setattr(export, 'write', lambda _, file, *__: shutil.copy(raw_file, file))
    (tmp_path / 'model.onnx').write_text('an earlier file')
    with pytest.raises(ExportError, match='bboxes by'):
        export_detector(other, tmp_path / 'model.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
    assert (tmp_path / 'model.onnx').read_text() == 'an earlier file'


def test_images_in_and_detections_out(model: BaseModel, tmp_path: Path) -> None:
    """In OpenVINO's format, in batches of unlike sizes as its user may make them."""
    pytest.importorskip('openvino')
    export_detector(model, tmp_path / 'a.xml', format='openvino', with_postprocess=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.bin', 'a.xml']
    detector = RuntimeDetector(tmp_path / 'a.xml', threads=1)
    images, originals = [picture(70, 90), picture(66, 100)], [(140, 180), (660, 1000)]
    canvas = rng.integers(0, 256, (2, 80, 110, 3), np.uint8)  # what is beside counts for nothing
    for place, image in zip(canvas, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image[..., ::-1]
    sizes = np.array([image.shape[:2] for image in images])
    found = detector.session.run(
        dict(images=canvas, original_sizes=np.array(originals), sizes=sizes)
    )
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    batch = model.data_preprocessor(dict(inputs=tensors, data_samples=None))
    inputs = torch.zeros(2, 3, 80, 110)
    inputs[:, :, :70, :100] = batch['inputs']
    mask = torch.ones(2, 80, 110, dtype=torch.bool)
    mask[:, :70, :100] = batch['padding_mask']
    with torch.no_grad():
        logits, bboxes = model(inputs, mask)
    scores, labels = logits[0].softmax(-1)[..., :-1].max(-1)
    np.testing.assert_allclose(found['scores'], scores, atol=1e-5)
    np.testing.assert_array_equal(found['labels'], labels)
    for boxes, each, (height, width) in zip(
        found['boxes'], bboxes[0].numpy(), originals, strict=True
    ):
        corners = np.hstack((each[:, :2] - each[:, 2:] / 2, each[:, :2] + each[:, 2:] / 2))
        np.testing.assert_allclose(boxes, corners * [width, height, width, height], atol=0.01)
