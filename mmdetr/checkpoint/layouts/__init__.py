"""Published layouts of checkpoints, one module per architecture."""

from . import (  # noqa: F401  register themselves
    deformable,
    detr,
    detrex,
    queries,
    realtime,
    realtime_huggingface,
)
from .layout import (
    OTHER,
    OWN_FORMAT,
    Architecture,
    Converted,
    Layout,
    StateDict,
    Variant,
    find_layout,
    from_mmdetr,
    get_layout,
    layouts,
    own_layout,
    register_layout,
)

__all__ = [
    'OTHER',
    'OWN_FORMAT',
    'Architecture',
    'Converted',
    'Layout',
    'StateDict',
    'Variant',
    'find_layout',
    'from_mmdetr',
    'get_layout',
    'layouts',
    'own_layout',
    'register_layout',
]
