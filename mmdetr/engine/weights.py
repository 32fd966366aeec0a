"""What a checkpoint means for the initial weights of a model."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmdetr.checkpoint import CheckpointError


def drop_needless_pretraining(model: nn.Module, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Take the pretrained initialisation off modules whose weights a checkpoint brings anyway.

    So that resuming or fine-tuning fetches no backbone weights from the internet. A module of which
    the checkpoint lacks a tensor keeps its ``init_cfg``.

    Returns:
        Names of the modules concerned.
    """
    names = []
    for name, module in model.named_modules():
        init_cfg = getattr(module, 'init_cfg', None)
        if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
            continue
        keys = (f'{name}.{key}' if name else key for key in module.state_dict())
        if all(key in state_dict or key.endswith('num_batches_tracked') for key in keys):
            module.init_cfg = None
            names.append(name or 'model')
    return names


def check_complete(model: nn.Module, state_dict: Mapping[str, Tensor], filename: str) -> None:
    """Refuse to evaluate a model of which some weights were not in the file.

    Raises:
        CheckpointError: A tensor of the model is missing or has another shape.
    """
    wrong = [
        key
        for key, value in model.state_dict().items()
        if not key.endswith('num_batches_tracked')
        and (key not in state_dict or state_dict[key].shape != value.shape)
    ]
    if wrong:
        raise CheckpointError(
            f'{filename} does not fit the model of the config: {len(wrong)} tensors are missing '
            f'or differ in shape, first {wrong[0]}'
        )
