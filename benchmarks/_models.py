"""The same DETR-R50 in this package, in transformers and in the authors' code.

The authors' code is looked for on the import path of the process, where a benchmark's ``--authors``
puts it.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _peers import Factory, Peer
from mmengine.config import Config
from mmengine.structures import InstanceData
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmdetr.apis import init_detector
from mmdetr.checkpoint import convert, read_source
from mmdetr.structures import DetDataSample, cxcywh_to_xyxy

CONFIG = Path(__file__).parents[1] / 'configs' / 'detr_r50_8xb2-150e_coco.py'
NUM_CLASSES = 91
WEIGHT_DECAY, LEARNING_RATE, MAX_NORM = 1e-4, 1e-6, 0.1
Built = tuple[Callable[[], Any], Callable[[], dict[str, np.ndarray]]]


@contextmanager
def random_weights() -> Iterator[dict[str, str]]:
    """One set of random weights in the formats of the three codebases: paths by format."""
    torch.manual_seed(0)
    model = init_detector(CONFIG, device='cpu', cfg_options=_options())
    for name, value in model.backbone.state_dict().items():
        if 'bn' in name or 'downsample.1' in name:
            nn.init.uniform_(value, 0.3, 0.8)  # of the size of trained ones: nothing explodes
    with tempfile.TemporaryDirectory() as folder:
        paths = dict(
            mmdetr=f'{folder}/ours.pth',
            facebook=f'{folder}/authors.pth',
            huggingface=f'{folder}/model.safetensors',
        )
        torch.save(dict(state_dict=model.state_dict()), paths['mmdetr'])
        for fmt in ('facebook', 'huggingface'):
            convert(read_source(paths['mmdetr']), paths[fmt], fmt)
        yield paths


def has_transformers() -> bool:
    return find_spec('transformers') is not None


def add_authors_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--authors', metavar='DIR', help='checkout of facebookresearch/detr to compare with, too'
    )


def start_others(
    factory: Factory, arguments: dict, paths: dict[str, str], authors_path: str | None
) -> dict[str, Peer]:
    """The peers to compare with, as far as they are there.

    Raises:
        SystemExit: There is none.
    """
    peers = {}
    if authors_path:
        given = dict(arguments, kind='authors', path=paths['facebook'])
        peers['authors'] = Peer(factory, given, authors_path)
    if has_transformers():
        given = dict(arguments, kind='transformers', path=paths['huggingface'])
        peers['transformers'] = Peer(factory, given)
    if not peers:
        sys.exit('error: nothing to compare with: pip install transformers, or give --authors')
    return peers


def _options(**more: Any) -> dict[str, Any]:
    return {'model.bbox_head.num_classes': NUM_CLASSES, **more}


# The models


def ours(
    path: str, optimize: bool | dict = False, train: bool = False, **options: Any
) -> nn.Module:
    model = init_detector(
        CONFIG, path, device='cpu', cfg_options=_options(**options), optimize=optimize
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
        weights = {_native(name): value for name, value in load_file(path).items()}
        save_file(weights, f'{folder}/model.safetensors', metadata=dict(format='pt'))
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


def _native(name: str) -> str:
    """Name of a weight in transformers' own ResNet, from the one that timm's gives it."""
    name = name.replace('conv_encoder.model.conv1.', 'conv_encoder.model.embedder.convolution.')
    name = name.replace('conv_encoder.model.bn1.', 'conv_encoder.model.embedder.normalization.')
    name = name.replace('model.embedder.', 'model.embedder.embedder.')
    name = re.sub(
        r'model\.layer(\d)\.(\d+)\.',
        lambda found: f'model.encoder.stages.{int(found[1]) - 1}.layers.{found[2]}.',
        name,
    )
    for i in (1, 2, 3):
        name = name.replace(f'.conv{i}.', f'.layer.{i - 1}.convolution.')
        name = name.replace(f'.bn{i}.', f'.layer.{i - 1}.normalization.')
    name = name.replace('.downsample.0.', '.shortcut.convolution.')
    return name.replace('.downsample.1.', '.shortcut.normalization.')


def authors(path: str, train: bool = False) -> nn.Module:
    """The authors' model, put together from the parts of their checkout."""
    import torchvision
    from models.backbone import Backbone, Joiner
    from models.detr import DETR
    from models.position_encoding import (
        PositionEmbeddingSine,
    )
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


# Inputs


def images(batch: int, height: int, width: int, padded: bool) -> tuple[Tensor, Tensor | None]:
    """A normalised batch, and where it is padded: the second half of the images is narrower."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 3, height, width, generator=generator)
    if not padded:
        return inputs, None
    padding_mask = torch.zeros(batch, height, width, dtype=torch.bool)
    padding_mask[batch // 2 :, :, width * 3 // 4 :] = True
    return inputs.masked_fill(padding_mask[:, None], 0), padding_mask


def objects(batch: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Boxes [count, 4], cxcywh in 0..1, and labels [count] of each image."""
    generator = torch.Generator().manual_seed(1)
    scale, shift = torch.tensor([0.5, 0.5, 0.4, 0.4]), torch.tensor([0.25, 0.25, 0.05, 0.05])
    return [
        (
            torch.rand(count, 4, generator=generator) * scale + shift,
            torch.randint(0, NUM_CLASSES, (count,), generator=generator),
        )
        for _ in range(batch)
    ]


def data_samples(
    targets: list[tuple[Tensor, Tensor]], height: int, width: int
) -> list[DetDataSample]:
    size = torch.tensor([width, height, width, height])
    return [
        DetDataSample(
            gt_instances=InstanceData(bboxes=cxcywh_to_xyxy(bboxes) * size, labels=labels),
            metainfo=dict(img_shape=(height, width), img_id=i),
        )
        for i, (bboxes, labels) in enumerate(targets)
    ]


# Inference


def infer(
    kind: str, path: str, batch: int, height: int, width: int, padded: bool, **options: Any
) -> Built:
    """Factory of a peer that predicts."""
    inputs, padding_mask = images(batch, height, width, padded)
    predict = dict(ours=_infer_ours, transformers=_infer_theirs, authors=_infer_authors)[kind]
    run = predict(path, inputs, padding_mask, **options)

    def outputs() -> dict[str, np.ndarray]:
        logits, bboxes = run()
        return dict(logits=logits.float().numpy(), bboxes=bboxes.float().numpy())

    return run, outputs


def _infer_ours(path: str, inputs: Tensor, padding_mask: Tensor | None, optimize: Any) -> Callable:
    model = ours(path, optimize)

    def run() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            prediction = model(inputs, padding_mask)
        return prediction.logits[-1], prediction.bboxes[-1]

    return run


def _infer_theirs(path: str, inputs: Tensor, padding_mask: Tensor | None) -> Callable:
    model = theirs(path)
    pixel_mask = None if padding_mask is None else (~padding_mask).long()

    def run() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            output = model(pixel_values=inputs, pixel_mask=pixel_mask)
        return output.logits, output.pred_boxes

    return run


def _infer_authors(path: str, inputs: Tensor, padding_mask: Tensor | None) -> Callable:
    model = authors(path)
    nested = _nested(inputs, padding_mask)

    def run() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            output = model(nested)
        return output['pred_logits'], output['pred_boxes']

    return run


def _nested(inputs: Tensor, padding_mask: Tensor | None) -> Any:
    from util.misc import NestedTensor

    if padding_mask is None:  # the authors make a mask in any case
        padding_mask = torch.zeros(len(inputs), *inputs.shape[-2:], dtype=torch.bool)
    return NestedTensor(inputs, padding_mask)


# Training


def train(
    kind: str, path: str, batch: int, height: int, width: int, count: int, **options: Any
) -> Built:
    """Factory of a peer that does one training step: losses, gradients, clipping, AdamW."""
    inputs, _ = images(batch, height, width, padded=False)
    targets = objects(batch, count)
    build = dict(ours=_train_ours, transformers=_train_theirs, authors=_train_authors)[kind]
    model, loss = build(path, inputs, targets, **options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=kind == 'ours'
    )

    def run() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def outputs() -> dict[str, np.ndarray]:
        """The loss without dropout, which no two random streams share."""
        rates = {module: module.p for module in model.modules() if hasattr(module, 'p')}
        attention = {m: m.dropout for m in model.modules() if isinstance(_rate(m), float)}
        for module in rates:
            module.p = 0.0
        for module in attention:
            module.dropout = 0.0
        with torch.no_grad():
            value = float(loss())
        for module, p in rates.items():
            module.p = p
        for module, p in attention.items():
            module.dropout = p
        return dict(loss=np.array(value))

    return run, outputs


def _rate(module: nn.Module) -> Any:
    return getattr(module, 'dropout', None)


def _train_ours(
    path: str, inputs: Tensor, targets: list, keep_memory: bool = False, **options: Any
) -> tuple[nn.Module, Callable[[], Tensor]]:
    if keep_memory:
        from mmdetr.utils.memory import disable_trimming

        assert disable_trimming()
    model = ours(path, train=True, **options)
    samples = data_samples(targets, *inputs.shape[-2:])

    def loss() -> Tensor:
        return model.parse_losses(model(inputs, None, samples, mode='loss'))[0]

    return model, loss


def _train_theirs(
    path: str, inputs: Tensor, targets: list
) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = theirs(path, train=True)
    labels = [dict(class_labels=labels, boxes=bboxes) for bboxes, labels in targets]

    def loss() -> Tensor:
        return model(pixel_values=inputs, labels=labels).loss

    return model, loss


def _train_authors(
    path: str, inputs: Tensor, targets: list
) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = authors(path, train=True)
    criterion, weights = authors_criterion()
    nested = _nested(inputs, None)
    labelled = [dict(boxes=bboxes, labels=labels) for bboxes, labels in targets]

    def loss() -> Tensor:
        losses = criterion(model(nested), labelled)
        return sum(losses[name] * weight for name, weight in weights.items())

    for name, parameter in model.named_parameters():
        if 'layer1' in name or name == 'backbone.0.body.conv1.weight':
            parameter.requires_grad_(False)
    return model, loss


def authors_criterion() -> tuple[nn.Module, dict[str, float]]:
    """Their criterion with its matcher, and the weights of its losses."""
    from models.detr import SetCriterion
    from models.matcher import HungarianMatcher

    last = dict(loss_ce=1.0, loss_bbox=5.0, loss_giou=2.0)
    weights = last | {f'{k}_{i}': weight for i in range(5) for k, weight in last.items()}
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    criterion = SetCriterion(
        NUM_CLASSES, matcher, weights, eos_coef=0.1, losses=['labels', 'boxes', 'cardinality']
    )
    return criterion, weights


def our_criterion() -> nn.Module:
    from mmdetr.registry import MODELS

    cfg = Config.fromfile(CONFIG).model.bbox_head.criterion
    return MODELS.build(cfg, default_args=dict(num_classes=NUM_CLASSES))
