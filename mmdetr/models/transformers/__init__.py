from .detr_transformer import DETRTransformer
from .torch_transformer import TorchTransformer

__all__ = ['DETRTransformer', 'TorchTransformer']
