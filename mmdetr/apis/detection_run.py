"""Detect objects in all pictures of a source and write what is wanted of them."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmdetr.structures import DetDataSample
from mmdetr.utils.console import Console, duration
from mmdetr.visualization import DetVisualizer

from .batches import detect_in_batches
from .detection_files import JsonList, to_record, write_masks, write_text, yolo_lines
from .inference import test_pipeline
from .sources import Picture, Source
from .video import VideoWriter

PREDICTIONS = 'predictions.json'
LABELS = 'labels'

Draw = Callable[[Picture, DetDataSample], None]


@dataclass(frozen=True)
class Outputs:
    """What is written below a folder, beside the list of all detections.

    Attributes:
        out_dir: The folder.
        score_thr: Detections with lower scores are left out everywhere; None leaves out those
            below the model's operating point.
        draw: Pictures, or a video.
        text: A file per picture as YOLO writes them.
        json: A file per picture with its entry of the list.
        mask_png: PNGs of masks and segments.
    """

    out_dir: Path
    score_thr: float | None = None
    draw: bool = True
    text: bool = False
    json: bool = False
    mask_png: bool = False


@dataclass
class Tally:
    """What a run has done so far.

    Attributes:
        total: Pictures that there are; 0 where it is not known.
        images, detections: That were looked at and found.
        seconds: That reading and detecting took.
        interrupted: Whether the user ended it.
    """

    total: int
    images: int = 0
    detections: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def figures(self, since: float) -> list[str]:
        """Say how fast it goes, drawing and writing included."""
        rate = self.images / max(time.perf_counter() - since, 1e-9)
        left = [f'ETA {duration((self.total - self.images) / rate)}'] if self.total else []
        return [f'{rate:.3g} img/s', *left, f'{self.detections} detections']


def detect_all(
    model: Any,
    source: Source,
    visualizer: DetVisualizer,
    outputs: Outputs,
    batch_size: int,
    console: Console,
) -> Tally:
    """Detect objects in everything that a source has.

    Ctrl-C ends it with whole files.

    Raises:
        ValueError: Masks are wanted of a model that has none.
        VideoError: A video cannot be read, or there is no PyAV to write one.
    """
    classes = list(model.dataset_meta.get('classes', ()))
    load, _ = test_pipeline(model)
    score_thr = model.operating_point if outputs.score_thr is None else outputs.score_thr
    tally = Tally(source.total)
    names = _LabelNames(outputs.out_dir / LABELS)
    with contextlib.ExitStack() as stack:
        stack.enter_context(console)
        draw = _drawing(source, visualizer, outputs, stack)
        records = stack.enter_context(JsonList(outputs.out_dir / PREDICTIONS))
        stack.enter_context(_interruptible(tally))
        found = detect_in_batches(model, source.read(load), batch_size)
        begin = time.perf_counter()
        while True:
            start = time.perf_counter()
            picture, sample = next(found, (None, None))
            if picture is None or sample is None:
                break
            record = to_record(picture.file, sample, classes, score_thr, picture.where)
            tally.seconds += time.perf_counter() - start
            tally.images += 1
            tally.detections += len(record['boxes'])
            _write_files(record, picture, sample, outputs, names)
            draw(picture, sample)
            records.append(record)
            done = tally.images + source.unreadable
            console.progress('detects', done, source.total, lambda: tally.figures(begin))
    return tally


@contextlib.contextmanager
def _interruptible(tally: Tally) -> Any:
    try:
        yield
    except KeyboardInterrupt:
        tally.interrupted = True


def _write_files(
    record: dict[str, Any],
    picture: Picture,
    sample: DetDataSample,
    outputs: Outputs,
    names: '_LabelNames',
) -> None:
    if outputs.mask_png:
        if not {'masks', 'segments'} & record.keys():
            raise ValueError('--mask-png needs a model with masks, and this one has none')
        write_masks(record, sample, outputs.out_dir / picture.name)
    if outputs.text or outputs.json:
        path = names(picture.name)
        if outputs.text:
            write_text(path, yolo_lines(record, *picture.image.shape[:2]))
        if outputs.json:
            write_text(path.with_suffix('.json'), json.dumps(record) + '\n')


class _LabelNames:
    """Names of text files after those of pictures: a.jpg has a.txt, and a.png then a.png.txt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[Path] = set()

    def __call__(self, picture: Path) -> Path:
        name = picture.with_suffix('.txt')
        while name in self._taken:
            picture = picture.with_name(f'{picture.name}_')
            name = picture.with_name(f'{picture.name}.txt')
        self._taken.add(name)
        return self._folder / name


def _drawing(
    source: Source, visualizer: DetVisualizer, outputs: Outputs, stack: contextlib.ExitStack
) -> Draw:
    """How a picture is drawn: to a file of its own, into the video, or not at all."""
    if not outputs.draw:
        return lambda picture, sample: None
    if source.video_name is None:
        return lambda picture, sample: visualizer.add_datasample(
            picture.name.name,
            _rgb(picture.image),
            sample,
            out_file=outputs.out_dir / picture.name,
            pred_score_thr=outputs.score_thr,
        )
    writer = stack.enter_context(VideoWriter(outputs.out_dir / source.video_name))

    def draw(picture: Picture, sample: DetDataSample) -> None:
        drawn = visualizer.draw(_rgb(picture.image), sample, pred_score_thr=outputs.score_thr)
        writer.write(drawn, picture.where['time'])

    return draw


def _rgb(image: np.ndarray) -> np.ndarray:
    return image[..., ::-1].copy()
