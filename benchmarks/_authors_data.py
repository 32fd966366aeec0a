"""The authors' data pipeline with given random choices: their code, or the same calls of libraries.

A list of choices is what our training pipeline drew, in its order: flip direction, which branch,
then in the first the scale, in the second the scale, the rows and columns of the crop as
(start, size) and the scale.
"""

import importlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional

from mmdetr.datasets.transforms.resize import short_side_size

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
LONGEST = 1333
TEST_SHORT = 800

Choices = list[list[Any]] | None


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
