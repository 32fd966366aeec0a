"""Check the data cheaply before the first step of a training or a test."""

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.config.training_check import check_training, find_num_queries
from mmdetr.datasets.check import DatasetError, Finding, check_files, check_objects, named_leaves
from mmdetr.datasets.check_masks import check_masks
from mmdetr.datasets.check_scan import check_scan
from mmdetr.datasets.local_files import is_local
from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least

NUM_MASKED = 50  # images of each dataset whose masks are drawn


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Log what tools/dataset/check.py finds without decoding images.

    Training and validation data are looked at before the first step, test data before the first
    image; masks and panoptic PNGs of 50 images of each dataset. It runs on the main process. Most
    findings are warnings.

    Args:
        num_files: Number of image files of each dataset to look for where they are not local;
            0 leaves out everything that looks at image files, and masks.

    Raises:
        DatasetError: The data cannot be trained on or scored: no objects, missing image files,
            boxes that are none of COCO's.
    """

    def __init__(self, num_files: int = 200) -> None:
        check_at_least(0, 'DatasetCheckHook', num_files=num_files)
        self.num_files = num_files
        self._training = False

    def before_train(self, runner: Runner) -> None:
        self._training = True
        if is_main_process():
            report(runner, find_problems(runner, self.num_files), 'trained on')

    def before_val(self, runner: Runner) -> None:
        """Check the data of a validation on its own; in training they are checked already."""
        if not self._training and is_main_process():
            findings = find_scoring_problems(
                runner, runner.val_dataloader.dataset, 'validation data', self.num_files
            )
            report(runner, findings, 'scored')

    def before_test(self, runner: Runner) -> None:
        if is_main_process():
            findings = find_scoring_problems(
                runner, runner.test_dataloader.dataset, 'test data', self.num_files
            )
            report(runner, findings, 'scored')


def report(runner: Runner, findings: list[Finding], purpose: str) -> None:
    """Log findings and raise the errors among them."""
    for level, text in findings:
        if level != 'error':
            runner.logger.log(logging.getLevelName(level.upper()), text)
    errors = [text for level, text in findings if level == 'error']
    if errors:
        raise DatasetError(
            f'the data cannot be {purpose}: {"; ".join(errors)} '
            '(default_hooks.dataset_check=None leaves out this check)'
        )


def find_problems(runner: Runner, num_files: int) -> list[Finding]:
    """Check the training of a runner; find nothing in data that are not a detection dataset's."""
    dataset, findings = runner.train_dataloader.dataset, []
    leaves = named_leaves(dataset, 'training data')
    for leaf, name in leaves:
        required = len(leaves) == 1
        findings += check_objects(leaf, name, find_num_queries(runner.cfg), required)
        findings += check_files(leaf, name, _num_looked_for(leaf, num_files))
        findings += check_masks(leaf, name, NUM_MASKED) if num_files else []
    every = list(leaves)
    if runner.val_loop is not None:
        validation = named_leaves(runner.val_dataloader.dataset, 'validation data')
        findings += _check_scored(runner, validation, num_files)
        every += validation
    if num_files:
        findings += check_scan(every)
    # A loader built by hand says nothing in the config.
    if leaves and isinstance(runner.cfg.get('train_dataloader'), Mapping):
        findings += check_training(runner.cfg, dataset, runner.world_size)
    return findings


def find_scoring_problems(runner: Runner, dataset: Any, name: str, num_files: int) -> list[Finding]:
    """Check data of a validation or test alone."""
    leaves = named_leaves(dataset, name)
    findings = _check_scored(runner, leaves, num_files)
    return findings + (check_scan(leaves) if num_files else [])


def _check_scored(runner: Runner, leaves: list[tuple[Any, str]], num_files: int) -> list[Finding]:
    findings = []
    for leaf, name in leaves:
        findings += check_objects(leaf, name, find_num_queries(runner.cfg), required=False)
        findings += check_files(leaf, name, _num_looked_for(leaf, num_files))
        findings += check_masks(leaf, name, NUM_MASKED) if num_files else []
    return findings


def _num_looked_for(dataset: Any, num_files: int) -> int | None:
    """Look for all of the local files, which takes a second for a hundred thousand."""
    first = dataset.get_data_info(0) if len(dataset) else {}
    return None if num_files and is_local(first.get('img_path', '')) else num_files
