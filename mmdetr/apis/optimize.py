"""Make a trained detector ready to serve."""

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel

from mmdetr.models.fast import fold_batch_norms, use_fast_forms
from mmdetr.utils.memory import disable_trimming

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def optimize_for_inference(
    model: BaseModel, dtype: str | torch.dtype = 'float32', compile: bool = False
) -> BaseModel:
    """Change a detector in place into a form that is faster and can only infer.

    Batch norms become part of the convolutions, whose weights lie channels last. On a CPU in
    float32, wide 3x3 convolutions take Winograd's form and the process keeps freed memory
    (:func:`mmdetr.utils.memory.disable_trimming`). Weights move to ``dtype``; images are
    normalised in float32 and scores and boxes come out in float32 as before.

    The state dict no longer fits the model's checkpoints: load first.

    Args:
        model: A detector with its weights, on the device where it is to run.
        dtype: ``'float32'``, ``'bfloat16'`` or ``'float16'`` (GPU), or the torch dtype.
        compile: Also compile the network with torch.compile: on the first image, and again when
            width or height first change; later sizes need no compilation. Images below some
            200 x 200 pixels may compile once more: torch computes small feature maps in another
            way.

    Returns:
        The same model, in eval mode.

    Raises:
        ValueError: ``dtype`` is none of the three, or float16 is asked for on a CPU.
    """
    wanted = _DTYPES.get(str(dtype).removeprefix('torch.'))
    if wanted is None:
        raise ValueError(f'dtype must be one of {", ".join(_DTYPES)}, not {dtype!r}')
    device = next(model.parameters()).device
    if wanted == torch.float16 and device.type == 'cpu':
        raise ValueError("float16 needs a GPU; on a CPU use dtype='bfloat16'")
    model.eval().requires_grad_(False)
    on_cpu = device.type == 'cpu'
    if on_cpu:
        disable_trimming()
    use_fast_forms(model)
    fold_batch_norms(model, winograd=on_cpu and wanted == torch.float32)
    for part in model.children():
        if not isinstance(part, BaseDataPreprocessor):  # half precision would spoil normalisation
            part.to(wanted)
    if compile:
        model.network = torch.compile(model.network, options={'freezing': True})
    return model
