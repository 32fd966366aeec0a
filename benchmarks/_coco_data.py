"""Generated data in COCO's form: shapes, photographs, and detections of objects."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mmdetr.datasets import ShapesDataset

CLASSES = 80
# Frequent sizes of train2017, (w, h); at this quality a file weighs what COCO's do, 160 kB.
PHOTOGRAPH_SIZES = ((640, 480), (640, 427), (480, 640), (500, 375), (640, 480))
QUALITY = 85
# val2017: 36,781 boxes in 5,000 images; detectors return 100 boxes an image.
BOXES_PER_IMAGE = 7.356
CROWD = 0.012
DETECTIONS = 100
WIDTH, HEIGHT = 640, 480
# Share of small, medium and large objects, and their sides in pixels (area below 32^2, 96^2).
OBJECT_SIZES = ((0.41, 6, 32), (0.34, 32, 96), (0.25, 96, 400))


class AnnotationFile:
    """Content of an annotation file, image by image; ids count from 1.

    Args:
        classes: Names; their category ids count from 1.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.categories = [dict(id=i, name=name) for i, name in enumerate(classes, start=1)]

    def add_image(self, width: int, height: int, file_name: str = '') -> None:
        number = len(self.images) + 1
        self.images.append(dict(id=number, file_name=file_name, width=width, height=height))

    def add_object(
        self, bbox: Sequence[float], label: int, area: float = 1.0, iscrowd: bool = False
    ) -> None:
        """Add an object of the last image.

        Args:
            bbox: Absolute xywh.
            label: Counts from 0.
            area: Of the mask, as a share of the box.
            iscrowd: Whether it is a crowd.
        """
        self.annotations.append(
            dict(
                id=len(self.annotations) + 1,
                image_id=len(self.images),
                category_id=label + 1,
                bbox=list(bbox),
                area=area * bbox[2] * bbox[3],
                iscrowd=int(iscrowd),
            )
        )

    def write(self, path: Path) -> None:
        content = dict(images=self.images, annotations=self.annotations, categories=self.categories)
        path.write_text(json.dumps(content), encoding='utf-8')


# Shapes


def write_shapes(
    folder: Path,
    name: str,
    sizes: Sequence[tuple[int, int]],
    images_per_size: int,
    *,
    seed: int = 0,
    num_objects: tuple[int, int] = (1, 3),
    listed_images: int | None = None,
    extension: str = 'png',
) -> None:
    """Write pictures of the demo's shapes and ``{name}.json``, the sizes taking turns.

    Args:
        folder: Where everything goes.
        name: Of the annotation file, and first part of the images' names.
        sizes: (h, w) in pixels.
        images_per_size: Files of each size.
        seed: Sets with different seeds have no image in common.
        num_objects: Fewest and most objects in an image.
        listed_images: Length of the list, which then repeats the files; each once by default.
        extension: Format of the files.
    """
    least, most = num_objects
    datasets = [
        ShapesDataset(
            images_per_size,
            size,
            min_objects=least,
            max_objects=most,
            seed=seed * len(sizes) + number,
            pipeline=[],
        )
        for number, size in enumerate(sizes)
    ]
    pictures = [dataset[index] for index in range(images_per_size) for dataset in datasets]
    for number, picture in enumerate(pictures):
        picture['file_name'] = f'{name}{number:05d}.{extension}'
        cv2.imwrite(str(folder / picture['file_name']), picture.pop('img'))
    file = AnnotationFile(ShapesDataset.METAINFO['classes'])
    for number in range(listed_images or len(pictures)):
        picture = pictures[number % len(pictures)]
        file.add_image(picture['width'], picture['height'], picture['file_name'])
        for instance in picture['instances']:
            x1, y1, x2, y2 = (round(value, 2) for value in instance['bbox'])
            file.add_object([x1, y1, x2 - x1, y2 - y1], instance['bbox_label'])
    file.write(folder / f'{name}.json')


# Photographs


def write_photographs(folder: Path, count: int, seed: int = 0) -> tuple[Path, Path]:
    """Write JPEG files with the sizes, weight and boxes of COCO's photographs.

    Returns:
        Folder of the images and path of their annotation file.
    """
    rng = np.random.default_rng(seed)
    file = AnnotationFile(f'class {i}' for i in range(1, CLASSES + 1))
    (folder / 'images').mkdir(parents=True)
    for number in range(count):
        width, height = PHOTOGRAPH_SIZES[number % len(PHOTOGRAPH_SIZES)]
        name = f'{number:06d}.jpg'
        pixels = Image.fromarray(photograph(rng, width, height))
        pixels.save(folder / 'images' / name, quality=QUALITY)
        file.add_image(width, height, name)
        for _ in range(rng.poisson(7)):
            size = rng.uniform(0.05, 0.6, 2) * (width, height)
            left_top = rng.random(2) * ((width, height) - size)
            bbox = [round(value, 2) for value in (*left_top.tolist(), *size.tolist())]
            label = int(rng.integers(CLASSES))
            file.add_object(bbox, label, iscrowd=rng.random() < 0.01)
    file.write(folder / 'annotations.json')
    return folder / 'images', folder / 'annotations.json'


def photograph(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise with the spectrum of photographs, amplitude falling with 1/frequency: [h, w, 3]."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # the mean is set below
    channels = []
    for _ in range(3):
        white = np.fft.rfft2(rng.standard_normal((height, width)))
        channel = np.fft.irfft2(white / frequency, (height, width))
        channels.append(channel / channel.std())
    # Colour channels of photographs resemble each other.
    luminance = channels[0][..., None]
    mixed = 128 + 55 * (0.9 * luminance + 0.3 * np.stack(channels, axis=-1))
    return mixed.clip(0, 255).astype(np.uint8)


# Detections


def objects_and_detections(num_images: int, seed: int = 0) -> tuple[AnnotationFile, list[dict]]:
    """Objects like val2017's, without pixels, and what a model returns for each image.

    Each object is detected two to five times, more or less well; the rest of the detections is
    noise with low scores. Frequent classes are far more frequent than rare ones, as in COCO.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1)
    frequency /= frequency.sum()
    file = AnnotationFile(f'class {k}' for k in range(1, CLASSES + 1))
    samples = []
    for number in range(num_images):
        boxes = _random_boxes(rng, rng.poisson(BOXES_PER_IMAGE))
        labels = rng.choice(CLASSES, len(boxes), p=frequency)
        file.add_image(WIDTH, HEIGHT)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            file.add_object(bbox, label, area=0.6, iscrowd=rng.random() < CROWD)
        found = _detect(rng, boxes, labels, frequency)
        samples.append(dict(img_id=number + 1, pred_instances=found))
    return file, samples


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, 4] xyxy inside the image, sizes as in COCO."""
    shares, lows, highs = (np.array(column) for column in zip(*OBJECT_SIZES, strict=True))
    kind = rng.choice(len(OBJECT_SIZES), count, p=shares)
    side = rng.uniform(lows[kind], highs[kind])
    stretch = rng.uniform(0.7, 1.4, count)
    size = np.stack([side * stretch, side / stretch], axis=1).clip(2, (WIDTH, HEIGHT))
    top_left = rng.random((count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate([top_left, top_left + size], axis=1)


def _detect(
    rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, frequency: np.ndarray
) -> dict[str, torch.Tensor]:
    times = rng.integers(2, 6, len(boxes))
    found = boxes.repeat(times, axis=0)[:DETECTIONS]
    size = np.tile(found[:, 2:] - found[:, :2], 2)
    found = found + rng.normal(0, 0.08, found.shape) * size
    noise = _random_boxes(rng, DETECTIONS - len(found))
    found_labels = labels.repeat(times)[:DETECTIONS]
    confused = rng.random(len(found)) < 0.2
    found_labels = np.where(confused, rng.integers(0, CLASSES, len(found)), found_labels)
    scores = np.concatenate([rng.beta(2, 2, len(found)), rng.beta(1, 12, len(noise))])
    noise_labels = rng.choice(CLASSES, len(noise), p=frequency)
    return dict(
        bboxes=torch.from_numpy(np.concatenate([found, noise])).float(),
        scores=torch.from_numpy(scores).float(),
        labels=torch.from_numpy(np.concatenate([found_labels, noise_labels])),
    )
