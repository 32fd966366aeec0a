"""What tools/infer.py looks at: image files, a URL, a video, a camera; picture by picture."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmdetr.datasets.image_scan import scan_images
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.utils.text import shorten

from .image_files import find_images
from .images import is_url, name_in_url, to_pipeline_input

MAY_BE_SEVERAL = ('.apng', '.gif', '.tif', '.tiff', '.webp')
WRITABLE = ('.jpeg', '.jpg', '.png')
VIDEO_SUFFIXES = (
    '.3gp',
    '.asf',
    '.avi',
    '.flv',
    '.m2ts',
    '.m4v',
    '.mkv',
    '.mov',
    '.mp4',
    '.mpeg',
    '.mpg',
    '.mts',
    '.ogv',
    '.ts',
    '.webm',
    '.wmv',
)


@dataclass(frozen=True)
class Picture:
    """One image to detect objects in.

    Attributes:
        file: Where it is from.
        name: File below the output folder that a drawing of it is for.
        image: uint8 [h, w, 3] BGR.
        where: Its ``frame`` and ``time`` (s) in a video.
    """

    file: str
    name: Path
    image: np.ndarray
    where: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Something that pictures come from.

    Attributes:
        total: Number of pictures; 0 where it is not known.
        unreadable: Pictures so far that could not be read.
    """

    total: int
    unreadable: int

    @property
    def video_name(self) -> Path | None:
        """File below the output folder for a drawn video; None for single pictures."""

    def read(self, load: Callable[[dict], dict]) -> Iterator[Picture]:
        """Yield the pictures.

        Args:
            load: The loading step of a pipeline.
        """


class ImageFiles:
    """Image files or a URL.

    Args:
        images: File, URL, folder or pattern.
        out_dir: Folder of what is made, which is no input.

    Raises:
        ValueError: Nothing is found, or a drawing would replace an input.
    """

    video_name = None

    def __init__(self, images: str, out_dir: Path) -> None:
        self.unreadable = 0
        self.skipped: list[Path] = []
        if is_url(images):
            name = Path(name_in_url(images))
            if name.suffix.lower() not in WRITABLE:
                name = Path(f'{name}.png')
            self.files: list[Path | str] = [images]
            self.names = [name]
        else:
            found, self.skipped = find_images(images, out_dir)
            if not found:
                below = (
                    Path(images).is_dir() and Path(images).resolve() in out_dir.resolve().parents
                )
                hint = f' (what is below --out-dir {out_dir} is no input)' if below else ''
                raise ValueError(f'no image found: {images}{hint}')
            self.files, self.names = list(found), name_pictures(found, out_dir)
        self.total = len(self.files)

    def read(self, load: Callable[[dict], dict]) -> Iterator[Picture]:
        """Yield the images; an error line names those that cannot be read."""
        if self.skipped:
            print(
                f'passed over {len(self.skipped)} files that are no images: {shorten(self.skipped)}'
            )
        paths = [str(file) for file in self.files if Path(file).suffix.lower() in MAY_BE_SEVERAL]
        several = scan_images(paths, cache=False).several
        if several:
            print(
                f'{len(several)} files hold several pictures, of which the first is looked at: '
                + shorten(several)
            )
        for file, name in zip(self.files, self.names, strict=True):
            try:
                image = to_pipeline_input(file, load)['img']
            except UnreadableImageError as error:
                self.unreadable += 1
                print(f'error: {error}', file=sys.stderr)
                continue
            yield Picture(str(file), name, image)


def name_pictures(files: list[Path], out_dir: Path) -> list[Path]:
    """Name a picture below ``out_dir`` for each file; folders are kept, so that no two collide.

    Raises:
        ValueError: A picture would replace a file.
    """
    common = os.path.commonpath([file.parent.absolute() for file in files])
    images = {file.resolve() for file in files}
    named: dict[Path, Path] = {}
    taken: set[Path] = set()
    # Those that keep their name first: a.gif becomes a.gif.png, and there may be such a file.
    for file in sorted(files, key=lambda file: file.suffix.lower() not in WRITABLE):
        picture = file.absolute().relative_to(common)
        if picture.suffix.lower() not in WRITABLE:
            picture = picture.with_name(f'{picture.name}.png')
        while picture in taken:
            picture = picture.with_name(f'{picture.name}.png')
        if (out_dir / picture).resolve() in images:
            raise ValueError(f'the picture of {file} would replace it: choose another --out-dir')
        named[file] = picture
        taken.add(picture)
    return [named[file] for file in files]
