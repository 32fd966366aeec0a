"""What cannot be exported is refused before anything slow begins, and no file is left."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmdetr.apis import export_detector, optimize_for_inference
from mmdetr.deploy import export, sessions, writing
from mmdetr.deploy.description import ExportError, describe
from mmdetr.deploy.metadata import ExportedFileError
from tests.helpers.exported import build, metadata

SHORT = 'detr_short_r50_8xb2-150e_coco.py'
LEARNED = 'ablations/detr_r50_16xb4-300e_coco_learned-pos.py'
R18 = dict(model__backbone__depth=18)


def described(model: Any, size: Any = None, dynamic: bool = False, dtype: str = 'float32') -> Any:
    return describe(model, dtype, size, dynamic, postprocess=False, score_threshold=None)


def test_free_sides_and_those_that_the_pipeline_fixes() -> None:
    free = described(build())
    assert (free.size, free.scale, free.padded, free.sides) == (None, None, True, [64, None])
    assert free.score_threshold is None  # nothing was measured
    short = build(SHORT, **R18)
    fixed = described(short)
    assert (fixed.size, fixed.scale, fixed.padded) == ([480, 480], [480, 480], False)
    assert described(short, dynamic=True).size is None
    learned = described(build(LEARNED, **R18))
    assert learned.sides == [64, 50 * 32]
    four_maps = described(build('deformable_detr_r50_16xb2-50e_coco.py', **R18))
    assert four_maps.sides == [2 * 64, None]  # two pixels of the map of stride 64


@pytest.mark.parametrize(
    ('config', 'changes', 'size', 'message'),
    [
        (
            SHORT,
            R18,
            (480, 512),
            r'480 x 512: the feature map of 15 x 16 .* \(model\.',
        ),
        (LEARNED, R18, (1632, 640), r'feature map of 51 x 20 is larger than the learned'),
        ('detr_tiny_1xb32-12e_shapes.py', {}, (0, 64), 'two sides of 1 or more'),
        (
            'detr_tiny_1xb32-12e_shapes.py',
            dict(model__data_preprocessor__pad_size_divisor=32),
            (64, 70),
            'multiples of 32',
        ),
    ],
)
def test_models_and_sizes(config: str, changes: dict, size: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        described(build(config, **changes), size)


def test_steps_of_the_pipeline_that_a_file_cannot_repeat() -> None:
    model = build()
    pipeline = model.cfg.test_dataloader.dataset.pipeline
    pipeline.insert(0, dict(type='RandomFlip', prob=0.5))
    with pytest.raises(ExportError, match='the test pipeline has the step RandomFlip'):
        described(model)


def test_an_optimised_model() -> None:
    model = optimize_for_inference(build())
    with pytest.raises(ExportError, match='export it before'):
        described(model)


def test_what_is_asked_for_is_checked_first(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(export, 'require', lambda package: None)

    def refused(name: str, **options: Any) -> str:
        with pytest.raises(ExportError) as caught:
            export_detector(build(), tmp_path / name, **options)
        assert not any(tmp_path.iterdir())
        return str(caught.value)

    assert 'ends in .onnx' in refused('a.xml')
    assert 'format must be one of onnx, openvino' in refused('a.trt', format='tensorrt')
    assert 'dtype must be one of' in refused('a.onnx', dtype='int4')
    assert 'not for torch-export' in refused('a.pt2', format='torch-export', dtype='int8')
    assert 'give one of them' in refused('a.onnx', size=(64, 64), dynamic=True)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    def missing(package: str) -> Any:
        raise ImportError(package)

    monkeypatch.setattr(sessions.importlib, 'import_module', missing)
    with pytest.raises(ExportedFileError, match=r"onnx is not installed: pip install 'mmdetr\["):
        export_detector(build(), tmp_path / 'a.onnx')


def test_what_openvino_cannot_convert_is_said_in_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    def convert(file: str) -> Any:
        raise RuntimeError('Check failed\n  at node.cpp:\n  no operator X')

    monkeypatch.setattr(writing, 'require', lambda _: SimpleNamespace(convert_model=convert))
    with pytest.raises(ExportError, match=r'cannot convert detr in int8: Check failed .* X$'):
        writing.onnx_to_openvino(tmp_path / 'a.onnx', tmp_path / 'a.xml', metadata(dtype='int8'))
