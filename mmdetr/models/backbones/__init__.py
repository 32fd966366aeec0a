from .hgnet_v2 import HGNetV2
from .resnet import ResNet
from .resnet_vd import ResNetVd
from .timm_backbone import TimmBackbone

__all__ = ['HGNetV2', 'ResNet', 'ResNetVd', 'TimmBackbone']
