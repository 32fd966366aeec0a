"""Read image files and turn the dataset's instances into arrays."""

from typing import Any

from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations

from mmdetr.datasets.local_files import read_file
from mmdetr.registry import TRANSFORMS
from mmdetr.utils.image_decoding import UnreadableImageError, decode_bytes
from mmdetr.utils.orientation import EXIF_FRAMES, ExifFrame

from .mask_loading import EmptyMasks, draw_masks


@TRANSFORMS.register_module()
class LoadImageFromFile(BaseTransform):
    """Load ``img_path`` as the authors do, ``PIL.Image.open(f).convert('RGB')``, in BGR order.

    mmcv's loader is not used because it paints grey images with alpha on a coloured canvas, where
    the authors drop the alpha channel, and asks nobody before it obeys the EXIF orientation.

    EXIF orientation, the same in training, testing and use: where the dataset states ``width`` and
    ``height`` and only one frame has that size, stored or shown as viewers turn it, that frame
    counts. Where this does not decide (turned by 180 degrees, mirrored, square, or no size, as for
    one's own photograph), ``exif_frame`` does. The authors read what is stored.

    Required keys: ``img_path``; ``width`` and ``height`` where known.
    Added keys: ``img`` uint8 [h, w, 3] BGR, ``img_shape`` and ``ori_shape`` (h, w).

    Args:
        backend_args: Of mmengine's file backend, for images that are not local files.
        exif_frame: ``'shown'``, as labelling tools show pictures, or ``'stored'``.

    Raises:
        UnreadableImageError: The file is missing, broken, no regular file, larger than Pillow's
            limit (179 million pixels), has another size than the annotation file states, or has
            more than 8 bits per channel.
    """

    def __init__(self, backend_args: dict | None = None, exif_frame: ExifFrame = 'shown') -> None:
        if exif_frame not in EXIF_FRAMES:
            raise ValueError(f"exif_frame must be 'shown' or 'stored', got {exif_frame!r}")
        self.backend_args = backend_args
        self.exif_frame = exif_frame

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        stated_size = (results['width'], results['height']) if 'width' in results else None
        try:
            content = read_file(path, self.backend_args)
            img = decode_bytes(content, stated_size, self.exif_frame)
        # Decoders raise whatever a broken file leads them into (SyntaxError, struct.error, ...).
        except Exception as error:
            raise UnreadableImageError(f'cannot read image {path}: {error}') from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'exif_frame={self.exif_frame!r})'
        )


@TRANSFORMS.register_module()
class LoadAnnotations(MMCVLoadAnnotations):
    """mmcv's ``LoadAnnotations`` without the objects that are not to be trained on, and with masks.

    Crowds (``ignore_flag=1``) give no ground truth: a set loss has no way to ignore a region.

    Required keys: ``instances``, left as it is; for masks ``width`` and ``height``.
    Added keys: ``gt_bboxes`` float32 [M, 4] absolute xyxy, ``gt_bboxes_labels`` int64 [M] and,
    if asked for, ``gt_masks`` bool [M, h, w] in the frame of the original image.

    Args:
        with_mask: Draw each instance's ``mask`` (polygons or RLE, as in a COCO file). Objects
            whose mask has no pixel stay; a warning counts their images.
        **kwargs: mmcv's arguments.

    Raises:
        ValueError: An instance has no ``mask``.
    """

    def __init__(self, with_mask: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.with_mask = with_mask
        self._empty_masks = EmptyMasks()

    def transform(self, results: dict) -> dict:
        instances = results['instances']
        results['instances'] = [each for each in instances if not each['ignore_flag']]
        results = super().transform(results)
        if self.with_mask:
            results['gt_masks'] = draw_masks(results)
            self._empty_masks.look_at(results.get('img_id'), results['gt_masks'])
        results['instances'] = instances
        return results
