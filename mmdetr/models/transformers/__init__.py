from .detr_transformer import DETRTransformer

__all__ = ['DETRTransformer']
