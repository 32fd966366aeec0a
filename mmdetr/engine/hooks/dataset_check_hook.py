"""The cheap checks of the data before the first step of a training."""

import logging
from collections.abc import Mapping

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.datasets.check import (
    Finding,
    check_amount,
    check_batch,
    check_files,
    check_objects,
    find_key,
    leaf_datasets,
)
from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Log what tools/dataset/check.py finds without opening images or annotation files.

    It runs on the main process. Most findings are warnings.

    Args:
        num_files: Look for so many image files of each dataset.

    Raises:
        ValueError: The training data cannot be trained on: no objects, or no image file found.
    """

    def __init__(self, num_files: int = 200) -> None:
        check_at_least(0, 'DatasetCheckHook', num_files=num_files)
        self.num_files = num_files

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        findings = check_training(runner, self.num_files)
        for level, text in findings:
            if level != 'error':
                runner.logger.log(logging.getLevelName(level.upper()), text)
        errors = [text for level, text in findings if level == 'error']
        if errors:
            raise ValueError('the data cannot be trained on: ' + '; '.join(errors))


def check_training(runner: Runner, num_files: int) -> list[Finding]:
    """Run the checks of one runner; none for data that are not a detection dataset's."""
    datasets = leaf_datasets(runner.train_dataloader.dataset)
    if not datasets:
        return []
    num_queries = next((n for _, n in find_key(runner.cfg.get('model'), 'num_queries')), None)
    findings = []
    for i, dataset in enumerate(datasets):
        alone = len(datasets) == 1
        name = 'training data' if alone else f'training data {i}'
        findings += check_objects(dataset, name, num_queries, required=alone)
        findings += check_files(dataset, name, num_files)
    if not isinstance(runner.cfg.get('train_dataloader'), Mapping):  # built by hand
        return findings
    findings += check_batch(runner.cfg, runner.world_size)
    if 'img_path' in datasets[0].get_data_info(0):  # generated data are easier
        num_images = len(runner.train_dataloader.dataset)
        findings += check_amount(runner.cfg, num_images, runner.world_size)
    return findings
