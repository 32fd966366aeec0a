from .det_visualizer import DetVisualizer

__all__ = ['DetVisualizer']
