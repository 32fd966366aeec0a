"""Text for messages."""

from collections.abc import Iterable


def shorten(items: Iterable, limit: int = 5, separator: str = ', ') -> str:
    """List the first items and say how many are left out.

    Args:
        items: Anything that ``str`` takes.
        limit: Number of items to show.
        separator: Text between two items.

    Example:
        >>> shorten(range(7), limit=3)
        '0, 1, 2, and 4 more'
    """
    texts = [str(item) for item in items]
    if len(texts) > limit:
        texts[limit:] = [f'and {len(texts) - limit} more']
    return separator.join(texts)
