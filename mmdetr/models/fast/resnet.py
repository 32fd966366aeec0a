"""ResNet's blocks with convolution, batch norm, shortcut and ReLU as one operation.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mmdetr.models.backbones.resnet import ResNet

from .conv_norm import conv_norm, fold
from .mask_head import FastMaskHead
from .rep_vgg import fold_conv_norms
from .timm_backbone import FastTimmBackbone, fold_joined_norms
from .winograd import WinogradConv2d

# With fewer channels the transforms cost more than the products save.
_WINOGRAD_CHANNELS = 128


class FastResNet(ResNet):
    """ResNet with a fused stem."""

    def stem(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 64, H / 4, W / 4]."""
        if x.device.type != 'cpu':
            return super().stem(x)
        return self.maxpool(conv_norm(self.conv1, self.bn1, x))


class FastBasicBlock(BasicBlock):
    """torchvision's block of two 3x3 convolutions, fused."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        if x.device.type != 'cpu':
            return super().forward(x)
        shortcut = _shortcut(self.downsample, x)
        x = conv_norm(self.conv1, self.bn1, x)
        return conv_norm(self.conv2, self.bn2, x, shortcut)


class FastBottleneck(Bottleneck):
    """torchvision's block of 1x1, 3x3 and 1x1 convolutions, fused."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        if x.device.type != 'cpu':
            return super().forward(x)
        shortcut = _shortcut(self.downsample, x)
        x = conv_norm(self.conv1, self.bn1, x)
        x = conv_norm(self.conv2, self.bn2, x)
        return conv_norm(self.conv3, self.bn3, x, shortcut)


def _shortcut(downsample: nn.Sequential | None, x: Tensor) -> Tensor:
    """Identity, or a 1x1 convolution with its batch norm."""
    if downsample is None:
        return x
    return conv_norm(downsample[0], downsample[1], x, relu=False)


def fold_batch_norms(model: nn.Module, winograd: bool = False) -> None:
    """Fold the batch norms of backbones and necks of ours for good; these then only infer.

    Args:
        model: A model whose ResNets have their fast forms. ConvNorms and RepVGG blocks need none.
        winograd: Compute 3x3 convolutions of 128 channels and more in Winograd's form, those of a
            mask head included, for float32 on a CPU.
    """
    fold_conv_norms(model, _WINOGRAD_CHANNELS if winograd else None)
    for module in model.modules():
        if isinstance(module, FastResNet):
            fold(module, 'conv1', 'bn1')
        elif isinstance(module, FastTimmBackbone):
            fold_joined_norms(module.body)
        elif isinstance(module, FastBasicBlock | FastBottleneck):
            for i in (1, 2, 3) if isinstance(module, FastBottleneck) else (1, 2):
                fold(module, f'conv{i}', f'bn{i}')
                conv = getattr(module, f'conv{i}')
                wide = conv.in_channels >= _WINOGRAD_CHANNELS
                if winograd and wide and WinogradConv2d.fits(conv):
                    setattr(module, f'conv{i}', WinogradConv2d(conv))
            if module.downsample is not None:
                fold(module.downsample, '0', '1')
        elif winograd and isinstance(module, FastMaskHead):
            _use_winograd(module)


def _use_winograd(head: FastMaskHead) -> None:
    """Replace the one wide convolution that every query goes through."""
    conv = head.conv(1)
    if conv.out_channels >= _WINOGRAD_CHANNELS and WinogradConv2d.fits(conv):
        head.convs[1] = WinogradConv2d(conv)
