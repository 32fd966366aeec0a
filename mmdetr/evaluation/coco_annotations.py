"""What scoring needs from a COCO annotation file, checked while it is read."""

import json
import logging
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mmengine.fileio as fileio
from mmengine.logging import print_log


class ScoredObject(NamedTuple):
    """One annotated object.

    Attributes:
        bbox_xywh: Left, top, width, height in pixels of the original image.
        area: In pixels; decides between small, medium and large. COCO states the area of the
            mask, which is smaller than that of the box.
        iscrowd: 1 where a box stands for many objects; detections inside are not counted.
    """

    img_id: Hashable
    cat_id: int
    bbox_xywh: list[float]
    area: float
    iscrowd: int

    @classmethod
    def from_instance(
        cls, img_id: Hashable, instance: dict[str, Any], cat_ids: Sequence[int]
    ) -> 'ScoredObject':
        """From dict(bbox=[x1, y1, x2, y2], bbox_label, ignore_flag), as datasets list them."""
        x1, y1, x2, y2 = map(float, instance['bbox'])
        width, height = x2 - x1, y2 - y1
        return cls(
            img_id=img_id,
            cat_id=cat_ids[instance['bbox_label']],
            bbox_xywh=[x1, y1, width, height],
            area=width * height,
            iscrowd=int(instance.get('ignore_flag', 0)),
        )


@dataclass(frozen=True)
class CocoAnnotations:
    """Images, categories (id to name, by ascending id) and objects of one annotation file."""

    path: str
    img_ids: frozenset
    categories: dict[int, str]
    objects: list[ScoredObject]

    def match_categories(
        self, names: Sequence[str] | None, cat_ids: Sequence[int] | None
    ) -> tuple[list[str], list[int]]:
        """Name and category id of each label, the dataset's against the file's.

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
            if self.categories.get(cat_id, f'unused {cat_id}') != name:
                raise ValueError(
                    f"the dataset's class {name!r} has category id {cat_id}, but the categories "
                    f'of {self.path} are {known}'
                )
        return list(names), list(cat_ids)


def read_annotations(path: str, with_objects: bool = True) -> CocoAnnotations:
    """Reads a COCO annotation file for scoring.

    Boxes are neither clipped nor left out, since published numbers count every annotated box; only
    those with a non-finite number cannot be scored, and a warning counts them.

    Args:
        path: Local path or address of the JSON file.
        with_objects: False where the file is only asked for its images and categories, as for
            test sets that have no annotations.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no COCO annotation file, or an entry is incomplete; the message
            names file and entry.
    """
    try:
        content = json.loads(fileio.get(path), object_hook=_without_segmentation)
    except FileNotFoundError:
        raise FileNotFoundError(f'annotation file {path} does not exist') from None
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error

    needed = ['images', 'categories'] + (['annotations'] if with_objects else [])
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f'{path} is no COCO annotation file: it has no {", ".join(missing)}')
    try:
        img_ids = frozenset(image['id'] for image in content['images'])
        categories = {cat['id']: str(cat['name']) for cat in content['categories']}
    except (KeyError, TypeError) as error:
        raise ValueError(f'{path}: an entry of images or categories lacks {error}') from error
    objects = []
    if with_objects:
        objects = [_read_object(path, annotation) for annotation in content['annotations']]
        objects = _drop_non_finite(path, objects)
    return CocoAnnotations(path, img_ids, dict(sorted(categories.items())), objects)


def _without_segmentation(record: dict[str, Any]) -> dict[str, Any]:
    # Nine tenths of the file, and boxes do not need it.
    record.pop('segmentation', None)
    return record


def _read_object(path: str, annotation: dict[str, Any]) -> ScoredObject:
    try:
        bbox = [float(value) for value in annotation['bbox']]
        _, _, width, height = bbox
        # Files made by hand often leave out these two.
        area = float(annotation.get('area', width * height))
        iscrowd = int(annotation.get('iscrowd', 0))
        return ScoredObject(annotation['image_id'], annotation['category_id'], bbox, area, iscrowd)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: annotation {_name(annotation)} needs image_id, category_id and '
            f'bbox=[x, y, width, height] ({type(error).__name__}: {error})'
        ) from error


def _drop_non_finite(path: str, objects: list[ScoredObject]) -> list[ScoredObject]:
    finite = [all(map(math.isfinite, (*obj.bbox_xywh, obj.area))) for obj in objects]
    if all(finite):
        return objects
    dropped = [obj for obj, known in zip(objects, finite, strict=True) if not known]
    img_ids = list(dict.fromkeys(str(obj.img_id) for obj in dropped))
    print_log(
        f'{path}: {len(dropped)} annotations with a non-finite box or area are not scored, '
        f'in image ids {", ".join(img_ids[:10])}{", ..." if len(img_ids) > 10 else ""}',
        logger='current',
        level=logging.WARNING,
    )
    return [obj for obj, known in zip(objects, finite, strict=True) if known]


def _name(annotation: Any) -> str:
    return f'id {annotation.get("id")}' if isinstance(annotation, dict) else repr(annotation)
