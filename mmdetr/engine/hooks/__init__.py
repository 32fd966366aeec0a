from .best_state_hook import BestStateHook
from .checkpoint_hook import CheckpointHook
from .collapse_watch_hook import CollapseWatchHook
from .dataset_check_hook import DatasetCheckHook
from .history_limit_hook import HistoryLimitHook
from .interrupt_hook import InterruptHook
from .iteration_seed_hook import IterationSeedHook
from .malloc_trim_hook import MallocTrimHook
from .metric_data_hook import MetricDataHook
from .non_finite_guard_hook import NonFiniteGuardHook
from .num_class_check_hook import NumClassCheckHook
from .pipeline_switch_hook import PipelineSwitchHook
from .position_check_hook import PositionCheckHook
from .rank_check_hook import RankCheckHook
from .visualization_hook import DetVisualizationHook

# DetectionRunner registers these whatever the config says.
ALWAYS_REGISTERED = (
    IterationSeedHook,
    NumClassCheckHook,
    MetricDataHook,
    PositionCheckHook,
    RankCheckHook,
    HistoryLimitHook,
    MallocTrimHook,
)

__all__ = [
    'ALWAYS_REGISTERED',
    'BestStateHook',
    'CheckpointHook',
    'CollapseWatchHook',
    'DatasetCheckHook',
    'DetVisualizationHook',
    'HistoryLimitHook',
    'InterruptHook',
    'IterationSeedHook',
    'MallocTrimHook',
    'MetricDataHook',
    'NonFiniteGuardHook',
    'NumClassCheckHook',
    'PipelineSwitchHook',
    'PositionCheckHook',
    'RankCheckHook',
]
