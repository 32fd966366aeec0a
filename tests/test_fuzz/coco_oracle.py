"""What a COCO file holds, found again in plain Python."""

import json
import math
from typing import Any

import numpy as np

INT64 = range(-(2**63), 2**63)


def parse(content: bytes) -> Any:
    """The JSON, or None where it is none or says a key twice."""
    try:
        return json.loads(content, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return None


def is_valid(content: Any, need_files: bool = True, need_annotations: bool = True) -> bool:
    """Whether every statement is there, of its type and not contradicted by another."""
    if not isinstance(content, dict):
        return False
    tables = [content.get(name) for name in ('images', 'categories', 'annotations')]
    if not need_annotations and 'annotations' not in content:
        tables[2] = []
    for table in tables:
        if not isinstance(table, list) or not all(isinstance(record, dict) for record in table):
            return False
    images, categories, annotations = tables
    return (
        bool(images)
        and bool(categories)
        and all(_is_image(each, need_files) for each in images)
        and all(type(c.get('name')) is str and type(c.get('id')) is int for c in categories)
        and all(c['id'] in INT64 for c in categories)
        and all(_is_annotation(each, images, categories) for each in annotations)
        and all(_all_different(table, 'id') for table in tables)
        and _all_different(categories, 'name')
    )


def objects(content: dict) -> tuple[list[list[tuple]], dict[str, int]]:
    """Per image the objects (bbox xyxy, label, crowd), and how many boxes had which problem."""
    labels = sorted(each['id'] for each in content['categories'])
    found: list[list[tuple]] = []
    counts = {'non-finite': 0, 'zero size': 0, 'outside': 0, 'clipped': 0}
    for image in content['images']:
        found.append([])
        for each in content.get('annotations', []):
            if each['image_id'] != image['id'] or type(each['image_id']) is not type(image['id']):
                continue
            problem, bbox = clean(each['bbox'], image['width'], image['height'])
            if problem:
                counts[problem] += 1
            if bbox:
                crowd = int(each.get('iscrowd', 0))
                found[-1].append((bbox, labels.index(each['category_id']), crowd))
    return found, {problem: count for problem, count in counts.items() if count}


def clean(bbox: list, width: float, height: float) -> tuple[str | None, list[float] | None]:
    """What is wrong with one box, and what of it lies in the image."""
    try:
        left, top, box_width, box_height = map(float, bbox)
    except OverflowError:
        return 'non-finite', None
    if not all(map(math.isfinite, (left, top, box_width, box_height))):
        return 'non-finite', None
    if box_width <= 0 or box_height <= 0:
        return 'zero size', None
    corners = [left, top, left + box_width, top + box_height]
    inner = [min(max(c, 0.0), float(s)) for c, s in zip(corners, [width, height] * 2, strict=True)]
    if inner[2] <= inner[0] or inner[3] <= inner[1]:
        return 'outside', None
    if not np.all(np.float32(inner[2:]) > np.float32(inner[:2])):
        return 'zero size', None
    lost = max(abs(a - b) for a, b in zip(inner, corners, strict=True))
    return ('clipped' if lost > 0.01 else None), inner


def scored(content: dict) -> list[dict]:
    """The annotations that a COCO evaluation can count, their area stated."""
    kept = []
    for each in content.get('annotations', []):
        try:
            bbox = [float(number) for number in each['bbox']]
            area = bbox[2] * bbox[3] if each.get('area') is None else float(each['area'])
        except OverflowError:
            continue
        if all(map(math.isfinite, bbox)) and min(bbox[2:]) >= 0 and 0 <= area <= 1e10:
            kept.append({**each, 'bbox': bbox, 'area': area})
    return kept


def _without_repeats(pairs: list) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError('a key is repeated')
    return dict(pairs)


def _is_image(image: dict, need_files: bool) -> bool:
    if type(image.get('id')) not in (int, str):
        return False
    if not need_files:
        return True
    sides = image.get('width'), image.get('height')
    return type(image.get('file_name')) is str and all(
        type(side) in (int, float)
        and 1 <= side < 2**31
        and math.isfinite(side)
        and int(side) == side
        for side in sides
    )


def _is_annotation(each: dict, images: list, categories: list) -> bool:
    bbox, crowd, area = each.get('bbox'), each.get('iscrowd', 0), each.get('area')
    return (
        type(each.get('id')) is int
        and type(each.get('image_id')) in (int, str)
        and each['image_id'] in [image['id'] for image in images]
        and type(each.get('category_id')) is int
        and each['category_id'] in [category['id'] for category in categories]
        and isinstance(bbox, list)
        and len(bbox) == 4
        and all(type(number) in (int, float) for number in bbox)
        and isinstance(crowd, int | float)
        and crowd in (0, 1)
        and (area is None or type(area) in (int, float))
    )


def _all_different(records: list[dict], key: str) -> bool:
    keys = [each[key] for each in records]
    return len(set(keys)) == len(keys)
