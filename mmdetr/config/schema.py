"""Types of what a config holds, where no constructor states them."""

from typing import Annotated, Any, Literal, TypedDict

from torch.utils.data import DataLoader

from .type_hints import Package, Range, Regex

# What JSON, a config file and the machines that train can hold.
_MOST = 10**9
MAX_WORKERS = 512
Positive = Annotated[float, Range(above=0)]
Steps = Annotated[float, Range(least=1, most=_MOST)]
Count = Annotated[int, Range(least=1)]
Share = Annotated[float, Range(least=0, most=1)]
NotNegative = Annotated[float, Range(least=0)]
LogLevel = Literal['NOTSET', 'DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'FATAL', 'CRITICAL']
WholeNumber = Annotated[int, Range(least=0)]
Layers = Annotated[int, Range(least=0, most=1000)]
Rule = Literal['greater', 'less']


class Component(TypedDict):
    """A config with a ``type``: a name in a registry, or a class."""

    type: str | type


class Dataloader(TypedDict):
    """What a loader cannot do without."""

    dataset: Component


class OneOptimizer(TypedDict):
    """What mmengine's default constructor cannot do without."""

    optimizer: Component


class OwnConstructor(TypedDict):
    """An ``optim_wrapper`` with a constructor of its own, as for several optimisers."""

    constructor: str


class Multipliers(TypedDict, total=False):
    """For the parameters whose name contains a key of ``custom_keys``."""

    lr_mult: NotNegative
    decay_mult: NotNegative


class ParamwiseCfg(TypedDict, total=False):
    """Of mmengine's DefaultOptimWrapperConstructor."""

    custom_keys: dict[str, Multipliers]
    bias_lr_mult: NotNegative
    bias_decay_mult: NotNegative
    norm_decay_mult: NotNegative
    flat_decay_mult: NotNegative
    dwconv_decay_mult: NotNegative
    dcn_offset_lr_mult: NotNegative
    bypass_duplicate: bool


class ClipGrad(TypedDict, total=False):
    """Of torch.nn.utils.clip_grad_norm_ and clip_grad_value_."""

    type: Literal['norm', 'value']
    max_norm: Positive
    norm_type: Annotated[float, Range(above=0, most=100)]
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
    opencv_num_threads: Annotated[int, Range(least=-1, most=1024)]


class DistCfg(TypedDict, total=False):
    """Of ``torch.distributed.init_process_group``, where a launcher does not settle it."""

    backend: str | None
    init_method: str
    timeout: Positive | None
    port: WholeNumber


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


class ConsoleConfig(TypedDict, total=False):
    """Of ``NarratedRunner``."""

    quiet: bool


class RunConfig(TypedDict, total=False):
    """What a runner reads from the top level of a config."""

    model: Component
    work_dir: str
    train_dataloader: Dataloader | None
    val_dataloader: Dataloader | None
    test_dataloader: Dataloader | None
    train_cfg: dict | None
    val_cfg: dict | None
    test_cfg: dict | None
    optim_wrapper: OneOptimizer | OwnConstructor | None
    param_scheduler: dict | list[Component] | None
    auto_scale_lr: AutoScaleLR | None
    val_evaluator: Component | list[Component] | None
    test_evaluator: Component | list[Component] | None
    default_hooks: dict[str, Component | None] | None
    custom_hooks: list[Component] | None
    data_preprocessor: dict | None
    env_cfg: EnvCfg
    randomness: Randomness
    log_processor: dict | None
    log_level: int | LogLevel
    console: ConsoleConfig | None
    visualizer: Component | None
    default_scope: Annotated[str, Package()]
    experiment_name: str | None
    load_from: str | None
    allow_mismatch: bool
    checkpoint_classes: list[str] | None
    resume: bool | Literal['auto']
    launcher: Literal['none', 'pytorch', 'slurm', 'mpi']
    find_unused_parameters: bool
    model_wrapper_cfg: dict | None
    sync_bn: Literal['torch', 'mmcv'] | None
    custom_imports: dict | None
    activation_checkpointing: list[str] | None
    efficient_conv_bn_eval: list[str] | None
    compile: bool | dict | None


# What parts of a config are built into where they have no ``type``.
DEFAULT_TYPES: dict[str, str | type] = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'optim_wrapper': 'OptimWrapper',
    'log_processor': 'LogProcessor',
}
_DATALOADER: dict[str, Any] = dict(
    dataset=Component,
    sampler=Component,
    batch_size=Annotated[int, Range(least=1, most=_MOST)],
    num_workers=Annotated[int, Range(least=0, most=MAX_WORKERS)],
    prefetch_factor=Count | None,
    batch_sampler=Component | None,
    num_batch_per_epoch=Count | None,
)
# Keys that mmengine takes out before it calls the constructor, by their place in the config.
HINTS_BY_PLACE: dict[str, dict[str, Any]] = {
    'train_dataloader': _DATALOADER,
    'val_dataloader': _DATALOADER,
    'test_dataloader': _DATALOADER,
    'optim_wrapper': dict(
        optimizer=Component,
        clip_grad=ClipGrad | None,
        paramwise_cfg=ParamwiseCfg | None,
        constructor=str,
    ),
    'param_scheduler': dict(convert_to_iter_based=bool),
    'default_hooks': dict(priority=int | str),
    'custom_hooks': dict(priority=int | str),
}
# Extra hints by class name, for it and its children: arguments that are taken by **kwargs, not
# annotated or annotated wrongly, or have a range that nobody checks.
HINTS_BY_CLASS: dict[str, dict[str, Any]] = {
    # mmengine takes 1e5 for a whole number, and complains of 1.5 itself.
    'EpochBasedTrainLoop': dict(max_epochs=Steps, val_begin=int, val_interval=int),
    'IterBasedTrainLoop': dict(max_iters=Steps, val_begin=int, val_interval=int),
    'LogProcessor': dict(window_size=Count, by_epoch=bool, mean_pattern=Annotated[str, Regex()]),
    'Visualizer': dict(name=str),
    'BaseDataset': dict(data_prefix=dict[str, str | None]),
    'RandomFlip': dict(prob=Share | list[Share] | None),
    'RandomChoiceResize': dict(scales=list[tuple[Count, Count | None]], keep_ratio=bool),
    'Optimizer': dict(lr=NotNegative, weight_decay=NotNegative),
    'AmpOptimWrapper': dict(loss_scale=str | float | dict),
    'EMAHook': dict(momentum=Share, interval=Count, update_buffers=bool),
    '_ParamScheduler': dict(begin=WholeNumber),
    'LinearParamScheduler': dict(
        start_factor=Annotated[float, Range(above=0, most=1)], end_factor=Share
    ),
    'ConstantParamScheduler': dict(factor=Share),
    'DETRTransformer': dict(
        num_encoder_layers=Layers, num_decoder_layers=Layers, feedforward_channels=WholeNumber
    ),
    'CheckpointHook': dict(
        rule=Rule | list[Rule] | None,
        interval=Count | Literal[-1],
        max_keep_ckpts=Count | Literal[-1],
    ),
    'ShapesDataset': dict(num_images=Annotated[int, Range(least=1, most=10**8)]),
    'MultiStepParamScheduler': dict(gamma=Positive, milestones=list[WholeNumber]),
    'CosineAnnealingParamScheduler': dict(T_max=Count | None, eta_min=NotNegative | None),
}
