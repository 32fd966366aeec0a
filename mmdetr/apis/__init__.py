"""What other programs call. Names are imported on demand: RuntimeDetector needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdetr.deploy import ImageDetections, RuntimeDetector
    from mmdetr.deploy.export import export_detector

    from .inference import inference_detector, init_detector
    from .optimize import optimize_for_inference

_MODULES = {
    'ImageDetections': 'mmdetr.deploy',
    'RuntimeDetector': 'mmdetr.deploy',
    'export_detector': 'mmdetr.deploy.export',
    'inference_detector': 'mmdetr.apis.inference',
    'init_detector': 'mmdetr.apis.inference',
    'optimize_for_inference': 'mmdetr.apis.optimize',
}
__all__ = [
    'ImageDetections',
    'RuntimeDetector',
    'export_detector',
    'inference_detector',
    'init_detector',
    'optimize_for_inference',
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
