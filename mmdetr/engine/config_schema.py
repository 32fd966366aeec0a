"""Types of what a config holds, where no constructor states them."""

from typing import Annotated, Any, Literal, TypedDict

from mmengine.optim import OptimWrapper
from mmengine.runner import LogProcessor, TestLoop, ValLoop
from torch.utils.data import DataLoader

from .type_hints import Range

Positive = Annotated[float, Range(above=0)]
Count = Annotated[int, Range(least=1)]
Share = Annotated[float, Range(least=0, most=1)]
WholeNumber = Annotated[int, Range(least=0)]
Dicts = dict | list[dict] | None


class ParamwiseCfg(TypedDict, total=False):
    """Of mmengine's DefaultOptimWrapperConstructor."""

    custom_keys: dict[str, dict[str, float]]
    bias_lr_mult: float
    bias_decay_mult: float
    norm_decay_mult: float
    flat_decay_mult: float
    dwconv_decay_mult: float
    dcn_offset_lr_mult: float
    bypass_duplicate: bool


class ClipGrad(TypedDict, total=False):
    """Of torch.nn.utils.clip_grad_norm_ and clip_grad_value_."""

    type: Literal['norm', 'value']
    max_norm: Positive
    norm_type: Positive
    clip_value: Positive
    error_if_nonfinite: bool
    foreach: bool | None


class AutoScaleLR(TypedDict, total=False):
    """Of ``DetectionRunner.scale_lr``."""

    enable: bool
    base_batch_size: Count


class MpCfg(TypedDict, total=False):
    """How worker processes start."""

    mp_start_method: Literal['fork', 'spawn', 'forkserver']
    opencv_num_threads: int


class DistCfg(TypedDict, total=False):
    """Of torch.distributed."""

    backend: str | None
    timeout: Positive | None


class EnvCfg(TypedDict, total=False):
    """Of ``Runner.setup_env``."""

    cudnn_benchmark: bool
    mp_cfg: MpCfg
    dist_cfg: DistCfg
    resource_limit: Count


class Randomness(TypedDict, total=False):
    """Of ``Runner.set_randomness``."""

    seed: Annotated[int, Range(least=0, most=2**32 - 1)] | None
    diff_rank_seed: bool
    deterministic: bool


class RunConfig(TypedDict, total=False):
    """What a runner takes from the top level of a config."""

    model: dict
    work_dir: str
    train_dataloader: dict | None
    val_dataloader: dict | None
    test_dataloader: dict | None
    train_cfg: dict | None
    val_cfg: dict | None
    test_cfg: dict | None
    optim_wrapper: dict | None
    param_scheduler: dict | list | None
    auto_scale_lr: AutoScaleLR | None
    val_evaluator: Dicts
    test_evaluator: Dicts
    default_hooks: dict[str, dict | None] | None
    custom_hooks: list[dict] | None
    data_preprocessor: dict | None
    env_cfg: EnvCfg
    randomness: Randomness
    log_processor: dict | None
    log_level: int | str
    visualizer: dict | None
    default_scope: str | None
    experiment_name: str | None
    load_from: str | None
    resume: bool | Literal['auto']
    launcher: Literal['none', 'pytorch', 'slurm', 'mpi']
    find_unused_parameters: bool
    model_wrapper_cfg: dict | None
    sync_bn: Literal['torch', 'mmcv'] | None
    custom_imports: dict | None


# Parts of a config that need no ``type``.
DEFAULT_TYPES = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'val_cfg': ValLoop,
    'test_cfg': TestLoop,
    'optim_wrapper': OptimWrapper,
    'log_processor': LogProcessor,
}
_DATALOADER = dict(dataset=dict, sampler=dict, batch_sampler=dict | None, num_batch_per_epoch=Count)
# Arguments that do not reach the constructor, by the place in the config.
MORE_BY_PLACE: dict[str, dict[str, Any]] = {
    'train_dataloader': _DATALOADER,
    'val_dataloader': _DATALOADER,
    'test_dataloader': _DATALOADER,
    'optim_wrapper': dict(
        optimizer=dict,
        clip_grad=ClipGrad | None,
        paramwise_cfg=ParamwiseCfg | None,
        constructor=str,
    ),
    'param_scheduler': dict(convert_to_iter_based=bool),
    'default_hooks': dict(priority=int | str),
    'custom_hooks': dict(priority=int | str),
}
# Arguments that the constructor passes on, says too little of, or has limits for that it does not
# check, by the name of a class.
MORE_BY_CLASS: dict[str, dict[str, Any]] = {
    # mmengine takes 1e5 for a whole number, and complains of 1.5 itself.
    'EpochBasedTrainLoop': dict(max_epochs=float, val_begin=int, val_interval=int),
    'IterBasedTrainLoop': dict(max_iters=float, val_begin=int, val_interval=int),
    'LogProcessor': dict(window_size=Count, by_epoch=bool, mean_pattern=str),
    'Visualizer': dict(name=str),
    'BaseDataset': dict(data_prefix=dict[str, str | None]),
    'RandomFlip': dict(prob=Share | list[Share] | None),
    'RandomChoiceResize': dict(scales=list[tuple[Count, Count | None]], keep_ratio=bool),
    'RandomResize': dict(keep_ratio=bool),
    'ImageToTensor': dict(keys=list[str]),
    'AmpOptimWrapper': dict(loss_scale=str | float | dict),
    'EMAHook': dict(momentum=Share, interval=Count, update_buffers=bool),
    '_ParamScheduler': dict(begin=WholeNumber),
    'StepParamScheduler': dict(gamma=Positive, step_size=Count),
    'MultiStepParamScheduler': dict(gamma=Positive, milestones=list[WholeNumber]),
    'ExponentialParamScheduler': dict(gamma=Positive),
    'CosineAnnealingParamScheduler': dict(T_max=Count | None),
    'PretrainedInit': dict(checkpoint=str),
}
