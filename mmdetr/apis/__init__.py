"""What other programs call. Names are imported on demand: RuntimeDetector needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdetr.deploy import ImageDetections, RuntimeDetector
    from mmdetr.deploy.export import export_detector

    from .detected import DetectedImage
    from .inference import inference_detector, init_detector
    from .optimize import optimize_for_inference
    from .training import TrainedDetector, evaluate, predict, train

_MODULES = {
    'DetectedImage': 'mmdetr.apis.detected',
    'ImageDetections': 'mmdetr.deploy',
    'RuntimeDetector': 'mmdetr.deploy',
    'TrainedDetector': 'mmdetr.apis.training',
    'evaluate': 'mmdetr.apis.training',
    'export_detector': 'mmdetr.deploy.export',
    'inference_detector': 'mmdetr.apis.inference',
    'init_detector': 'mmdetr.apis.inference',
    'optimize_for_inference': 'mmdetr.apis.optimize',
    'predict': 'mmdetr.apis.training',
    'train': 'mmdetr.apis.training',
}
__all__ = [
    'DetectedImage',
    'ImageDetections',
    'RuntimeDetector',
    'TrainedDetector',
    'evaluate',
    'export_detector',
    'inference_detector',
    'init_detector',
    'optimize_for_inference',
    'predict',
    'train',
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
