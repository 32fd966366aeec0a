"""``init_cfg=dict(type='Pretrained', checkpoint=...)`` of a detector or of any part of one."""

from collections.abc import Mapping
from itertools import chain

from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.model.weight_init import update_init_info
from torch import Tensor, nn

from mmdetr.registry import WEIGHT_INITIALIZERS
from mmdetr.utils.text import shorten

from .file import weights_in
from .io import MapLocation, load_file
from .layouts import StateDict, find_layout
from .loading import load_checkpoint


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedWeights:
    """Load weights into a module; nothing in the file is executed.

    A whole model takes a checkpoint as :func:`load_checkpoint` does. A part of a model, as a
    backbone, takes all of its weights from a file of such a part or of a whole model; what else
    the file holds, as a classifier or later stages, is ignored.

    Args:
        checkpoint: A path, a URL or ``torchvision://NAME``.
        prefix: What the names of the weights begin with in the file or, for a file of a known
            layout, in a model of ours. By default it is searched for.
        map_location: As in :func:`torch.load`.

    Raises:
        FileNotFoundError: The file is missing; raised when called, as the others.
        CheckpointError: The file cannot be read safely, or does not fit a whole model.
        ValueError: The file lacks a tensor of a part of a model, has it in another shape, or has
            several such parts.
    """

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: MapLocation = 'cpu'
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        if self.prefix is None and isinstance(module, BaseModel):
            load_checkpoint(module, self.checkpoint, self.map_location)
        else:
            self._load_part(module)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')

    def _load_part(self, module: nn.Module) -> None:
        weights = weights_in(load_file(self.checkpoint, self.map_location), self.checkpoint)
        if layout := find_layout(weights):
            # Under both names, as a prefix may be one of the file's.
            weights = {**weights, **layout.to_ours(weights).state_dict}
        own = module.state_dict()
        wanted = {k: v for k, v in own.items() if not k.endswith('num_batches_tracked')}
        prefix = self._find_prefix(weights, wanted)
        missing = _misfits(weights, wanted, prefix)
        name = type(module).__name__
        if missing:
            raise ValueError(
                f'{self.checkpoint}: no weights that fit {name}: {len(missing)} of {len(wanted)} '
                f'tensors are missing or differ in shape, first {prefix}{missing[0]}; check the '
                f'sizes of the {name}, as depth, and its init_cfg'
            )
        module.load_state_dict({key: weights.get(prefix + key, own[key]) for key in own})
        print_log(f'{name}: {len(wanted)} tensors loaded from {self.checkpoint}', logger='current')

    def _find_prefix(self, weights: StateDict, wanted: Mapping[str, Tensor]) -> str:
        """What is before the names of a part in the file; where the most of its tensors fit."""
        if self.prefix is not None:
            return self.prefix if self.prefix.endswith('.') else f'{self.prefix}.'
        prefixes = sorted({'', *chain.from_iterable(_prefixes(weights, key) for key in wanted)})
        misfits = {prefix: len(_misfits(weights, wanted, prefix)) for prefix in prefixes}
        best = min(prefixes, key=misfits.__getitem__)
        # A file that was renamed has the same tensors twice.
        others = [
            prefix
            for prefix in prefixes
            if prefix != best
            and not misfits[prefix]
            and any(weights[prefix + key] is not weights[best + key] for key in wanted)
        ]
        if best and others:
            raise ValueError(
                f'{self.checkpoint}: weights for the module are at {shorten([best, *others])}: '
                'set prefix in init_cfg to the one that is meant'
            )
        return best


def _prefixes(weights: StateDict, key: str) -> list[str]:
    return [name.removesuffix(key) for name in weights if name.endswith(f'.{key}')]


def _misfits(weights: StateDict, wanted: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Names of the tensors that are missing or have another shape."""
    return [
        key
        for key, value in wanted.items()
        if prefix + key not in weights or weights[prefix + key].shape != value.shape
    ]
