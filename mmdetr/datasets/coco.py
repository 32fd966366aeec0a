"""Detection data in COCO format."""

import logging
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from mmengine.logging import print_log

from mmdetr.datasets.coco_json import CocoJson, read_coco_json
from mmdetr.registry import DATASETS
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.text import shorten

from .base import DetDataset
from .coco_masks import find_bad_segmentations
from .coco_objects import DataList, Objects, clean_bboxes
from .coco_suspicions import Suspicions, look_at_boxes
from .file_names import find_files
from .transforms import UnreadableImageError

IDS_SHOWN = 10
MOST_LABELS = 100_000  # a class for each id up to the largest


class FilterCfg(TypedDict, total=False):
    """Which images of a training set are left out.

    Attributes:
        filter_empty_gt: Those without objects.
        min_size: Those with a shorter side, in pixels.
    """

    filter_empty_gt: bool
    min_size: float


@DATASETS.register_module()
class CocoDataset(DetDataset):
    """Read images and boxes of a COCO annotation file, and masks where asked for.

    Classes come from the file, ordered by category id, unless ``metainfo=dict(classes=...)`` names
    them: then they take that order, and boxes of other classes are left out. Category ids may
    have gaps; label i stands for ``metainfo['cat_ids'][i]``.

    Boxes are clipped to their image. Those of zero size, outside the image or with a non-finite
    coordinate are dropped; with masks also those whose segmentation is missing or cannot be drawn.
    One warning counts them; ``dirty_boxes`` holds the image ids.

    Crowd boxes get ``ignore_flag=1``. Images without objects stay, unless
    ``filter_cfg=dict(filter_empty_gt=True)``; ``filter_cfg=dict(min_size=32)`` drops images with
    a shorter side. In test mode no image is dropped.

    An image that cannot be read is an error in test mode. In training another image, drawn with
    ``np.random``, takes its place and a warning names it.

    Args:
        ann_file, metainfo, data_root, data_prefix, filter_cfg, indices, serialize_data, pipeline,
            test_mode, lazy_init, max_refetch: Of mmengine's ``BaseDataset``; images are in
            ``data_prefix=dict(img='train2017/')``.
        category_ids_as_labels: Use category ids as labels, as the authors' code does: a model of
            91 classes for COCO, whose ids end at 90. Ids without a category become classes
            named ``unused 0`` and so on.
        with_mask: Give each instance its ``mask``: polygons or RLE, as in the file. The pipeline's
            ``LoadAnnotations(with_mask=True)`` draws them.
        max_unreadable: Number of unreadable images at which training still goes on; at the next
            one it stops with an error that names them. Each worker process counts for itself.

    Raises:
        FileNotFoundError: The annotation file does not exist.
        ValueError: The annotation file is broken (see ``read_coco_json``) or does not know a
            class, or the filter leaves no image.
        UnreadableImageError: An image cannot be read, in test mode.
        RuntimeError: More than ``max_unreadable`` images cannot be read, in training.
    """

    def __init__(
        self,
        ann_file: str = '',
        *,
        filter_cfg: FilterCfg | None = None,
        category_ids_as_labels: bool = False,
        with_mask: bool = False,
        max_unreadable: int = 10,
        **kwargs: Any,
    ) -> None:
        check_at_least(0, 'CocoDataset', max_unreadable=max_unreadable)
        self.category_ids_as_labels = category_ids_as_labels
        self.with_mask = with_mask
        self.max_unreadable = max_unreadable
        self.dirty_boxes: dict[str, list] = {}
        """Image ids of dropped and clipped boxes by reason, one entry per box."""
        self.suspicions = Suspicions()
        """What only the boxes as stated show, for the checks before a training."""
        self.placeholders: dict[int, str] = {}
        """Categories of an exporter's that were left out, see ``read_coco_json``."""
        self._unreadable: dict[str, str] = {}
        kwargs.setdefault('data_prefix', dict(img=''))
        super().__init__(ann_file, filter_cfg=filter_cfg, **kwargs)

    def load_data_list(self) -> Sequence[dict]:
        if not self.ann_file:
            raise ValueError('CocoDataset needs ann_file, the path of a COCO annotation file')
        if 'img' not in self.data_prefix:
            raise ValueError(f"data_prefix of CocoDataset needs 'img', got {self.data_prefix}")
        coco = read_coco_json(
            self.ann_file,
            need_annotations=not self.test_mode,
            with_segmentations=self.with_mask,
        )
        self._choose_classes(coco.categories, coco.placeholders)
        paths = self._find_files([image['file_name'] for image in coco.images])
        objects = self._clean_objects(coco, paths)
        self._warn_of_dirty_boxes()
        return DataList(coco.images, paths, objects)

    def filter_data(self) -> Sequence[dict]:
        options = dict(self.filter_cfg or {})
        filter_empty_gt = options.pop('filter_empty_gt', False)
        min_size = options.pop('min_size', 0)
        if options:
            raise ValueError(
                f'filter_cfg knows filter_empty_gt and min_size, not {sorted(options)}'
            )
        if self.test_mode or not (filter_empty_gt or min_size):
            return self.data_list
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= min_size
            and not (filter_empty_gt and all(each['ignore_flag'] for each in info['instances']))
        ]
        if not kept:
            raise ValueError(f'{self.ann_file}: filter_cfg={self.filter_cfg} leaves no image')
        return kept

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline; return None in training where the image cannot be read."""
        try:
            return super().prepare_data(idx)
        except UnreadableImageError as error:
            if self.test_mode:
                raise
            self._note_unreadable(self.get_data_info(idx)['img_path'], str(error))
            return None

    def _find_files(self, names: list[str]) -> list[str]:
        paths, read = find_files(names, self.data_prefix['img'])
        for reason, strange in read.items():
            print_log(
                f'{self.ann_file}: {len(strange)} file names with {reason} are read as the files '
                f'that they mean: {shorten(strange)}',
                'current',
                logging.WARNING,
            )
        return paths

    def _choose_classes(self, categories: dict[int, str], placeholders: dict[int, str]) -> None:
        wanted = self._metainfo.get('classes', ())
        self.placeholders = {
            cat_id: name
            for cat_id, name in placeholders.items()
            if name in categories.values() or name not in wanted
        }
        if len(self.placeholders) < len(placeholders):  # someone does mean it
            categories = placeholders | categories
        if self.category_ids_as_labels:
            if 'classes' in self._metainfo:
                raise ValueError('category_ids_as_labels and metainfo.classes exclude each other')
            if min(categories, default=0) < 0:
                raise ValueError(f'{self.ann_file}: a negative category id cannot be a label')
            if max(categories, default=0) >= MOST_LABELS:
                raise ValueError(
                    f'{self.ann_file}: category id {max(categories)} is too large for a label: '
                    'leave out category_ids_as_labels'
                )
            categories = {
                cat_id: categories.get(cat_id, f'unused {cat_id}')
                for cat_id in range(max(categories, default=-1) + 1)
            }
        cat_id_of = {name: cat_id for cat_id, name in categories.items()}
        classes = self._metainfo.get('classes', list(cat_id_of))
        if not isinstance(classes, (list, tuple)) or len(set(classes)) < len(classes):
            raise ValueError(f'metainfo.classes must be a list of different names, got {classes!r}')
        unknown = [name for name in classes if name not in cat_id_of]
        if unknown:
            raise ValueError(f'{self.ann_file} has no category {unknown}; it has {list(cat_id_of)}')
        self._metainfo['classes'] = tuple(classes)
        self._metainfo['cat_ids'] = tuple(cat_id_of[name] for name in classes)

    def _clean_objects(self, coco: CocoJson, paths: list[str]) -> Objects:
        cat_ids = np.array(self._metainfo['cat_ids'])
        chosen = np.isin(coco.category_ids, cat_ids).nonzero()[0]
        image_indices = coco.image_indices[chosen]
        sizes = np.array([(image['width'], image['height']) for image in coco.images])
        sizes = sizes[image_indices]
        bboxes, problems = clean_bboxes(coco.bboxes_xywh[chosen], sizes)
        self.suspicions = look_at_boxes(coco, paths, chosen, sizes)
        dropped = problems['non-finite'] | problems['zero size'] | problems['outside']
        segmentations: list | None = None
        if coco.segmentations is not None:
            segmentations = [coco.segmentations[row] for row in chosen.tolist()]
            if segmentations and not any(segmentations):
                raise ValueError(
                    f'{self.ann_file}: none of {len(segmentations)} annotations has a '
                    'segmentation, which with_mask=True needs; for boxes alone leave it out'
                )
            for reason, where in find_bad_segmentations(segmentations, sizes).items():
                problems[reason] = where & ~dropped
                dropped |= where
            segmentations = [segmentations[row] for row in (~dropped).nonzero()[0].tolist()]

        self.dirty_boxes = {
            reason: [coco.images[index]['id'] for index in image_indices[where]]
            for reason, where in problems.items()
            if where.any()
        }
        kept = chosen[~dropped]
        by_id = np.argsort(cat_ids)
        return Objects(
            image_indices=coco.image_indices[kept],
            labels=by_id[np.searchsorted(cat_ids, coco.category_ids[kept], sorter=by_id)],
            bboxes_xyxy=bboxes[~dropped],
            iscrowd=coco.iscrowd[kept],
            areas=coco.areas[kept],
            segmentations=segmentations,
        )

    def _warn_of_dirty_boxes(self) -> None:
        if not self.dirty_boxes:
            return
        parts = []
        for reason, image_ids in self.dirty_boxes.items():
            done = 'clipped' if reason == 'clipped' else f'dropped ({reason})'
            shown = shorten(dict.fromkeys(image_ids), limit=IDS_SHOWN)
            parts.append(f'{len(image_ids)} {done} in image ids {shown}')
        print_log(f'{self.ann_file}: boxes {"; ".join(parts)}', 'current', logging.WARNING)

    def _note_unreadable(self, path: str, message: str) -> None:
        if path not in self._unreadable:
            self._unreadable[path] = message
            print_log(f'{message}; another image takes its place', 'current', logging.WARNING)
        # A small dataset may have no readable image left before the limit is reached.
        if len(self._unreadable) > min(self.max_unreadable, len(self) - 1):
            raise RuntimeError(
                f'{len(self._unreadable)} images cannot be read (max_unreadable='
                f'{self.max_unreadable}); check data_root and data_prefix, or repair:\n'
                + '\n'.join(self._unreadable.values())
            )
