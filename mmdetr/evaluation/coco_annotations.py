"""Read from a COCO annotation file what scoring needs."""

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log

from mmdetr.datasets.coco_json import CocoJson, read_coco_json
from mmdetr.datasets.coco_masks import find_bad_segmentations, to_rle
from mmdetr.utils.text import shorten

LARGEST_AREA = 1e10  # of the COCO evaluation's ranges
IDS_SHOWN = 10


class ScoredObject(NamedTuple):
    """One annotated object.

    Attributes:
        bbox_xywh: Left, top, width, height in pixels of the original image.
        area: In pixels; decides between small, medium and large. COCO states the area of the
            mask, which is smaller than that of the box.
        iscrowd: 1 where a box stands for many objects; detections inside are not counted.
        mask: COCO's compressed run lengths in pixels of the original image, where masks are scored
            and the object has one.
    """

    img_id: Hashable
    cat_id: int
    bbox_xywh: list[float]
    area: float
    iscrowd: int
    mask: dict | None = None

    @classmethod
    def from_instance(
        cls,
        img_id: Hashable,
        instance: dict[str, Any],
        cat_ids: Sequence[int],
        mask_size: tuple[int, int] | None = None,
    ) -> 'ScoredObject':
        """Take dict(bbox=[x1, y1, x2, y2], bbox_label, ignore_flag), as datasets list them.

        ``area`` is that of the box where the dataset states none. ``mask_size``, (h, w) of the
        original image, asks for the mask, too.

        Raises:
            ValueError: A mask is asked for, but there is none.
        """
        if mask_size is not None and 'mask' not in instance:
            raise ValueError(
                f'image id {img_id}: the ground truth has no masks to score with: set '
                'with_mask=True of the dataset, or ann_file of CocoMetric'
            )
        x1, y1, x2, y2 = map(float, instance['bbox'])
        width, height = x2 - x1, y2 - y1
        return cls(
            img_id=img_id,
            cat_id=cat_ids[instance['bbox_label']],
            bbox_xywh=[x1, y1, width, height],
            area=float(instance.get('area', width * height)),
            iscrowd=int(instance.get('ignore_flag', 0)),
            mask=mask_size and to_rle(instance['mask'], mask_size[1], mask_size[0]),
        )


@dataclass(frozen=True)
class CocoAnnotations:
    """Images, categories (id to name, by ascending id) and objects of one annotation file."""

    path: str
    img_ids: frozenset
    categories: dict[int, str]
    objects: list[ScoredObject]
    placeholders: dict[int, str] = field(default_factory=dict)

    def match_categories(
        self, names: Sequence[str] | None, cat_ids: Sequence[int] | None
    ) -> tuple[list[str], list[int]]:
        """Match the dataset's classes with the file's: name and category id of each label.

        Args:
            names: The dataset's classes in the order of labels; None takes all of the file.
            cat_ids: Their category ids where the dataset knows them; None looks up the names.

        Raises:
            ValueError: The file does not know a class, or knows it by another name.
        """
        known = ', '.join(f'{cat_id} {name!r}' for cat_id, name in self.categories.items())
        if names is None:
            return list(self.categories.values()), list(self.categories)
        if cat_ids is None:
            id_of = {name: cat_id for cat_id, name in self.categories.items()}
            unknown = [name for name in names if name not in id_of]
            if unknown:
                raise ValueError(f'{self.path} has no class {unknown[0]!r}, only {known}')
            cat_ids = [id_of[name] for name in names]
        for name, cat_id in zip(names, cat_ids, strict=True):
            # A dataset with category ids as labels has classes for unused ids, without objects.
            own = self.categories.get(cat_id, f'unused {cat_id}')
            # Someone may mean what is left out as an exporter's placeholder.
            if name not in (own, self.placeholders.get(cat_id)):
                raise ValueError(
                    f"the dataset's class {name!r} has category id {cat_id}, but the categories "
                    f'of {self.path} are {known}'
                )
        return list(names), list(cat_ids)


def read_annotations(
    path: str, with_objects: bool = True, with_masks: bool = False
) -> CocoAnnotations:
    """Read a COCO annotation file for scoring.

    Boxes are neither clipped nor left out, since published numbers count every annotated box; only
    those that the COCO evaluation would pass over in silence are dropped, and a warning counts
    them: a number that is not finite, a negative side, an area outside of 0..1e10.

    Args:
        path: Local path or address of the JSON file.
        with_objects: False where the file is only asked for its images and categories, as for
            test sets that have no annotations.
        with_masks: Give the objects masks, too. Those whose segmentation is missing or cannot be
            drawn get none, and a warning counts them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is broken, see :func:`~mmdetr.datasets.coco_json.read_coco_json`, or
            none of its objects has the mask that is asked for.
    """
    with_masks = with_masks and with_objects
    coco = read_coco_json(
        path,
        need_annotations=with_objects,
        need_files=with_masks,
        with_segmentations=with_masks,
    )
    img_ids = [image['id'] for image in coco.images]
    objects = []
    if with_objects:
        kept = _scorable(coco)
        _warn_of_dropped(path, [img_ids[index] for index in coco.image_indices[~kept]])
        columns = zip(
            coco.image_indices[kept].tolist(),
            coco.category_ids[kept].tolist(),
            coco.bboxes_xywh[kept].tolist(),
            coco.areas[kept].tolist(),
            coco.iscrowd[kept].tolist(),
            _read_masks(path, coco, kept) if with_masks else [None] * int(kept.sum()),
            strict=True,
        )
        objects = [
            ScoredObject(img_ids[index], cat_id, bbox, area, int(iscrowd), mask)
            for index, cat_id, bbox, area, iscrowd, mask in columns
        ]
    return CocoAnnotations(path, frozenset(img_ids), coco.categories, objects, coco.placeholders)


def _read_masks(path: str, coco: CocoJson, kept: np.ndarray) -> list[dict | None]:
    """Return the masks of the kept annotations, None where there is none to be drawn."""
    assert coco.segmentations is not None
    rows = kept.nonzero()[0]
    images = [coco.images[index] for index in coco.image_indices[rows]]
    sizes = np.array([(image['width'], image['height']) for image in images]).reshape(-1, 2)
    segmentations = [coco.segmentations[row] for row in rows.tolist()]
    problems = find_bad_segmentations(segmentations, sizes)
    bad = np.any([*problems.values()], axis=0)
    if len(rows) and bad.all():
        raise ValueError(
            f'{path}: none of {len(rows)} annotations has a segmentation that can be drawn: masks '
            "cannot be scored with it. Set metric='bbox' of CocoMetric"
        )
    if bad.any():
        reasons = ', '.join(f'{each.sum()} {name}' for name, each in problems.items() if each.any())
        ids = dict.fromkeys(images[index]['id'] for index in bad.nonzero()[0])
        print_log(
            f'{path}: masks of {bad.sum()} annotations are not scored ({reasons}), in image ids '
            f'{shorten(ids, limit=IDS_SHOWN)}',
            logger='current',
            level=logging.WARNING,
        )
    return [
        None if is_bad else to_rle(segmentation, width, height)
        for segmentation, (width, height), is_bad in zip(
            segmentations, sizes.tolist(), bad.tolist(), strict=True
        )
    ]


def _scorable(coco: CocoJson) -> np.ndarray:
    """Return [M] bool, True where the COCO evaluation counts the object."""
    finite = np.isfinite(coco.bboxes_xywh).all(axis=1)
    positive = (coco.bboxes_xywh[:, 2:] >= 0).all(axis=1)
    return finite & positive & (coco.areas >= 0) & (coco.areas <= LARGEST_AREA)


def _warn_of_dropped(path: str, img_ids: list) -> None:
    if not img_ids:
        return
    shown = shorten(dict.fromkeys(img_ids), limit=IDS_SHOWN)
    print_log(
        f'{path}: {len(img_ids)} annotations with a non-finite number, a negative side or an '
        f'impossible area are not scored, in image ids {shown}',
        logger='current',
        level=logging.WARNING,
    )
