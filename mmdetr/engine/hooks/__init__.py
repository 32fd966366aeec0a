from .checkpoint_hook import CheckpointHook
from .history_limit_hook import HistoryLimitHook
from .iteration_seed_hook import IterationSeedHook
from .num_class_check_hook import NumClassCheckHook

__all__ = ['CheckpointHook', 'HistoryLimitHook', 'IterationSeedHook', 'NumClassCheckHook']
