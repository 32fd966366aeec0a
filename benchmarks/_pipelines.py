"""The pipelines of both sides with the same random choices: ours, and the authors'.

The authors' is their code, or the same calls of Pillow and torchvision. A list of choices is what
our training pipeline drew, in its order: flip direction, which branch, then in the first the scale,
in the second the scale, the rows and columns of the crop as (start, size) and the scale.
"""

import importlib
import json
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _common import ROOT
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional

from mmdetr.engine.data_sampling import SampleIndex, seeded_dataloader_cfg
from mmdetr.models.data_preprocessor import DetDataPreprocessor
from mmdetr.utils.resizing import short_side_size

CONFIG = ROOT / 'configs' / '_base_' / 'datasets' / 'coco_detection.py'
SEED = 0
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
LONGEST = 1333
TEST_SHORT = 800
# One uint8 level is 0.017 after normalisation: only rounding of floats passes.
TOLERANCE = 2e-5

Choices = list[list[Any]] | None


# Ours


def our_loader(
    pipeline: str, images: Path, annotations: Path, num_images: int, num_workers: int
) -> Any:
    """The loader that a run with the COCO config builds, in file order."""
    cfg = Config.fromfile(CONFIG)[f'{pipeline}_dataloader']
    cfg.update(num_workers=num_workers, persistent_workers=num_workers > 0)
    cfg.sampler.shuffle = False
    cfg.dataset.update(
        data_root='',
        ann_file=str(annotations),
        data_prefix=dict(img=str(images)),
        indices=num_images,
    )
    if pipeline == 'train':
        return Runner.build_dataloader(seeded_dataloader_cfg(cfg, SEED), seed=SEED)
    return Runner.build_dataloader(cfg, seed=SEED)


def record_choices(dataset: Any) -> list[list[Any]]:
    """What the training pipeline draws at random for each sample, in the order of drawing."""
    flip, choice = dataset.pipeline.transforms[2:4]
    whole, cropped = choice.transforms
    first, crop, last = cropped.transforms
    drawing = [
        (flip, '_choose_direction'),
        (choice, 'random_pipeline_index'),
        *((resize, '_random_select') for resize in (whole.transforms[0], first, last)),
        (crop, '_span'),
    ]
    log: list[Any] = []

    def recording(method: Callable) -> Callable:
        def call(*args: Any) -> Any:
            log.append(method(*args))
            return log[-1]

        return call

    for step, name in drawing:
        setattr(step, name, recording(getattr(step, name)))
    records = []
    for index in range(len(dataset)):
        log.clear()
        dataset[SampleIndex(index, SEED, 0)]
        records.append(list(log))
    for step, name in drawing:
        delattr(step, name)  # the class's method again
    return records


# The authors'


class AuthorsDataset(Dataset):
    """Their code, unchanged but for where its random numbers come from."""

    def __init__(
        self,
        root: Path,
        images: Path,
        annotations: Path,
        num_images: int,
        pipeline: str,
        choices: Choices,
    ) -> None:
        sys.path.insert(0, str(root))
        # No package on the path but theirs is called so.
        self.transforms: Any = importlib.import_module('datasets.transforms')
        coco = importlib.import_module('datasets.coco')
        image_set = dict(train='train', test='val')[pipeline]
        self.dataset = coco.CocoDetection(
            str(images), str(annotations), coco.make_coco_transforms(image_set), False
        )
        # They sort by image id; we take the file's order.
        content = json.loads(annotations.read_text(encoding='utf-8'))
        position = {image_id: index for index, image_id in enumerate(self.dataset.ids)}
        self.order = [position[image['id']] for image in content['images'][:num_images]]
        self.choices = choices

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if self.choices is None:
            self.transforms.random = random
        else:
            self._answer_with(self.choices[index])
        return self.dataset[self.order[index]]

    def _answer_with(self, choices: list[Any]) -> None:
        direction, branch, *rest = choices
        # They flip, and take the first branch, where the number is below 0.5.
        numbers = iter([0.0 if direction else 0.9, 0.9 if branch else 0.0])
        scales = iter([rest[0][0][0], rest[-1][0][0]] if branch else [rest[0][0][0]])
        self.transforms.random = SimpleNamespace(
            random=lambda: next(numbers), choice=lambda _: next(scales), randint=lambda *_: 0
        )
        if branch:
            (top, height), (left, width) = rest[1:3]
            region = (top, left, height, width)
            self.transforms.T.RandomCrop.get_params = staticmethod(lambda *_: region)


class ReimplementedDataset(Dataset):
    """The same steps from the same library calls: Pillow's image until the end, float32 after."""

    def __init__(
        self, images: Path, annotations: Path, num_images: int, pipeline: str, choices: Choices
    ) -> None:
        content = json.loads(annotations.read_text(encoding='utf-8'))
        self.images = images
        self.records = content['images'][:num_images]
        self.objects: dict[Any, list[dict]] = {record['id']: [] for record in self.records}
        for annotation in content['annotations']:
            if annotation['image_id'] in self.objects and not annotation.get('iscrowd', 0):
                self.objects[annotation['image_id']].append(annotation)
        self.choices = choices

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        record = self.records[index]
        objects = self.objects[record['id']]
        image = Image.open(self.images / record['file_name']).convert('RGB')
        boxes = torch.tensor([each['bbox'] for each in objects]).float().reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        size = torch.tensor(image.size).repeat(2)
        boxes = boxes.clamp(min=torch.zeros(4), max=size)
        labels = torch.tensor([each['category_id'] for each in objects], dtype=torch.int64)
        boxes, labels = _with_area(boxes, labels)
        if self.choices is None:
            image, boxes = _resize(image, boxes, TEST_SHORT, LONGEST)
        else:
            image, boxes, labels = _augment(image, boxes, labels, self.choices[index])
        pixels = functional.normalize(functional.to_tensor(image), MEAN, STD)
        centre_size = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
        return pixels, dict(boxes=centre_size / torch.tensor(image.size).repeat(2), labels=labels)


def _augment(
    image: Image.Image, boxes: Tensor, labels: Tensor, choices: list[Any]
) -> tuple[Image.Image, Tensor, Tensor]:
    direction, branch, *rest = choices
    if direction:
        image = functional.hflip(image)
        mirror = torch.tensor([-1, 1, -1, 1])
        boxes = boxes[:, [2, 1, 0, 3]] * mirror + image.width * (mirror < 0)
    if branch:
        ((short, _), _), (top, height), (left, width), _ = rest
        image, boxes = _resize(image, boxes, short, None)
        image = functional.crop(image, top, left, height, width)
        boxes = boxes - torch.tensor([left, top, left, top])
        boxes = boxes.clamp(min=torch.zeros(4), max=torch.tensor([width, height]).repeat(2))
        boxes, labels = _with_area(boxes, labels)
    image, boxes = _resize(image, boxes, rest[-1][0][0], LONGEST)
    return image, boxes, labels


def _resize(
    image: Image.Image, boxes: Tensor, short: int, longest: int | None
) -> tuple[Image.Image, Tensor]:
    before = torch.tensor(image.size).repeat(2)
    width, height = short_side_size(image.size, short, longest)
    image = functional.resize(image, [height, width])
    return image, boxes * (torch.tensor(image.size).repeat(2) / before)


def _with_area(boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[kept], labels[kept]


def pad_batch(batch: Sequence[tuple[Tensor, dict]]) -> tuple[Tensor, Tensor, list[dict]]:
    """Zero-padded images [B, 3, H, W], mask [B, H, W] with True on padding, and targets.

    They do this in the worker too.
    """
    images, targets = zip(*batch, strict=True)
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    padded = torch.zeros(len(images), 3, height, width)
    mask = torch.ones(len(images), height, width, dtype=torch.bool)
    for image, canvas, covered in zip(images, padded, mask, strict=True):
        _, h, w = image.shape
        canvas[:, :h, :w].copy_(image)
        covered[:h, :w] = False
    return padded, mask, list(targets)


# Both


def check_equal(ours: Iterable[dict], theirs: Iterable[tuple], cat_ids: tuple) -> int:
    """Compare all batches and return the number of images.

    Raises:
        ValueError: They differ; the message says in what.
    """
    preprocessor = DetDataPreprocessor()
    count = 0
    for batch, (images, mask, targets) in zip(ours, theirs, strict=True):
        data = preprocessor(batch)
        samples, own_mask = data['data_samples'], data['padding_mask']
        if own_mask is None:
            own_mask = torch.zeros_like(data['inputs'][:, 0], dtype=torch.bool)
        pairs = [('pixels', data['inputs'], images), ('mask', own_mask, mask)]
        for sample, target in zip(samples, targets, strict=True):
            if 'gt_instances' in sample:  # our test pipeline needs no boxes
                boxes, labels = _boxes_as_theirs(sample), sample.gt_instances.labels
                pairs.append(('boxes', boxes, target['boxes']))
                pairs.append(('labels', torch.tensor(cat_ids)[labels], target['labels']))
        for name, own, other in pairs:
            if own.shape != other.shape or not torch.allclose(
                own.double(), other.double(), rtol=0, atol=TOLERANCE
            ):
                ids = [sample.img_id for sample in samples]
                raise ValueError(f'{name} of images {ids} differ from the authors')
        count += len(samples)
    return count


def _boxes_as_theirs(sample: Any) -> Tensor:
    """Centre and size in parts of the image."""
    height, width = sample.img_shape
    x1, y1, x2, y2 = sample.gt_instances.bboxes.unbind(-1)
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=-1)
    return boxes / torch.tensor([width, height, width, height])
