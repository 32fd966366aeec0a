"""Putting fast forms in the place of plain layers, and back."""

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mmdetr.models.backbones.resnet import ResNet
from mmdetr.models.backbones.timm_backbone import TimmBackbone
from mmdetr.models.heads.mask_head import MaskHead
from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.models.layers.deformable_attention import DeformableSampling

from .conv_norm import FastConvNorm
from .deformable_attention import FastDeformableSampling
from .mask_head import FastMaskHead
from .resnet import FastBasicBlock, FastBottleneck, FastResNet
from .timm_backbone import FastTimmBackbone, join_norms, part_norms

# A fast form derives from the plain one and has its parameters and buffers, so that weights fit
# and a module changes its form by changing its class.
FAST_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    ResNet: FastResNet,
    BasicBlock: FastBasicBlock,
    Bottleneck: FastBottleneck,
    ConvNorm: FastConvNorm,
    TimmBackbone: FastTimmBackbone,
    DeformableSampling: FastDeformableSampling,
    MaskHead: FastMaskHead,
}
_PLAIN_FORMS = {fast: plain for plain, fast in FAST_FORMS.items()}


def use_fast_forms(model: nn.Module) -> None:
    """Let a model compute in fast forms on a CPU, in training and inference; in place.

    The numbers are those of the plain forms up to rounding. On a GPU the plain forms compute, but
    for the mask head.
    Forward hooks on the convolutions and batch norms inside a block are not called, and what
    derives from a plain layer keeps its own form.

    Example:
        >>> backbone = ResNet(18)
        >>> use_fast_forms(backbone)
        >>> type(backbone).__name__, type(backbone.layer1[0]).__name__
        ('FastResNet', 'FastBasicBlock')
    """
    for module in _timm_backbones(model, TimmBackbone):
        join_norms(module.body)
    _change_classes(model, FAST_FORMS)


def use_plain_forms(model: nn.Module) -> None:
    """Undo :func:`use_fast_forms`."""
    for module in _timm_backbones(model, FastTimmBackbone):
        part_norms(module.body)
    _change_classes(model, _PLAIN_FORMS)


def _timm_backbones(model: nn.Module, form: type[nn.Module]) -> list[Any]:
    """The backbones of timm that have a form; unlike other parts, parts inside are changed."""
    return [module for module in model.modules() if type(module) is form]


def _change_classes(model: nn.Module, forms: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in model.modules():
        form = forms.get(type(module))
        if form is not None:
            module.__class__ = form
