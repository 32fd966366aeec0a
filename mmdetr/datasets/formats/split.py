"""Which images are trained on and which are validated on."""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from .records import Collection, FormatError, Picture

VAL_SHARE = 0.2
PARTS = ('train', 'val', 'test')


def split_pictures(
    collection: Collection,
    root: Path,
    seed: int = 0,
    val_share: float = VAL_SHARE,
    group: str | None = None,
    named: tuple[str | None, str | None] = (None, None),
) -> str:
    """Give each picture one of the parts train, val and test, in place.

    A split that the data have is kept: train and val, with test where there is one. Data with train
    and test alone are validated on test. Data without a split, with one part, or whose images to
    validate on are all trained on, are split by seed.

    Args:
        collection: As it was read; images of other parts are dropped and counted.
        root: File names count from here for ``group``.
        seed: Of the drawing.
        val_share: Share of the images to validate on, where they are split here.
        group: Regular expression for file names; images with the same match (of its first
            group in brackets, if it has one) stay together. For frames of one video.
        named: Which parts of the data to train and to validate on, instead of train and val.

    Returns:
        What was done, in words.

    Raises:
        FormatError: A named part is not there, the expression is none, or there is too little.
    """
    present = {part for each in collection.pictures for part in each.parts}
    train, val = _parts(present, named)
    if train is not None and val is not None:
        text = _keep(collection, train, val, root)
        if any(each.split == 'val' for each in collection.pictures):
            return text
    pictures = sorted(
        (each for each in collection.pictures if each.split != 'test'), key=lambda each: each.path
    )
    groups = _group(pictures, root, group)
    if len(groups) < 2:
        what = 'groups of images' if group else 'images'
        raise FormatError(f'{len(groups)} {what}: training and validation need two at least')
    chosen = _draw(groups, seed, val_share)
    for name, members in groups.items():
        for each in members:
            each.split = 'val' if name in chosen else 'train'
    single = [name for name, members in groups.items() if len(members) == 1]
    text = f'split by seed {seed}, {val_share:.0%} for validation'
    if train is not None and val is not None:
        text += f', since all images of {val} are in {train} as well'
    if group:
        text += f', {len(groups)} groups by {group!r} kept together ({len(single)} of one image)'
    return text


def _parts(
    present: set[str], named: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    for name in named:
        if name is not None and name not in present:
            raise FormatError(
                f'the data have no part {name!r}; they have {", ".join(sorted(present)) or "none"}'
            )
    train, val = named
    if train is None:
        train = 'train' if 'train' in present else 'trainval' if 'trainval' in present else None
    if val is None:
        others = [name for name in ('val', 'test') if name in present and name != train]
        val = others[0] if others else None
    if train is not None and train == val:
        raise FormatError(f'{train} cannot be trained and validated on')
    return train, val


def _keep(collection: Collection, train: str, val: str, root: Path) -> str:
    meant = {train: 'train', val: 'val'}
    meant.setdefault('test', 'test')
    problems, kept = collection.problems, []
    for each in collection.pictures:
        name = each.path.relative_to(root).as_posix()
        found = [split for part, split in meant.items() if part in each.parts]
        if not found:
            problems.dropped[f'images in none of the parts {train} and {val}'].append(name)
            continue
        if len(found) > 1:
            reason = f'images in more than one part, left to {found[0]}'
            problems.noted[reason].append(f'{name}: {", ".join(found)}')
        each.split = found[0]
        kept.append(each)
    collection.pictures = kept
    return f'the split of the data is kept: {train} for training, {val} for validation'


def _group(pictures: Sequence[Picture], root: Path, group: str | None) -> dict[str, list[Picture]]:
    try:
        pattern = re.compile(group) if group else None
    except re.error as error:
        raise FormatError(f'--group {group!r} is no regular expression: {error}') from None
    groups: dict[str, list[Picture]] = defaultdict(list)
    for each in pictures:
        name = each.path.relative_to(root).as_posix()
        match = pattern.search(name) if pattern else None
        # A name that does not match is on its own, and no match of others is equal to it.
        key = f'={match[1 if match.re.groups else 0]}' if match else name
        groups[key].append(each)
    return dict(groups)


def _draw(groups: dict[str, list[Picture]], seed: int, val_share: float) -> set[str]:
    """Draw groups until they have so many of the images, and leave one at least for training."""
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    total = sum(map(len, groups.values()))
    chosen: set[str] = set()
    number = 0
    for name in names[:-1]:
        size = len(groups[name])
        # A group that overshoots by more than it would be missed is left for training.
        if chosen and number + size / 2 > val_share * total:
            continue
        chosen.add(name)
        number += size
        if number >= val_share * total:
            break
    return chosen
