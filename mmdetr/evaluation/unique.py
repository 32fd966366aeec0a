"""One result for each image, whatever samplers repeated and ranks gathered."""

import logging
from collections.abc import Hashable

from mmengine.logging import print_log


def one_per_image(results: list[dict], dataset_size: int | None, metric: str) -> list[dict]:
    """Keep one result per image, by ascending id: scores must not depend on the order.

    Args:
        results: Dicts with ``img_id``.
        dataset_size: Number of images that should have come; a warning says what is missing.
        metric: How messages call the metric.

    Raises:
        ValueError: There are no results.
    """
    by_id: dict[Hashable, dict] = {}
    for result in results:
        by_id.setdefault(result['img_id'], result)
    if not by_id:
        raise ValueError(f'{metric} got no image to score: is the dataset empty?')
    if dataset_size is not None and len(by_id) < dataset_size:
        print_log(
            f'the dataset has {dataset_size} images, but results came with only {len(by_id)} '
            'different image ids: the others are not scored',
            logger='current',
            level=logging.WARNING,
        )
    # Numbers and names do not compare, and a file may have both.
    return sorted(by_id.values(), key=lambda r: (isinstance(r['img_id'], str), r['img_id']))
