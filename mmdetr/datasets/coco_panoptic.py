"""Panoptic data in COCO format: things and stuff, a segment for each."""

import os.path as osp
from typing import Any

import numpy as np

from mmdetr.registry import DATASETS

from .coco import CocoDataset
from .panoptic_json import Segments, read_panoptic_json

NOT_CHOSEN = -1  # label of segments whose class metainfo.classes leaves out


@DATASETS.register_module()
class CocoPanopticDataset(CocoDataset):
    """Read images and segments of a COCO panoptic annotation file and its folder of PNGs.

    Things and stuff are classes alike, in the order of their category ids: COCO has 133. The
    pipeline's ``LoadPanopticAnnotations`` reads the PNG and makes boxes and masks of it.
    ``metainfo['isthing']`` says of each class whether it is countable.

    Entries of the data list have, beside those of :class:`~.CocoDataset`, ``seg_map_path`` (the
    PNG) and ``segments``, a list of ``dict(id, label, iscrowd)``; label -1 stands for a class that
    ``metainfo=dict(classes=...)`` leaves out. ``instances`` are the segments with the boxes that
    the file states. Crowds are learnt, as the authors do; in test mode they have ``ignore_flag=1``
    and are not counted.

    Images are sorted by id, and annotations find theirs by its id. A PNG that is missing, has
    another size or other ids than the file counts as an image that cannot be read: an error in
    test mode; in training another image takes its place, ``max_unreadable`` times.

    Args:
        ann_file, data_prefix: ``data_prefix=dict(img='train2017/', seg='annotations/
            panoptic_train2017/')``; the second is the folder of PNGs.
        **kwargs: Of :class:`~.CocoDataset`.

    Raises:
        ValueError: See :func:`~.panoptic_json.read_panoptic_json`.
    """

    def __init__(self, ann_file: str = '', **kwargs: Any) -> None:
        if kwargs.pop('with_mask', False):
            raise TypeError(
                'CocoPanopticDataset takes no with_mask: set it of LoadPanopticAnnotations'
            )
        kwargs.setdefault('data_prefix', dict(img='', seg=''))
        super().__init__(ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        if not self.ann_file:
            raise ValueError('CocoPanopticDataset needs ann_file, the path of a panoptic JSON')
        if not {'img', 'seg'} <= self.data_prefix.keys():
            raise ValueError(
                "data_prefix of CocoPanopticDataset needs 'img' and 'seg', the folder of PNGs, got "
                f'{self.data_prefix}'
            )
        content = read_panoptic_json(self.ann_file, need_annotations=not self.test_mode)
        self._choose_classes(content.categories, {})
        self._metainfo['isthing'] = tuple(
            content.isthing.get(cat_id, False) for cat_id in self._metainfo['cat_ids']
        )
        label_of = {cat_id: label for label, cat_id in enumerate(self._metainfo['cat_ids'])}
        paths = self._find_files([image['file_name'] for image in content.images])
        data_list = []
        for image, path, segments in zip(content.images, paths, content.segments, strict=True):
            info = dict(
                img_id=image['id'],
                img_path=path,
                width=image['width'],
                height=image['height'],
                instances=[],
            )
            if segments is not None:
                info['seg_map_path'] = osp.join(self.data_prefix['seg'], segments.file_name)
                info |= self._describe_segments(segments, label_of)
            data_list.append(info)
        return data_list

    def _describe_segments(self, segments: Segments, label_of: dict[int, int]) -> dict:
        labels = [label_of.get(cat_id, NOT_CHOSEN) for cat_id in segments.category_ids]
        rows = zip(segments.ids, labels, segments.iscrowd, strict=True)
        records = [
            dict(id=segment_id, label=label, iscrowd=int(crowd))
            for segment_id, label, crowd in rows
        ]
        boxes = np.array(segments.bboxes_xywh, dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = [
            dict(
                bbox=bbox,
                bbox_label=record['label'],
                ignore_flag=record['iscrowd'] if self.test_mode else 0,
                area=float(area),
            )
            for bbox, record, area in zip(boxes.tolist(), records, segments.areas, strict=True)
            if record['label'] != NOT_CHOSEN
        ]
        return dict(segments=records, instances=instances)
