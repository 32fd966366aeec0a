"""Look at masks before they are learnt: empty ones, those that leave their box or image, PNGs."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mmdetr.utils.text import shorten

from .check import Finding, _exists, image_infos, rate_bad_images
from .coco_masks import segmentation_problem, to_rle
from .panoptic_maps import segment_bboxes
from .transforms import UnreadableImageError, load_segment_ids

TOLERANCE = 2.0  # pixels by which a mask may leave its box, or a corner the image


class _Mask(NamedTuple):
    """What is looked at of one mask, beside its image's id."""

    area: float
    bbox_xyxy: list[float]
    is_polygon: bool
    beyond_box: float  # pixels
    beyond_image: float  # pixels, of a polygon's corners


def check_masks(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Describe masks or segments, and find those that cannot be what was meant.

    Args:
        dataset: One of :func:`~.check.named_leaves`; one without masks gives no findings.
        name: How messages call it.
        sample: Number of images whose masks are drawn, evenly spread; None for all.
    """
    if not len(dataset):
        return []
    first = dataset.get_data_info(0)
    if 'seg_map_path' in first:
        return _check_missing(dataset, name) + _check_segments(dataset, name, sample)
    infos = [info for info in image_infos(dataset, sample) if 'instances' in info]
    if not any('mask' in each for info in infos for each in info['instances']):
        return []
    masks = {
        info['img_id']: [
            _look_at(each, info['width'], info['height'])
            for each in info['instances']
            if 'mask' in each and _is_drawable(each['mask'], info)
        ]
        for info in infos
    }
    return _describe(masks, name) + _complain(masks, name)


def _is_drawable(segmentation: Any, info: dict) -> bool:
    """Whether a dataset's mask can be drawn; a CocoDataset left out the others itself."""
    if isinstance(segmentation, dict) and isinstance(segmentation.get('counts'), bytes):
        return True
    return segmentation_problem(segmentation, info['width'], info['height']) is None


def _look_at(instance: dict, width: int, height: int) -> _Mask:
    rle = to_rle(instance['mask'], width, height)
    x, y, w, h = coco_mask.toBbox(rle).tolist()
    tight, area = [x, y, x + w, y + h], float(coco_mask.area(rle))
    box = instance['bbox']
    beyond_box = 0.0
    if area:
        beyond_box = max(box[0] - tight[0], box[1] - tight[1], tight[2] - box[2], tight[3] - box[3])
    is_polygon = isinstance(instance['mask'], list)
    beyond_image = 0.0
    if is_polygon:
        corners = np.concatenate([np.reshape(part, (-1, 2)) for part in instance['mask']])
        beyond_image = float(max(-corners.min(), (corners - (width, height)).max(), 0))
    return _Mask(area, tight, is_polygon, beyond_box, beyond_image)


def _describe(masks: dict[Any, list[_Mask]], name: str) -> list[Finding]:
    every = [mask for each in masks.values() for mask in each]
    if not every:
        return []
    areas = np.array([mask.area for mask in every])
    polygons = sum(mask.is_polygon for mask in every)
    return [
        Finding(
            'info',
            f'{name}: {len(every)} masks in {len(masks)} images looked at, {polygons} polygons and '
            f'{len(every) - polygons} run lengths; areas of {areas.min():.0f} to '
            f'{areas.max():.0f} pixels, half of them up to {np.median(areas):.0f}',
        )
    ]


def _complain(masks: dict[Any, list[_Mask]], name: str) -> list[Finding]:
    total = sum(map(len, masks.values()))
    kinds = {
        'have no pixel, as polygons thinner than one: box and class are learnt all the same': (
            lambda mask: not mask.area
        ),
        f'leave their box by more than {TOLERANCE:g} pixels: box or mask is of another object, or '
        'of another size of the image': lambda mask: mask.beyond_box > TOLERANCE,
        f'have corners more than {TOLERANCE:g} pixels outside of their image: compare sizes and '
        'polygons of the file': lambda mask: mask.beyond_image > TOLERANCE,
    }
    findings = []
    for text, is_bad in kinds.items():
        ids = [img_id for img_id, each in masks.items() for mask in each if is_bad(mask)]
        if ids:
            shown = shorten(dict.fromkeys(ids))
            findings.append(
                Finding(
                    'warning',
                    f'{name}: {len(ids)} of {total} masks looked at, in image ids {shown}, {text}',
                )
            )
    return findings


def _check_missing(dataset: Any, name: str) -> list[Finding]:
    paths = [info['seg_map_path'] for info in image_infos(dataset) if 'seg_map_path' in info]
    missing = [path for path in paths if not _exists(path)]
    if not missing:
        return []
    level = rate_bad_images(dataset, len(missing), len(missing) == len(paths))
    return [
        Finding(
            level,
            f'{name}: {len(missing)} of {len(paths)} panoptic PNGs are missing: '
            f"{shorten(missing)}. Check data_prefix['seg'], or file_name in the annotation file",
        )
    ]


def _check_segments(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Read PNGs, and compare them with what the annotation file says of them."""
    problems: list[str] = []
    pixels: Counter = Counter()
    kinds: Counter = Counter()
    other_boxes: list = []
    isthing = dataset.metainfo['isthing']
    infos = [info for info in image_infos(dataset, sample) if _exists(info['seg_map_path'])]
    for info in infos:
        try:
            ids = load_segment_ids(info)
        except UnreadableImageError as error:
            problems.append(str(error))
            continue
        pixels.update(void=int((ids == 0).sum()), all=ids.size)
        chosen = [each for each in info['segments'] if each['label'] >= 0]
        kinds.update('things' if isthing[each['label']] else 'stuff' for each in chosen)
        kinds.update('crowds' for each in chosen if each['iscrowd'])
        found = segment_bboxes(ids, [each['id'] for each in chosen])
        stated = np.array([each['bbox'] for each in info['instances']]).reshape(-1, 4)
        # The authors' boxes end at the last pixel, the file's behind it.
        if (np.abs(found + np.array([0, 0, 1, 1]) - stated) > TOLERANCE).any():
            other_boxes.append(info['img_id'])
    findings = _describe_segments(name, len(infos) - len(problems), kinds, pixels)
    if problems:
        level = rate_bad_images(dataset, len(problems), len(problems) == len(infos))
        findings.append(
            Finding(
                level,
                f'{name}: {len(problems)} of {len(infos)} panoptic PNGs looked at cannot be used: '
                + shorten(problems, separator='; '),
            )
        )
    if other_boxes:
        findings.append(
            Finding(
                'warning',
                f'{name}: boxes of the annotation file are others than those of the PNGs by more '
                f'than {TOLERANCE:g} pixels in {len(other_boxes)} of {len(infos)} images looked '
                f'at, ids {shorten(other_boxes)}: boxes are learnt from the PNGs',
            )
        )
    return findings


def _describe_segments(
    name: str, num_images: int, kinds: Counter, pixels: Counter
) -> list[Finding]:
    if not num_images:
        return []
    return [
        Finding(
            'info',
            f'{name}: {kinds["things"]} things and {kinds["stuff"]} segments of stuff in '
            f'{num_images} PNGs looked at, {kinds["crowds"]} of them crowds; '
            f'{pixels["void"] / pixels["all"]:.1%} of the pixels are void',
        )
    ]
