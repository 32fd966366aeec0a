"""Sizes of image files by their headers, in the frame that boxes are meant in."""

from collections.abc import Sequence
from pathlib import Path

from mmdetr.datasets.image_scan import scan_images
from mmdetr.utils.orientation import stated_frame

from .records import Picture, Problems
from .tree import Tree


class ImageSizes:
    """Headers of many image files, read once.

    Args:
        paths: Of the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._scan = scan_images([str(path) for path in paths])

    def problem(self, path: Path) -> str | None:
        """Say why a file is of no use; None where it is."""
        key = str(path)
        return self._scan.useless.get(key) or self._scan.problems.get(key)

    def note_several(self, pictures: Sequence[Picture], tree: Tree, problems: Problems) -> None:
        """Count files that hold several pictures, as frames or pages."""
        for each in pictures:
            number = self._scan.several.get(str(each.path))
            if number is not None:
                reason = 'files of several pictures, of which the first is used'
                problems.noted[reason].append(f'{tree.name(each.path)} ({number})')

    def shown(self, path: Path) -> tuple[int, int] | None:
        """(w, h) of an image as viewers and labelling tools show it."""
        key = str(path)
        if key in self._scan.turned:
            return self._scan.turned[key][1]['shown']
        return self._scan.sizes.get(key)

    def fits(self, path: Path, stated: tuple[int, int]) -> bool:
        """Say whether a stated size is that of the image, as it is stored or as it is shown."""
        key = str(path)
        if key in self._scan.turned:
            frames = self._scan.turned[key][1]
            return stated_frame(frames, stated) is not None or stated == frames['shown']
        return stated == self._scan.sizes.get(key)
