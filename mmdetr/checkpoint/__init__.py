"""Checkpoints: safe reading and writing, and every published layout in and out."""

from .class_rows import match_classes
from .convert import class_names, convert, writable_formats
from .file import CheckpointFile, read_checkpoint
from .initializer import PretrainedWeights
from .io import CheckpointError, fetch_weights, load_file, save_file
from .layouts import Architecture, Layout, from_mmdetr, get_layout, register_layout
from .loading import load_checkpoint, load_into
from .model_rows import ModelRows, model_rows
from .report import LoadReport
from .timm_weights import TimmWeights
from .use import check_class_order, check_for_use

__all__ = [
    'Architecture',
    'CheckpointError',
    'CheckpointFile',
    'Layout',
    'LoadReport',
    'ModelRows',
    'PretrainedWeights',
    'TimmWeights',
    'check_class_order',
    'check_for_use',
    'class_names',
    'convert',
    'fetch_weights',
    'from_mmdetr',
    'get_layout',
    'load_checkpoint',
    'load_file',
    'load_into',
    'match_classes',
    'model_rows',
    'read_checkpoint',
    'register_layout',
    'save_file',
    'writable_formats',
]
