"""What a file of weights is: a whole detector or a backbone; and weights that nobody gave."""

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmdetr.checkpoint import CheckpointError, load_file, read_checkpoint
from mmdetr.checkpoint.file import weights_in
from mmdetr.config.reading import load_config
from mmdetr.registry import MODELS
from mmdetr.utils.text import shorten

from .choose import fine_tuning_candidates
from .errors import RecipeError

# Share of a model's tensors that a file has to have in the same shape.
LEAST_SHARE = 0.9
SURE_SHARE = 0.97  # all but the class rows
SECONDS = 5.0  # to wait for a server
HUB = 'https://huggingface.co'


class Weights(NamedTuple):
    """A file of weights.

    Attributes:
        file: As it was given.
        detector: Name of the config that a whole detector belongs to; None for other files.
        content: Its tensors, under our names for a detector.
    """

    file: str
    detector: str | None
    content: Mapping[str, Tensor]


def read_weights(file: str, model: str | None = None) -> Weights:
    """Read a file and recognise by its names what it is of.

    Args:
        file: The file.
        model: Config that a whole detector has to belong to; None looks for one in the package.

    Raises:
        RecipeError: It cannot be read, is a detector of which the package has no config, or one of
            another model than asked for.
    """
    if '://' not in file:
        file = os.path.abspath(os.path.expanduser(file))  # a config may be run from elsewhere
    try:
        checkpoint = read_checkpoint(file)
    except CheckpointError as error:
        try:
            return Weights(file, None, weights_in(load_file(file), file))
        except (OSError, ValueError, CheckpointError):
            raise RecipeError(f'--weights: {error}') from None
    except (OSError, ValueError) as error:
        raise RecipeError(f'--weights: {error}') from None
    content = checkpoint.state_dict
    if not any(name.startswith('bbox_head.') for name in content):  # a published backbone
        return Weights(file, None, content)
    if model is not None:
        _check_model(file, content, model)
        return Weights(file, model, content)
    architecture = checkpoint.layout.architecture
    name = architecture.name if architecture else None
    return Weights(file, find_config_of(file, content, name), content)


def _check_model(file: str, content: Mapping[str, Tensor], model: str) -> None:
    try:
        share = _share(_shapes(load_config(model).model), content)
    except (OSError, ValueError, AttributeError) as error:
        raise RecipeError(f'--model: {error}') from None
    if share < LEAST_SHARE:
        raise RecipeError(
            f'--weights: {file} is a detector of another model than {model}: {share:.0%} of the '
            'tensors are alike; leave out --model, or name the config that it was trained with'
        )


def find_config_of(
    file: str, content: Mapping[str, Tensor], architecture: str | None = None
) -> str:
    """Return the name of the config whose model a detector's weights are of.

    Args:
        file: Its name, for what shapes do not tell: a dilated last stage.
        content: Tensors under our names.
        architecture: As its layout calls it; None compares with every config.

    Raises:
        RecipeError: There is none.
    """
    dilated = 'dc5' in os.path.basename(file).lower()
    best, best_share = '', 0.0
    seen: list[Any] = []
    for name in fine_tuning_candidates(architecture):
        model = load_config(name).model
        if ('dc5' in name) != dilated or model in seen:
            continue
        seen.append(model)
        try:
            share = _share(_shapes(model), content)
        except ImportError:  # no timm, so not what was trained here
            continue
        if share > best_share:
            best, best_share = name, share
        if share >= SURE_SHARE:
            break
    if best_share < LEAST_SHARE:
        nearest = f' (the nearest is {best}, with {best_share:.0%} of its tensors)' if best else ''
        raise RecipeError(
            f'--weights: {file} is a detector of no config of the package{nearest}: name its '
            'config with --model'
        )
    return best


def _shapes(model: Any) -> dict[str, torch.Size]:
    """Shapes of the weights of a model, which is built without memory."""
    # Nothing has said yet whose registries are meant.
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdetr'):
        built = MODELS.build(model)
    return {
        name: value.shape
        for name, value in built.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }


def _share(shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor]) -> float:
    """Share of the tensors, of model and file together, that both have alike."""
    names = shapes.keys() | {each for each in weights if not each.endswith('num_batches_tracked')}
    alike = sum(name in weights and weights[name].shape == shape for name, shape in shapes.items())
    return alike / max(len(names), 1)


def backbone_changes(model: Mapping, weights: Weights) -> dict[str, Any]:
    """Return what a config has to change of its backbone to start from a file.

    Raises:
        RecipeError: The file does not fit the backbone.
    """
    backbone = model['backbone']
    own = _shapes(backbone)
    timm = backbone['type'] == 'TimmBackbone'
    flat = {_flat(name): value.shape for name, value in weights.content.items()}
    missing = [
        name for name, shape in own.items() if flat.get(_flat(name.removeprefix('body.'))) != shape
    ]
    if len(missing) > (1 - LEAST_SHARE) * len(own):
        kind = backbone.get('model_name') or f'{backbone["type"]} of depth {backbone.get("depth")}'
        raise RecipeError(
            f'--weights: {weights.file} is neither a detector that is known nor a backbone '
            f'{kind}: {len(missing)} of its {len(own)} tensors are missing or of another shape, '
            f'first {missing[0]}; the file has {shorten(sorted(weights.content), 3)}. Another '
            'model is chosen with --model'
        )
    if timm:
        return dict(pretrained=weights.file)
    return dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=weights.file))


def _flat(name: str) -> str:
    return name.removeprefix('model.').removeprefix('backbone.').replace('.', '_')


def without_pretraining(model: Mapping, from_scratch: bool) -> dict[str, Any]:
    """Return what a config has to change of its backbone to fetch no weights.

    Args:
        model: Of the base config.
        from_scratch: Whether its norms and first stages have to be trained, since nothing else
            brings their weights.
    """
    backbone = model['backbone']
    changes: dict[str, Any] = {}
    if backbone['type'] == 'TimmBackbone':
        changes['pretrained'] = False
    elif backbone.get('init_cfg'):
        changes['init_cfg'] = None
    if from_scratch:
        # All backbones of the package have both.
        changes |= dict(frozen_stages=-1, norm_frozen=False)
    return changes


def check_download(cfg: Config) -> None:
    """Find out soon whether the backbone's weights can be had; timm would try for minutes.

    Raises:
        RecipeError: They cannot; the message names the file to fetch and how to give it.
    """
    backbone = cfg.model['backbone']
    if backbone.get('pretrained') is True and backbone['type'] == 'TimmBackbone':
        name, address = backbone['model_name'], _timm_address(backbone['model_name'])
        if address is None or _reachable(address):
            return
        raise RecipeError(_no_download(name, address, f'no answer from {urlsplit(address).netloc}'))
    source = (backbone.get('init_cfg') or {}).get('checkpoint')
    if source is None:
        return
    try:
        load_file(source)
    except (OSError, ValueError, CheckpointError) as error:
        raise RecipeError(_no_download(backbone['type'], source, str(error))) from None


def _no_download(name: str, address: str, reason: str) -> str:
    return (
        f'the ImageNet weights of the backbone {name} cannot be fetched ({reason}): fetch '
        f'{address} where there is a network and give it with --weights FILE, or --weights none to '
        'train from scratch, which needs thousands of images'
    )


def _timm_address(name: str) -> str | None:
    """Return where timm would fetch weights from; None where it has them already."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(name)
    repository = getattr(cfg, 'hf_hub_id', None)
    if not repository:
        return getattr(cfg, 'url', None) or None
    files = ('model.safetensors', 'pytorch_model.bin')
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return None
    hub = os.environ.get('HF_ENDPOINT', HUB).rstrip('/')
    return f'{hub}/{repository}/resolve/main/{files[0]}'


def _reachable(address: str) -> bool:
    parts = urlsplit(address)
    if any(os.environ.get(name) for name in ('HTTPS_PROXY', 'https_proxy', 'ALL_PROXY')):
        return True  # the proxy knows
    if os.environ.get('HF_HUB_OFFLINE') == '1':
        return False
    port = parts.port or (80 if parts.scheme == 'http' else 443)
    try:
        with socket.create_connection((parts.hostname or '', port), SECONDS):
            return True
    except OSError:
        return False
