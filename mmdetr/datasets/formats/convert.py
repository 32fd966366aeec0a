"""From a folder of data in any known format to clean COCO JSON."""

import os
from dataclasses import dataclass
from pathlib import Path

from .clean import clean_pictures
from .recognise import Format, read_folder
from .records import Collection, FormatError
from .split import VAL_SHARE, split_pictures
from .statistics import describe, every_problem, first_reasons, summarise
from .voc import VocPixels
from .write import IMAGES, ImageUse, common_root, write_coco

REPORT = 'conversion.txt'


@dataclass
class Conversion:
    """What a conversion has written.

    Attributes:
        files: JSON file by part: train, val and perhaps test.
        image_root: Folder that ``file_name`` counts from.
        collection: The cleaned data.
        lines: What was found and done, for a terminal.
    """

    files: dict[str, Path]
    image_root: Path
    collection: Collection
    lines: list[str]


def convert(
    source: str | Path,
    target: str | Path,
    fmt: Format | None = None,
    images: ImageUse = 'reference',
    seed: int = 0,
    val_share: float = VAL_SHARE,
    group: str | None = None,
    named_parts: tuple[str | None, str | None] = (None, None),
    voc_pixels: VocPixels = 'auto',
) -> Conversion:
    """Read a data set, clean and split it, and write train.json, val.json and perhaps test.json.

    Args:
        source, fmt, voc_pixels: See :func:`~.recognise.read_folder`.
        target, images: See :func:`~.write.write_coco`. What was dropped, repaired and noted is
            listed there in conversion.txt, one line for each place.
        seed, val_share, group, named_parts: See :func:`~.split.split_pictures`.

    Raises:
        FormatError: See there.
    """
    target = Path(os.path.abspath(Path(target).expanduser()))
    collection = read_folder(source, fmt, voc_pixels)
    clean_pictures(collection.pictures, collection.problems)
    root = common_root(collection)
    done = split_pictures(collection, root, seed, val_share, group, named_parts)
    if not any(each.boxes for each in collection.pictures):
        raise FormatError(
            f'{source}: {len(collection.pictures)} images, but not one box: '
            f'{first_reasons(collection.problems)}'
        )
    files = write_coco(collection, target, root, images)
    lines = [
        f'{collection.format}: {len(collection.pictures)} images of {source}',
        *collection.conventions,
        done,
        *describe(collection),
    ]
    rows = [*lines, '', *every_problem(collection.problems)]
    (target / REPORT).write_text('\n'.join(rows) + '\n', encoding='utf-8')
    if problems := list(summarise(collection.problems)):
        lines += [*problems, f'all of these, one by one: {target / REPORT}']
    image_root = root if images == 'reference' else target / IMAGES
    return Conversion(files, image_root, collection, lines)
