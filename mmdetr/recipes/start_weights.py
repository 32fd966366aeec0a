"""What a training starts from: a detector, a backbone or nothing."""

from typing import Any, NamedTuple

from mmengine.config import Config

from .weights import Weights, backbone_changes, check_download, without_pretraining
from .worth import Start

NONE = 'none'


class StartWeights(NamedTuple):
    """What a training starts from, and how a config says so.

    Attributes:
        start: Which kind of weights.
        words: The same for people, with the file.
        model: Changes of the config's model.
        settings: Changes of its other settings.
    """

    start: Start
    words: str
    model: dict[str, Any]
    settings: dict[str, Any]


def choose_weights(cfg: Config, weights: Weights | None, given: str | None) -> StartWeights:
    """Decide what a config starts from.

    Args:
        cfg: The base, as it stands.
        weights: The file that was given, read; None without one.
        given: As it was given; ``'none'`` for a training from scratch.

    Raises:
        RecipeError: The file does not fit, or what the config names cannot be had.
    """
    if weights is not None and weights.detector:
        backbone = without_pretraining(cfg.model, from_scratch=False)
        changes = dict(backbone=backbone) if backbone else {}
        load = dict(load_from=weights.file)
        return StartWeights('detector', f'the detector {weights.file}', changes, load)
    no_load = dict(load_from=None) if cfg.get('load_from') else {}
    if weights is not None:
        changes = dict(backbone=backbone_changes(cfg.model, weights))
        return StartWeights('backbone', f'the backbone {weights.file}', changes, no_load)
    if given == NONE:
        changes = dict(backbone=without_pretraining(cfg.model, from_scratch=True))
        return StartWeights('none', 'none, everything is learnt from this data', changes, no_load)
    if cfg.get('load_from'):
        return StartWeights('detector', f'the detector {cfg.load_from}', {}, {})
    backbone = cfg.model['backbone']
    if not (backbone.get('pretrained') or backbone.get('init_cfg')):
        return StartWeights('none', 'none, the config names no weights', {}, {})
    check_download(cfg)
    words = 'the ImageNet backbone of the config, fetched at the start'
    return StartWeights('backbone', words, {}, {})
