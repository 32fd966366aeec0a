"""Bring annotated objects and the images that were predicted on together."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from .coco_annotations import CocoAnnotations, ScoredObject
from .detections import IouType


def listed_objects(
    results: Sequence[dict], cat_ids: Sequence[int], iou_type: IouType
) -> list[ScoredObject]:
    """Return the ``instances`` of all results, with their masks where these are compared.

    Args:
        results: Per image ``img_id``, ``instances`` and, for masks, ``ori_shape``.
        cat_ids: Category id of each label.
        iou_type: Whether boxes or masks are compared.
    """
    return [
        ScoredObject.from_instance(
            result['img_id'],
            instance,
            cat_ids,
            result['ori_shape'] if iou_type == 'segm' else None,
        )
        for result in results
        for instance in result['instances']
    ]


def check_images(annotations: CocoAnnotations, img_ids: Iterable[Hashable]) -> None:
    """Refuse predictions for images that the annotation file does not know.

    Raises:
        ValueError: The message names file and id.
    """
    unknown = set(img_ids) - annotations.img_ids
    if unknown:
        raise ValueError(
            f'{len(unknown)} predicted image ids are not in {annotations.path}, the first '
            f'is {next(iter(unknown))!r}: ann_file of CocoMetric and of the dataset must be the '
            'same'
        )


def ground_truth(
    objects: Iterable[ScoredObject],
    results: Sequence[dict],
    cat_ids: Sequence[int],
    iou_type: IouType,
) -> list[dict[str, Any]]:
    """Return the objects that count as :func:`~.box_scores.score_boxes` takes them.

    Args:
        objects: Of these images and others, of these classes and others.
        results: Per image ``img_id`` and, for masks, ``ori_shape``.
        cat_ids: Category ids of the classes that are scored.
        iou_type: Whether boxes or masks are compared; objects without a mask are left out of the
            latter.

    Raises:
        ValueError: A mask has another size than the image that was predicted on.
    """
    index_of = {result['img_id']: i for i, result in enumerate(results)}
    class_of = {cat_id: k for k, cat_id in enumerate(cat_ids, start=1)}
    scored = []
    for each in objects:
        if each.img_id not in index_of or each.cat_id not in class_of:
            continue
        index = index_of[each.img_id]
        truth: dict[str, Any] = dict(
            image_id=index + 1,
            category_id=class_of[each.cat_id],
            bbox=each.bbox_xywh,
            area=each.area,
            iscrowd=each.iscrowd,
        )
        if iou_type == 'segm':
            if each.mask is None:  # which was said when the file was read
                continue
            # pycocotools would find no overlap, and say nothing.
            if list(each.mask['size']) != list(results[index]['ori_shape']):
                raise ValueError(
                    f'image id {each.img_id}: an annotated mask has {each.mask["size"]} pixels '
                    '(height, width), the image that was predicted on '
                    f'{list(results[index]["ori_shape"])}'
                )
            truth['segmentation'] = each.mask
        scored.append(truth)
    return scored
