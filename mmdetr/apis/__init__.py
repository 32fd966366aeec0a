from .inference import inference_detector, init_detector
from .optimize import optimize_for_inference

__all__ = ['inference_detector', 'init_detector', 'optimize_for_inference']
