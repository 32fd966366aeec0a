"""Faster forms of plain layers for a CPU, put in their place from outside.

Each derives from the plain layer and is tested against it. docs/performance.md has what each one
brings.
"""

from .forms import FAST_FORMS, use_fast_forms, use_plain_forms
from .resnet import fold_batch_norms

__all__ = ['FAST_FORMS', 'fold_batch_norms', 'use_fast_forms', 'use_plain_forms']
