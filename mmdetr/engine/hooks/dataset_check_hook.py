"""Check the data cheaply before the first step of a training."""

import logging
from collections.abc import Mapping

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.config.training_check import check_training, find_num_queries
from mmdetr.datasets.check import Finding, check_files, check_objects, named_leaves
from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Log what tools/dataset/check.py finds without opening images or annotation files.

    It runs on the main process. Most findings are warnings.

    Args:
        num_files: Number of image files of each dataset to look for.

    Raises:
        ValueError: The training data cannot be trained on: no objects, or no image file found.
    """

    def __init__(self, num_files: int = 200) -> None:
        check_at_least(0, 'DatasetCheckHook', num_files=num_files)
        self.num_files = num_files

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        findings = find_problems(runner, self.num_files)
        for level, text in findings:
            if level != 'error':
                runner.logger.log(logging.getLevelName(level.upper()), text)
        errors = [text for level, text in findings if level == 'error']
        if errors:
            raise ValueError('the data cannot be trained on: ' + '; '.join(errors))


def find_problems(runner: Runner, num_files: int) -> list[Finding]:
    """Check the training of a runner; find nothing in data that are not a detection dataset's."""
    dataset, findings = runner.train_dataloader.dataset, []
    leaves = named_leaves(dataset, 'training data')
    for leaf, name in leaves:
        required = len(leaves) == 1
        findings += check_objects(leaf, name, find_num_queries(runner.cfg), required)
        findings += check_files(leaf, name, num_files)
    # A loader built by hand says nothing in the config.
    if leaves and isinstance(runner.cfg.get('train_dataloader'), Mapping):
        findings += check_training(runner.cfg, dataset, runner.world_size)
    return findings
