from .forms import FAST_FORMS, use_fast_forms, use_plain_forms
from .resnet import fold_batch_norms

__all__ = ['FAST_FORMS', 'fold_batch_norms', 'use_fast_forms', 'use_plain_forms']
