"""Generated JPEG files with the sizes, weight and boxes of COCO's photographs."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

# Frequent sizes of train2017; at this quality a file weighs about as much as COCO's, 160 kB.
SIZES = ((640, 480), (640, 427), (480, 640), (500, 375), (640, 480))
QUALITY = 85
OBJECTS = 7  # an image, on average
CLASSES = 80


def write_photographs(folder: Path, count: int, seed: int = 0) -> tuple[Path, Path]:
    """Writes ``count`` images and their annotation file.

    Returns:
        Folder of the images and path of the annotation file.
    """
    rng = np.random.default_rng(seed)
    images: list[dict] = []
    annotations: list[dict] = []
    (folder / 'images').mkdir(parents=True)
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        name = f'{number:06d}.jpg'
        pixels = photograph(rng, width, height)
        Image.fromarray(pixels).save(folder / 'images' / name, quality=QUALITY)
        images.append(dict(id=number, file_name=name, width=width, height=height))
        for _ in range(rng.poisson(OBJECTS)):
            box_width, box_height = rng.uniform(0.05, 0.6, 2) * (width, height)
            left, top = rng.random(2) * (width - box_width, height - box_height)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=int(rng.integers(1, CLASSES + 1)),
                    bbox=[round(v, 2) for v in (left, top, box_width, box_height)],
                    area=round(box_width * box_height, 2),
                    iscrowd=int(rng.random() < 0.01),
                )
            )
    categories = [dict(id=i, name=f'class {i}') for i in range(1, CLASSES + 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    ann_file = folder / 'annotations.json'
    ann_file.write_text(json.dumps(content), encoding='utf-8')
    return folder / 'images', ann_file


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
