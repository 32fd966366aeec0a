"""Datasets inside of wrappers: mmengine's, torch's and the runner's own."""

from typing import Any


def parts(dataset: Any) -> list[Any]:
    """Return the datasets that a wrapper holds directly; none for what is no wrapper."""
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def leaf_datasets(dataset: Any) -> list[Any]:
    """Return the innermost datasets of a wrapper, or a dataset that is no wrapper itself."""
    inner = parts(dataset)
    return [leaf for part in inner for leaf in leaf_datasets(part)] if inner else [dataset]


def pipeline_steps(dataset: Any) -> list | None:
    """Return the built steps of a dataset's own pipeline; None where it has none."""
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
