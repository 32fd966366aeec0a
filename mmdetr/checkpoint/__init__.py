"""Checkpoints: safe reading and writing, and every published DETR format in and out."""

from .class_head import match_classes
from .convert import class_names, convert
from .initializer import PretrainedDetector
from .io import CheckpointError, load_file, save_file
from .key_maps import from_mmdetr, recognise, to_mmdetr
from .load import load_checkpoint, load_source
from .report import LoadReport
from .source import Source, read_source
from .variant import Variant, guess_variant

__all__ = [
    'CheckpointError',
    'LoadReport',
    'PretrainedDetector',
    'Source',
    'Variant',
    'class_names',
    'convert',
    'from_mmdetr',
    'guess_variant',
    'load_checkpoint',
    'load_file',
    'load_source',
    'match_classes',
    'read_source',
    'recognise',
    'save_file',
    'to_mmdetr',
]
