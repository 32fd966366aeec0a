from .checkpoint_hook import CheckpointHook
from .history_limit_hook import HistoryLimitHook
from .iteration_seed_hook import IterationSeedHook
from .num_class_check_hook import NumClassCheckHook
from .visualization_hook import DetVisualizationHook

__all__ = [
    'CheckpointHook',
    'DetVisualizationHook',
    'HistoryLimitHook',
    'IterationSeedHook',
    'NumClassCheckHook',
]
