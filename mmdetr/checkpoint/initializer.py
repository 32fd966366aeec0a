"""``init_cfg=dict(type='Pretrained', checkpoint=...)`` of a whole detector, for every format."""

from mmengine.model.weight_init import PretrainedInit, update_init_info
from torch import nn

from mmdetr.registry import WEIGHT_INITIALIZERS

from .load import load_checkpoint


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedDetector(PretrainedInit):
    """mmengine's initializer, but a detector takes a checkpoint of any published DETR format.

    Args:
        checkpoint: A path, a URL or ``torchvision://NAME``.
        prefix: Part of the checkpoint to load, as in mmengine; None for the whole.
        map_location: As in :func:`torch.load`.
    """

    def __call__(self, module: nn.Module) -> None:
        if self.prefix is not None or not hasattr(module, 'bbox_head'):
            super().__call__(module)
            return
        load_checkpoint(module, self.checkpoint, self.map_location)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())
