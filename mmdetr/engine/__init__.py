from .runner import DetectionRunner

__all__ = ['DetectionRunner']
