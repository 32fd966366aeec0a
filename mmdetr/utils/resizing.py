"""The size that an image gets, the same in training, testing and deployment."""

MOST_PIXELS = 100_000_000  # of a resized image


def short_side_size(size: tuple[int, int], short: int, longest: int | None) -> tuple[int, int]:
    """Bring the short side to ``short`` and keep the long one within ``longest``.

    Args:
        size: (w, h), in either order.
        short: Wanted length of the short side; smaller where the long side would pass its limit.
        longest: Limit of the long side; None for no limit.

    Returns:
        The new size in the order of ``size``. The long side is truncated, not rounded.

    Source: facebookresearch/detr, datasets/transforms.py; the floor of one pixel is ours.
    """
    shorter, longer = sorted(size)
    if longest is not None and longer / shorter * short > longest:
        short = round(longest * shorter / longer)
        if short < 1:  # thinner than a pixel
            return (1, longest) if size[0] < size[1] else (longest, 1)
    if short == shorter:
        return size
    width, height = size
    if width < height:
        return short, int(short * height / width)
    return int(short * width / height), short


def resized_size(
    size: tuple[int, int], scale: tuple[int, int | None], keep_ratio: bool
) -> tuple[int, int]:
    """Return (w, h) of the image that ``Resize`` makes of one of (w, h).

    Args:
        size: (w, h).
        scale: As of :class:`~mmdetr.datasets.transforms.Resize`.
        keep_ratio: As there.

    Raises:
        TypeError: ``scale`` is no pair, or has no second side where both are needed.
    """
    if not isinstance(scale, list | tuple) or len(scale) != 2 or scale[0] is None:
        raise TypeError(
            f'scale of Resize must be a pair such as (800, 1333) or (400, None), got {scale!r}'
        )
    first, second = scale
    if not keep_ratio:
        if second is None:
            raise TypeError(f'scale {scale} of Resize needs keep_ratio=True')
        return first, second
    if second is None:
        return short_side_size(size, first, None)
    return short_side_size(size, min(first, second), max(first, second))
