"""The same DETR-R50 in this package, in transformers and in the authors' code.

The authors' code is looked for on the import path of the process, where a benchmark's ``--authors``
puts it.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import COCO_CONFIG
from _peers import Factory, Peer
from torch import Tensor, nn

from mmdetr.apis import init_detector
from mmdetr.checkpoint import from_mmdetr

NUM_CLASSES = 91
NOTHING_TO_COMPARE = 'error: nothing to compare with: pip install transformers, or give --authors'
Predict = Callable[[], dict[str, Tensor]]
Built = tuple[Callable[[], Any], Callable[[], dict[str, np.ndarray]]]


@contextmanager
def random_weights() -> Iterator[dict[str, str]]:
    """One set of random weights under the names of the three codebases: paths by party."""
    torch.manual_seed(0)
    model = init_detector(COCO_CONFIG, device='cpu', cfg_options=_options())
    keep_activations_small(model)
    weights = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f'{folder}/{name}.pth' for name in ('ours', 'authors', 'transformers')}
        torch.save(dict(state_dict=weights), paths['ours'])
        torch.save(dict(model=from_mmdetr(weights, 'facebook')), paths['authors'])
        torch.save(from_mmdetr(weights, 'huggingface-native'), paths['transformers'])
        yield paths


def keep_activations_small(model: nn.Module) -> None:
    """Give the backbone's batch norm values like trained ones: nothing explodes on the way."""
    for module in model.backbone.modules():
        if hasattr(module, 'running_var'):
            for name in ('weight', 'bias', 'running_mean', 'running_var'):
                nn.init.uniform_(getattr(module, name), 0.3, 0.8)


def has_transformers() -> bool:
    return find_spec('transformers') is not None


def start_others(
    factory: Factory, arguments: dict, paths: dict[str, str], checkout: Path | None
) -> dict[str, Peer]:
    """The peers to compare with, as far as they are there.

    Raises:
        SystemExit: There is none.
    """
    peers = {}
    if checkout is not None:
        given = dict(arguments, kind='authors', path=paths['authors'])
        peers['authors'] = Peer(factory, given, checkout)
    if has_transformers():
        given = dict(arguments, kind='transformers', path=paths['transformers'])
        peers['transformers'] = Peer(factory, given)
    if not peers:
        sys.exit(NOTHING_TO_COMPARE)
    return peers


def _options(**more: Any) -> dict[str, Any]:
    return {'model.bbox_head.num_classes': NUM_CLASSES, **more}


# The models


def ours(
    path: str,
    optimize: bool | dict = False,
    train: bool = False,
    device: torch.device | str = 'cpu',
    **options: Any,
) -> nn.Module:
    model = init_detector(
        COCO_CONFIG, path, device=device, cfg_options=_options(**options), optimize=optimize
    )
    return model.train(train)


def theirs(path: str, train: bool = False) -> nn.Module:
    """transformers' model, with the parameters frozen that the authors freeze."""
    import transformers

    backbone = transformers.ResNetConfig(
        depths=[3, 4, 6, 3],
        layer_type='bottleneck',
        hidden_sizes=[256, 512, 1024, 2048],
        out_features=['stage4'],
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        use_pretrained_backbone=False,
        num_labels=NUM_CLASSES,
        auxiliary_loss=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        shutil.copy(path, f'{folder}/pytorch_model.bin')
        model, report = transformers.DetrForObjectDetection.from_pretrained(
            folder, output_loading_info=True
        )
    if report['missing_keys']:
        raise RuntimeError(f'transformers misses {len(report["missing_keys"])} of the weights')
    # Its own rule freezes the whole of this backbone: it looks for names that are not there.
    for name, parameter in model.named_parameters():
        frozen = '.embedder.' in name or '.stages.0.' in name
        parameter.requires_grad_(not ('backbone' in name and frozen))
    return model.train(train)


def authors(path: str, train: bool = False) -> nn.Module:
    """The authors' model, put together from the parts of their checkout."""
    import torchvision
    from models.backbone import Backbone, Joiner
    from models.detr import DETR
    from models.position_encoding import PositionEmbeddingSine
    from models.transformer import Transformer

    resnet50 = torchvision.models.resnet50

    def without_download(pretrained: bool, **kwargs: Any) -> nn.Module:
        return resnet50(weights=None, **kwargs)

    torchvision.models.resnet50 = without_download
    try:
        backbone = Backbone('resnet50', True, False, False)
    finally:
        torchvision.models.resnet50 = resnet50
    joined = Joiner(backbone, PositionEmbeddingSine(128, normalize=True))
    joined.num_channels = backbone.num_channels
    transformer = Transformer(d_model=256, dropout=0.1, return_intermediate_dec=True)
    model = DETR(joined, transformer, NUM_CLASSES, num_queries=100, aux_loss=True)
    model.load_state_dict(torch.load(path, weights_only=True)['model'])
    return model.train(train)


# Inputs and outputs


def exact_convolutions() -> Any:
    """Context in which a GPU convolves in whole float32, not TF32, and alike in each call."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def images(
    batch: int, height: int, width: int, padded: bool, device: str = 'cpu'
) -> tuple[Tensor, Tensor | None]:
    """A normalised batch, and where it is padded: the second half of the images is narrower."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 3, height, width, generator=generator).to(device)
    if not padded:
        return inputs, None
    padding_mask = torch.zeros(batch, height, width, dtype=torch.bool, device=device)
    padding_mask[batch // 2 :, :, width * 3 // 4 :] = True
    return inputs.masked_fill(padding_mask[:, None], 0), padding_mask


# Inference


def infer(
    kind: str,
    path: str,
    batch: int,
    height: int,
    width: int,
    padded: bool,
    device: str = 'cpu',
    **options: Any,
) -> Built:
    """Factory of a peer that predicts."""
    inputs, padding_mask = images(batch, height, width, padded, device)
    build = dict(ours=_infer_ours, transformers=_infer_theirs, authors=_infer_authors)[kind]
    run = torch.no_grad()(build(path, inputs, padding_mask, **options))

    def outputs() -> dict[str, np.ndarray]:
        with exact_convolutions():
            return {name: value.float().cpu().numpy() for name, value in run().items()}

    return run, outputs


def _infer_ours(path: str, inputs: Tensor, padding_mask: Tensor | None, optimize: Any) -> Predict:
    model = ours(path, optimize, device=inputs.device)

    def run() -> dict[str, Tensor]:
        prediction = model(inputs, padding_mask)
        return dict(logits=prediction.logits[-1], bboxes=prediction.bboxes[-1])

    return run


def _infer_theirs(path: str, inputs: Tensor, padding_mask: Tensor | None) -> Predict:
    model = theirs(path).to(inputs.device)
    pixel_mask = None if padding_mask is None else (~padding_mask).long()

    def run() -> dict[str, Tensor]:
        output = model(pixel_values=inputs, pixel_mask=pixel_mask)
        return dict(logits=output.logits, bboxes=output.pred_boxes)

    return run


def _infer_authors(path: str, inputs: Tensor, padding_mask: Tensor | None) -> Predict:
    model, given = authors(path).to(inputs.device), nested(inputs, padding_mask)

    def run() -> dict[str, Tensor]:
        output = model(given)
        return dict(logits=output['pred_logits'], bboxes=output['pred_boxes'])

    return run


def nested(inputs: Tensor, padding_mask: Tensor | None) -> Any:
    from util.misc import NestedTensor

    if padding_mask is None:  # the authors make a mask in any case
        padding_mask = inputs.new_zeros(len(inputs), *inputs.shape[-2:], dtype=torch.bool)
    return NestedTensor(inputs, padding_mask)
