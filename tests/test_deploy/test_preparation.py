"""What runs without torch prepares images and reads predictions as torch does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image

import mmdetr.datasets  # noqa: F401  registers the pipeline's steps
from mmdetr.deploy import ExportMetadata
from mmdetr.deploy.metadata import ExportedFileError
from mmdetr.deploy.postprocessing import to_detections
from mmdetr.deploy.preprocessing import FileLoader, make_inputs, network_size, resize
from mmdetr.models.data_preprocessor import DetDataPreprocessor
from mmdetr.models.heads.postprocess import postprocess
from mmdetr.structures import SetPrediction, SigmoidClasses, SoftmaxClasses
from mmdetr.utils.mask_frame import Frame
from tests.helpers.exported import metadata

rng = np.random.default_rng(0)


def picture(*size: int) -> np.ndarray:
    return rng.integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize(
    ('scale', 'keep_ratio'), [((80, 133), True), ((60, None), True), ((64, 48), False)]
)
@pytest.mark.parametrize('size', [(48, 64), (70, 31), (20, 90), (80, 80)])
def test_images_are_resized_as_by_the_pipeline(
    tmp_path: Path, size: tuple, scale: tuple, keep_ratio: bool
) -> None:
    path = tmp_path / 'a.png'
    Image.fromarray(picture(*size)).save(path)
    pipeline = Compose(
        [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=scale, keep_ratio=keep_ratio),
            dict(type='PackDetInputs'),
        ]
    )
    wanted = pipeline(dict(img_path=str(path)))['inputs'].permute(1, 2, 0).numpy()
    described = metadata(scale=list(scale), keep_ratio=keep_ratio)
    img = FileLoader('shown')(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(resize(img, described), wanted)
    assert network_size(size, described) == wanted.shape[:2]


@pytest.mark.parametrize('divisor', [1, 32])
@pytest.mark.parametrize('bgr_to_rgb', [True, False])
def test_batches_are_those_of_the_preprocessor(divisor: int, bgr_to_rgb: bool) -> None:
    images = [picture(70, 90), picture(80, 64)]
    preprocessor = DetDataPreprocessor(bgr_to_rgb=bgr_to_rgb, pad_size_divisor=divisor)
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    wanted = preprocessor(dict(inputs=tensors, data_samples=None))
    described = metadata(pad_size_divisor=divisor, channel_order='RGB' if bgr_to_rgb else 'BGR')
    made = make_inputs(images, [(70, 90), (80, 64)], described)
    assert list(made) == ['inputs', 'padding_mask']
    np.testing.assert_array_equal(made['inputs'], wanted['inputs'].numpy())
    np.testing.assert_array_equal(made['padding_mask'], wanted['padding_mask'].numpy())


def test_a_file_of_fixed_size_gets_images_that_fit() -> None:
    described = metadata(size=[100, 120])
    assert network_size((480, 640), described) == (90, 120)  # 800 x 1066 shrunk
    assert network_size((640, 480), described) == (100, 75)
    thin = metadata(size=[100, 120], scale=None)
    assert network_size((5000, 10), thin) == (100, 1)
    assert network_size((10, 5000), thin) == (1, 120)
    inputs = make_inputs([picture(90, 120)], [(480, 640)], described)
    assert inputs['inputs'].shape == (1, 3, 100, 120)
    assert inputs['padding_mask'].sum() == 10 * 120


def test_images_beyond_a_table_of_positions_are_refused() -> None:
    described = metadata(scale=None, sides=[64, 200])
    with pytest.raises(ValueError, match=r'210 x 64 pixels .* sides of 200 at most'):
        make_inputs([picture(210, 30)], [(210, 30)], described)


@pytest.mark.parametrize('max_per_img', [None, 7])
@pytest.mark.parametrize('activation', [SoftmaxClasses(), SigmoidClasses()])
def test_predictions_are_read_as_by_the_model(activation: Any, max_per_img: int | None) -> None:
    logits = torch.randn(1, 2, 10, 4) * 3
    bboxes = torch.rand(1, 2, 10, 4)
    sizes = [(480, 640), (37, 90)]
    prediction = SetPrediction(logits, bboxes, class_activation=activation)
    described = metadata(has_no_object=activation.has_no_object, max_per_img=max_per_img)
    frames = [Frame(size, size, size) for size in sizes]
    made = to_detections(logits[0].numpy(), bboxes[0].numpy(), frames, described)
    for ours, theirs in zip(made, postprocess(prediction, sizes, max_per_img), strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels.numpy())
        np.testing.assert_allclose(ours.scores, theirs.scores.numpy(), rtol=1e-6)
        np.testing.assert_allclose(ours.boxes, theirs.bboxes.numpy(), rtol=1e-5, atol=1e-4)
        assert (ours.boxes.dtype, ours.scores.dtype, ours.labels.dtype) == (
            np.float32,
            np.float32,
            np.int64,
        )


def test_metadata_survive_and_foreign_files_are_refused() -> None:
    described = metadata(scale=[400, None], score_threshold=0.4)
    assert ExportMetadata.from_json(described.to_json(), 'a.onnx') == described
    with pytest.raises(ExportedFileError, match=r'a\.onnx was not written by mmdetr export'):
        ExportMetadata.from_json(None, 'a.onnx')
    later = described.to_json().replace('"version": 1', '"version": 9')
    with pytest.raises(ExportedFileError, match=r'written by mmdetr 1\.2\.3, .* export it anew'):
        ExportMetadata.from_json(later, 'a.onnx')
