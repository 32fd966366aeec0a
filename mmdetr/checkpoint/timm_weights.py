"""``TimmBackbone(pretrained=...)``: timm's weights, from timm or from a file."""

from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info

from mmdetr.registry import WEIGHT_INITIALIZERS
from mmdetr.utils.text import shorten

from .file import weights_in
from .io import load_file


@WEIGHT_INITIALIZERS.register_module(name='TimmWeights')
class TimmWeights:
    """Load all weights of a TimmBackbone; what else a file holds is reported.

    Args:
        checkpoint: True for a download by timm; else a file of the whole model with timm's names.

    Raises:
        FileNotFoundError: The file is missing; raised when called, as the other.
        ValueError: The file lacks a tensor of the backbone or has it in another shape.
    """

    def __init__(self, checkpoint: bool | str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: Any) -> None:
        if isinstance(self.checkpoint, str):
            self._load_file(module, self.checkpoint)
        else:
            module.body.load_state_dict(module.published_state_dict())
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')

    @staticmethod
    def _load_file(module: Any, filename: str) -> None:
        weights = weights_in(load_file(filename, 'cpu'), filename)
        names = {_flat(name): name for name in weights}
        own = module.body.state_dict()
        fitted, wrong = {}, []
        for key, value in own.items():
            name = names.pop(_flat(key), None)
            if name is not None and weights[name].shape == value.shape:
                fitted[key] = weights[name]
            elif not key.endswith('num_batches_tracked'):
                wrong.append(key)
        if wrong:
            raise ValueError(
                f'{filename}: {len(wrong)} of {len(own)} tensors of {module.model_name} are '
                f'missing or differ in shape, first {wrong[0]}; check model_name'
            )
        module.body.load_state_dict({**own, **fitted})
        left = f'; not used: {shorten(names.values())}' if names else ''
        print_log(
            f'{module.model_name}: {len(fitted)} tensors loaded from {filename}{left}',
            logger='current',
        )


def _flat(name: str) -> str:
    """timm joins some names by ``_`` in a model that it takes features from, or adds ``model.``."""
    return name.removeprefix('model.').replace('.', '_')
