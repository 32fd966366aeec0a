"""Everything that can be looked at in the data of a config before a training."""

from typing import Any

from mmengine.config import Config

from mmdetr.datasets.check import Finding, check_files, check_images, named_leaves
from mmdetr.datasets.check_masks import check_masks
from mmdetr.datasets.check_objects import check_objects
from mmdetr.datasets.check_scan import check_scan
from mmdetr.registry import DATASETS

from .training_check import (
    check_num_classes,
    check_same_classes,
    check_training,
    classes_of,
    find_key,
    find_num_queries,
)


def check_config(cfg: Config, num_decoded: int | None, num_gpus: int) -> list[Finding]:
    """Check training, validation and test data; a dataset that two loaders share only once.

    Args:
        cfg: As tools/train.py takes it.
        num_decoded: Images of each dataset to decode; None for all.
        num_gpus: Processes of the training.
    """
    findings: list[Finding] = []
    seen: list[Any] = []
    built: dict[str, Any] = {}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset_cfg = (cfg.get(loader) or {}).get('dataset')
        if dataset_cfg is None or dataset_cfg in seen:
            continue
        seen.append(dataset_cfg)
        try:
            built[loader] = DATASETS.build(dataset_cfg)
        except (KeyError, OSError, TypeError, ValueError) as error:
            findings.append(Finding('error', f'{loader}: {error}'))
            continue
        findings += check_dataset(built[loader], loader, cfg, num_decoded)
    findings += check_scan(
        [leaf for loader, dataset in built.items() for leaf in named_leaves(dataset, loader)]
    )
    if 'train_dataloader' in built:
        train = built.pop('train_dataloader')
        for loader, dataset in built.items():
            findings += check_same_classes(
                classes_of(train), classes_of(dataset), 'train_dataloader', loader
            )
        findings += check_training(cfg, train, num_gpus)
    return findings


def check_dataset(dataset: Any, loader: str, cfg: Config, num_decoded: int | None) -> list[Finding]:
    """Check one dataset, or the parts of a combined one."""
    stated = find_key(cfg.get('model'), 'num_classes', 'model')
    findings = check_num_classes(stated, classes_of(dataset), loader)
    leaves = named_leaves(dataset, loader)
    for leaf, name in leaves:
        required = loader == 'train_dataloader' and len(leaves) == 1
        findings += check_objects(leaf, name, find_num_queries(cfg), required)
        findings += check_files(leaf, name, sample=None)
        findings += check_images(leaf, name, num_decoded)
        findings += check_masks(leaf, name, num_decoded)
    return findings
