"""Bad image files on their whole way: dataset, workers of the loader, inference and its tool."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import Compose
from torch.utils.data import DataLoader

from mmdetr.apis import inference_detector
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.engine import DetectionRunner
from mmdetr.structures import DetDataSample
from tests.helpers.coco_files import CATEGORIES, annotation, image

from ..test_apis.test_inference import detector, files, infer  # noqa: F401  fixtures
from .picture_files import BAD, GOOD, HEIGHT, WIDTH, png_header, write
from .profiles import profiles
from .test_image_files import SIZE, authors

COCO = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'coco_detection.py'
pytestmark = pytest.mark.filterwarnings('ignore')


def loader(folder: Path, names: list[str], workers: int = 2, **options: Any) -> DataLoader:
    """As a training or test builds it; a loader that hangs fails after a minute."""
    images = [image(name, WIDTH, HEIGHT) | dict(file_name=name) for name in names]
    annotations = [annotation(i, name, 7, [1, 2, 30, 20]) for i, name in enumerate(names)]
    content = dict(images=images, annotations=annotations, categories=CATEGORIES)
    (folder / 'coco.json').write_text(json.dumps(content))
    steps = ['LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs']
    dataset = dict(
        type='CocoDataset',
        ann_file='coco.json',
        data_root=str(folder),
        pipeline=[dict(type=step) for step in steps],
        **options,
    )
    return DetectionRunner.build_dataloader(
        dict(
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=3,
            num_workers=workers,
            timeout=60 if workers else 0,
        ),
        seed=0,
    )


def samples(batches: DataLoader) -> list[tuple[torch.Tensor, DetDataSample]]:
    return [
        pair
        for batch in batches
        for pair in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, GOOD)
    write(tmp_path, BAD)
    return tmp_path


@pytest.mark.parametrize('workers', [0, 2])
def test_training_goes_on_with_other_images(folder: Path, workers: int) -> None:
    names = [*GOOD, *BAD]
    batches = loader(folder, names, workers, max_unreadable=len(BAD))
    seen = samples(batches)
    assert len(seen) == len(names)
    for number, (inputs, sample) in enumerate(seen):
        assert sample.img_id in GOOD
        if number < len(GOOD):
            assert sample.img_id == names[number]
        pixels = authors(GOOD[sample.img_id], SIZE)
        np.testing.assert_array_equal(inputs.permute(1, 2, 0), pixels)
        assert sample.gt_instances.bboxes.tolist() == [[1, 2, 31, 22]]
    if workers == 0:  # a worker counts in its own process
        counted = {Path(path).name for path in batches.dataset._unreadable}
        assert counted == set(BAD)


def test_training_ends_beyond_the_limit(folder: Path) -> None:
    with pytest.raises(RuntimeError, match='3 images cannot be read') as error:
        samples(loader(folder, [*BAD, *GOOD], max_unreadable=2))
    assert sum(name in str(error.value) for name in BAD) >= 3


def test_testing_ends_at_the_first(folder: Path) -> None:
    assert len(samples(loader(folder, list(GOOD), test_mode=True))) == len(GOOD)
    with pytest.raises(UnreadableImageError, match=r'cannot read image .*half\.jpg'):
        samples(loader(folder, [*GOOD, 'half.jpg'], test_mode=True))


@profiles(quick=25, long=3000)
def test_augmented_boxes_are_boxes(profile: Any) -> None:
    """The pipeline of COCO's training on images of any shape, thin ones too."""
    config = Config.fromfile(COCO)
    pipeline = Compose(config.train_pipeline[1:])
    side = st.integers(1, 40) | st.integers(1, 900) | st.sampled_from([1, 2, 3000, 65_000])

    @profile
    @given(side, side, st.integers(0, 2**32 - 1))
    def check(width: int, height: int, seed: int) -> None:
        if width * height > 10**6:
            width = max(1, 10**6 // height)
        np.random.seed(seed)
        corners = np.random.uniform(0, 1, (5, 2, 2)) ** np.random.choice([1, 3, 9])
        bboxes = np.sort(corners, axis=1).reshape(5, 4) * [width, height, width, height]
        single = bboxes.astype(np.float32)
        bboxes = bboxes[(single[:, 2:] > single[:, :2]).all(axis=1)]  # as the dataset sifts them
        results = dict(
            img=np.zeros((height, width, 3), dtype=np.uint8),
            img_shape=(height, width),
            img_path='thin.png',
            instances=[
                dict(bbox=bbox, bbox_label=label, ignore_flag=0)
                for label, bbox in enumerate(bboxes.tolist())
            ],
        )
        try:
            packed = pipeline(results)
        except UnreadableImageError:
            assert max(width, height) / min(width, height) > 100
            return
        new_height, new_width = packed['inputs'].shape[1:]
        truth = packed['data_samples'].gt_instances
        assert len(truth.labels) == len(truth.bboxes) <= len(bboxes)
        assert truth.bboxes.isfinite().all()
        assert (truth.bboxes >= 0).all()
        # A box of a millionth of a pixel may lose its width to rounding; losses take that.
        assert (truth.bboxes[:, 2:] >= truth.bboxes[:, :2]).all()
        assert (truth.bboxes <= torch.tensor([new_width, new_height] * 2)).all()

    check()


# ---- inference ----


def test_detector_takes_odd_images(detector: Any, folder: Path) -> None:  # noqa: F811
    thin = {(1, 1): 'pixel.png', (1, 3000): 'column.png', (3000, 2): 'row.png'}
    for (width, height), name in thin.items():
        (folder / name).write_bytes(png_header(width, height, bytes((3 * width + 1) * height)))
    for name in [*GOOD, *thin.values()]:
        sample = inference_detector(detector, folder / name)
        pred = sample.pred_instances
        assert pred.bboxes.isfinite().all()
        assert pred.scores.isfinite().all()
    for name in BAD:
        if not name.startswith(('large', 'other')):  # without a stated size these are images
            with pytest.raises(UnreadableImageError, match=name):
                inference_detector(detector, folder / name)


def test_tool_counts_what_it_cannot_read(infer: Any, folder: Path, capsys: Any) -> None:  # noqa: F811
    for name in BAD:
        if name.startswith('large'):
            (folder / name).unlink()
    (folder / 'directory.jpg').mkdir()
    column = png_header(1, 3000, bytes(4 * 3000))
    (folder / 'column.png').write_bytes(column)
    bad = [name for name in BAD if not name.startswith(('large', 'other'))]
    assert infer(folder, '--out-dir', folder / 'out', '--score-thr', '0') == 1
    printed = capsys.readouterr()
    assert f'{len(bad)} unreadable' in printed.out
    for name in bad:
        assert name in printed.err
    records = json.loads((folder / 'out' / 'predictions.json').read_text())
    found = {Path(record['file']).name for record in records}
    assert found == {*GOOD, 'column.png', 'other_size.jpg'}
