"""Training from Python: a config or a folder of data in, a detector with everything around it out.

Several runs may follow each other in one process.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdetr.checkpoint import CheckpointError
from mmdetr.config.check import check_config_types
from mmdetr.config.options import apply_cfg_options, check_settings
from mmdetr.config.reading import load_config
from mmdetr.deploy.export import ExportReport, export_detector
from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import InterruptHook
from mmdetr.recipes import Options, prepare
from mmdetr.recipes.result import best_checkpoint

from .detected import DetectedImage
from .images import ImageInput, is_single, to_pipeline_input
from .inference import inference_detector, init_detector, test_pipeline


class TrainedDetector:
    """A detector that a training left, and what comes next.

    Args:
        config: Of the training.
        checkpoint: Of the weights to use.

    Attributes:
        config, checkpoint: As given.
        folder: Work directory of the run, with logs, checkpoints and the config.
    """

    def __init__(self, config: Config, checkpoint: str | os.PathLike) -> None:
        self.config, self.checkpoint = config, Path(checkpoint)
        self.folder = Path(config.work_dir)
        self._model: BaseModel | None = None

    @property
    def model(self) -> BaseModel:
        """The model in eval mode, as :func:`~mmdetr.apis.init_detector` makes it."""
        if self._model is None:
            self._model = init_detector(self.config, self.checkpoint)
        return self._model

    @overload
    # A text is an iterable of texts.
    def predict(  # type: ignore[overload-overlap]
        self, imgs: ImageInput, score_thr: float | None = None
    ) -> DetectedImage: ...

    @overload
    def predict(
        self, imgs: Iterable[ImageInput], score_thr: float | None = None
    ) -> list[DetectedImage]: ...

    def predict(
        self, imgs: ImageInput | Iterable[ImageInput], score_thr: float | None = None
    ) -> DetectedImage | list[DetectedImage]:
        """Detect objects, see :func:`predict`."""
        return predict(self.model, imgs, score_thr)

    def evaluate(self, data: Mapping[str, Any] | None = None) -> dict[str, float]:
        """Score on the test data of the config, or on other data, see :func:`evaluate`."""
        return evaluate(self.config, self.checkpoint, data)

    def report(self, out: str | os.PathLike | None = None) -> Path:
        """Write the page of the run, ``report.html`` in its folder by default."""
        from mmdetr.analysis.report import make_report, open_run

        path = Path(out) if out is not None else self.folder / 'report.html'
        html = make_report(open_run(self.folder, checkpoint=str(self.checkpoint)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding='utf-8')
        return path

    def export(self, file: str | os.PathLike, **options: Any) -> ExportReport:
        """Write it for another runtime; options are those of ``export_detector``."""
        return export_detector(self.model, file, **options)

    def __repr__(self) -> str:
        return f'TrainedDetector({str(self.checkpoint)!r})'


def train(
    source: str | os.PathLike | Config,
    work_dir: str | os.PathLike | None = None,
    *,
    weights: str | None = None,
    epochs: int | None = None,
    model: str | None = None,
    resume: bool = False,
    cfg_options: dict[str, Any] | None = None,
) -> TrainedDetector:
    """Train a detector.

    Ctrl-C ends the training after its current step and leaves a checkpoint that ``resume=True``
    goes on from.

    Args:
        source: A folder of data (YOLO, Pascal VOC or COCO), for which a config is chosen and
            written into the work directory; or a config, as ``init_detector`` takes it.
        work_dir: Folder of the run; ``work_dirs/NAME`` by default.
        weights: Of a folder of data: see ``mmdetr train --help``.
        epochs: Of a folder of data: how long, instead of by the number of images.
        model: Of a folder of data: config to build on, or the name of a published model.
        resume: Go on with the newest checkpoint in the work directory, if there is one.
        cfg_options: Overrides of the config, as ``{'train_dataloader.batch_size': 4}``.

    Returns:
        The detector with the best weights of the run, else the last ones.

    Raises:
        TypeError: An argument is for a folder, and the source is a config.
        FileNotFoundError, ConfigError, FormatError, RecipeError: The source cannot be used.
        KeyboardInterrupt: After Ctrl-C, with the checkpoint written.
    """
    cfg = _config(source, work_dir, resume, weights=weights, epochs=epochs, model=model)
    apply_cfg_options(cfg, cfg_options)
    check_config_types(cfg)
    if resume:
        cfg.resume = 'auto'
    hook = InterruptHook()
    runner = DetectionRunner.from_cfg(cfg)
    runner.register_hook(hook)
    since = 0.0 if cfg.get('resume') else time.time()
    try:
        runner.train()
    finally:
        hook.restore()
    checkpoint = best_checkpoint(Path(cfg.work_dir), since)
    if checkpoint is None:
        raise CheckpointError(f'the training left no checkpoint in {cfg.work_dir}')
    return TrainedDetector(cfg, checkpoint)


def predict(
    model: BaseModel, imgs: ImageInput | Iterable[ImageInput], score_thr: float | None = None
) -> Any:
    """Detect objects and keep the images beside them.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`.
        imgs: One image or several, as :func:`~mmdetr.apis.inference_detector` takes them.
        score_thr: Detections with lower scores are left out; by default those below the
            operating point that the checkpoint states.

    Returns:
        A :class:`DetectedImage`, or a list of them for several images.
    """
    single = is_single(imgs)
    images: Any = [imgs] if single else imgs
    load, _ = test_pipeline(model)
    classes = (model.dataset_meta or {}).get('classes', ())
    threshold = model.operating_point if score_thr is None else score_thr
    found = []
    for img in images:
        bgr = to_pipeline_input(img, load)['img']
        sample = inference_detector(model, bgr)
        found.append(DetectedImage(bgr[..., ::-1].copy(), sample, classes, threshold))
    return found[0] if single else found


def evaluate(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike,
    data: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Score a checkpoint.

    Args:
        config: Of the model and its test data.
        checkpoint: Weights to score.
        data: What differs in the test data, as
            ``dict(dataset=dict(ann_file=..., data_prefix=dict(img=...)))``.

    Returns:
        The metrics by name.
    """
    cfg = config.copy() if isinstance(config, Config) else _config(config, None, False)
    if data is not None:
        cfg.merge_from_dict(dict(test_dataloader=dict(data)))
    cfg.load_from, cfg.resume = str(checkpoint), False
    check_config_types(cfg)
    with torch.no_grad():
        return DetectionRunner.from_cfg(cfg).test()


def _config(
    source: str | os.PathLike | Config,
    work_dir: str | os.PathLike | None,
    resume: bool,
    **folder_options: Any,
) -> Config:
    """The config of a source, with its work directory."""
    if not isinstance(source, Config) and os.path.isdir(source):
        folder = None if work_dir is None else os.fspath(work_dir)
        options = Options(work_dir=folder, **folder_options)
        cfg = load_config(prepare(os.fspath(source), options, resume=resume))
    else:
        if given := [name for name, value in folder_options.items() if value is not None]:
            raise TypeError(f'{given[0]} is for a folder of data; of a config, set cfg_options')
        cfg = source.copy() if isinstance(source, Config) else load_config(source)
        check_settings(cfg, str(cfg.filename))
        name = Path(cfg.filename).stem if cfg.filename else 'training'
        cfg.work_dir = os.fspath(work_dir or cfg.get('work_dir') or f'work_dirs/{name}')
    cfg.launcher = 'none'
    return cfg
