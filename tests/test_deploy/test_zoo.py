"""Every kind of model of the zoo exports, in small, and the file computes the same.

``export_detector`` itself compares the file with torch on three sizes and two batches; what is
compared here again are whole images, in the other runtime.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmdetr.apis import RuntimeDetector, export_detector
from mmdetr.deploy.comparison import TOLERANCES, compare_detections
from mmdetr.deploy.verification import torch_detections, verify
from tests.helpers.exported import TINY, build

pytestmark = pytest.mark.slow
pytest.importorskip('onnxscript', reason="needs pip install 'mmdetr[export]'")

FEW = {
    f'model__bbox_head__transformer__{name}': 1
    for name in ('num_encoder_layers', 'num_decoder_layers')
}
R18 = {**FEW, 'model__backbone__depth': 18}
SMALL_IMAGES = dict(test_dataloader__dataset__pipeline__1__scale=(128, 213))
ZOO: dict[str, tuple[str, dict[str, Any]]] = {
    'detr, post-norm': ('detr_r50_8xb2-150e_coco.py', {**R18, **SMALL_IMAGES}),
    'detr, pre-norm, trained batch norm': (TINY, {}),
    'detr, bottlenecks, dc5': ('detr_r50-dc5_16xb4-500e_coco.py', {**FEW, **SMALL_IMAGES}),
    'detr, learned positions': (
        'ablations/detr_r50_16xb4-300e_coco_learned-pos.py',
        {**R18, **SMALL_IMAGES},
    ),
    'detr, positions at the input': (
        'ablations/detr_r50_16xb4-300e_coco_sine-pos-at-input.py',
        {**R18, **SMALL_IMAGES},
    ),
    'short form': ('detr_short_r50_8xb2-150e_coco.py', R18),
    'conditional': ('conditional_detr_tiny_1xb32-12e_shapes.py', {}),
    'dab': ('dab_detr_tiny_1xb32-12e_shapes.py', {}),
    'dn': ('dn_detr_tiny_1xb32-12e_shapes.py', {}),
    'deformable': ('deformable_detr_tiny_1xb32-12e_shapes.py', {}),
    'dino': ('dino_tiny_1xb32-12e_shapes.py', {}),
    'masks': (
        'detr_tiny_1xb16-10e_shapes_masks.py',
        dict(model__bbox_head__mask_head__chunk_size=4),
    ),
    'masks, bottlenecks': (
        'detr_r50_instance_8xb2-25e_coco.py',
        {**FEW, **SMALL_IMAGES, 'model__bbox_head__num_queries': 12},
    ),
    'rt-detr': ('rtdetrv2_r18vd_8xb2-120e_coco.py', {}),
    'd-fine': ('dfine_n_8xb16-160e_coco.py', {}),
}


def test_half_precision_in_every_runtime(tmp_path: Path) -> None:
    """``export_detector`` compares; OpenVINO reads the ONNX file, too."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    model = build(TINY)
    file = export_detector(model, tmp_path / 'a.onnx', dtype='float16').file
    verify(model, RuntimeDetector(file, runtime='openvino', threads=1))
    for name, format in (('a.xml', 'openvino'), ('a.pt2', 'torch-export')):
        export_detector(model, tmp_path / name, format=format, dtype='float16')


@pytest.mark.parametrize('with_postprocess', [False, True])
@pytest.mark.parametrize('name', ZOO)
def test_onnxruntime_and_openvino_give_what_torch_gives(
    name: str, with_postprocess: bool, tmp_path: Path
) -> None:
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    config, changes = ZOO[name]
    model = build(config, **changes)
    file = export_detector(model, tmp_path / 'a.onnx', with_postprocess=with_postprocess).file
    detector = RuntimeDetector(file, runtime='openvino', threads=1)
    tolerance = TOLERANCES['float32']
    rng = np.random.default_rng(1)
    for size in ((120, 160), (161, 90)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        theirs = torch_detections(model, image, detector.metadata)
        for difference in compare_detections(theirs, detector(image), size, tolerance):
            assert difference.largest <= difference.allowed, difference
