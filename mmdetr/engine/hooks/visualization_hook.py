"""Draw predictions while validating and testing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.datasets.transforms import LoadImageFromFile
from mmdetr.registry import HOOKS
from mmdetr.structures import DetDataSample
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.operating_point import META_KEY, operating_point_of
from mmdetr.visualization import DetVisualizer

from ..resume.history import ValidationHistory

WRITABLE = ('.jpg', '.jpeg', '.png')


@HOOKS.register_module()
class DetVisualizationHook(Hook):
    """Draw ground truth and predictions of validation and test images.

    In validation the first images of every epoch go to the visualizer's backends (TensorBoard,
    files under the work directory) as ``val_<image>``. In testing pictures go to files named like
    the images.

    Args:
        draw: Draw in validation.
        interval: Draw every ``interval``-th image.
        score_thr: Predictions with lower scores are left out. By default those below the operating
            point: of the last validation in training, of the checkpoint in testing; 0.3 without.
        max_val_images: Most images per validation.
        test_out_dir: Folder for the pictures of a test; None draws none.

    Raises:
        TypeError: There is something to draw, but the runner's visualizer is not a DetVisualizer.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 1,
        score_thr: float | None = None,
        max_val_images: int = 8,
        test_out_dir: str | None = None,
    ) -> None:
        check_at_least(1, 'DetVisualizationHook', interval=interval)
        check_at_least(0, 'DetVisualizationHook', max_val_images=max_val_images)
        self.draw = draw
        self.interval = interval
        self.score_thr = score_thr
        self.max_val_images = max_val_images
        self.test_out_dir = test_out_dir
        self._training = False
        self._images_seen = 0
        self._names: set[str] = set()

    def before_run(self, runner: Runner) -> None:
        """Find an unfit visualizer before the first epoch."""
        wanted = self.draw or self.test_out_dir is not None
        if wanted and not isinstance(runner.visualizer, DetVisualizer):
            raise TypeError(
                "drawing needs visualizer=dict(type='DetVisualizer', ...) in the config, got "
                f'{type(runner.visualizer).__name__}'
            )

    def before_train(self, runner: Runner) -> None:
        self._training = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the score thresholds that the checkpoint states."""
        if isinstance(runner.visualizer, DetVisualizer):
            runner.visualizer.operating_point = operating_point_of(checkpoint.get('meta'))

    def before_val_epoch(self, runner: Runner) -> None:
        self._images_seen = 0
        if self._training and self.draw and self.score_thr is None:
            # Before the first, nothing is known of this training.
            newest = (ValidationHistory(runner.message_hub).entries or [{}])[-1]
            point = operating_point_of({META_KEY: newest.get(META_KEY)})
            runner.visualizer.operating_point = point

    def before_test_epoch(self, runner: Runner) -> None:
        self._images_seen = 0
        self._names.clear()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the epoch's first images into the backends."""
        # The backends listen to the main process only.
        if not self.draw or not is_main_process():
            return
        for i in self._chosen(len(outputs), self.max_val_images):
            runner.visualizer.add_datasample(
                f'val_{_name(outputs[i])}',
                _image(data_batch, outputs, i),
                outputs[i],
                pred_score_thr=self.score_thr,
                # In mere validation, asking for the iteration would build the training loop.
                step=runner.iter if self._training else 0,
            )

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Write pictures of the batch to ``test_out_dir``."""
        if self.test_out_dir is None:
            return
        for i in self._chosen(len(outputs)):
            runner.visualizer.add_datasample(
                _name(outputs[i]),
                _image(data_batch, outputs, i),
                outputs[i],
                out_file=Path(self.test_out_dir, self._file_name(outputs[i])),
                pred_score_thr=self.score_thr,
            )

    def _chosen(self, batch_size: int, limit: int | None = None) -> list[int]:
        """Choose the positions in the batch of the images to draw."""
        first, self._images_seen = self._images_seen, self._images_seen + batch_size
        chosen = [i for i in range(batch_size) if (first + i) % self.interval == 0]
        if limit is not None:
            chosen = [i for i in chosen if (first + i) // self.interval < limit]
        return chosen

    def _file_name(self, data_sample: DetDataSample) -> str:
        """Take the image's own name; with its id where two folders have images of one name."""
        name = Path(data_sample.get('img_path') or str(data_sample.img_id)).name
        if not name.lower().endswith(WRITABLE):
            name += '.png'
        if name in self._names:
            name = f'{data_sample.img_id}_{name}'
        self._names.add(name)
        return name


def _name(data_sample: DetDataSample) -> str:
    path = data_sample.get('img_path')
    return Path(path).stem if path else str(data_sample.img_id)


def _image(data_batch: dict, outputs: Sequence[DetDataSample], i: int) -> np.ndarray:
    """Read RGB image i: the original where there is a file, else the network's input as loaded."""
    path = outputs[i].get('img_path')
    if path:
        height, width = outputs[i].ori_shape[:2]
        image = LoadImageFromFile()(dict(img_path=path, width=width, height=height))['img']
    else:
        # uint8 [3, h, w] BGR: the data preprocessor normalises and pads a copy.
        image = data_batch['inputs'][i].cpu().numpy().transpose(1, 2, 0)
    return np.ascontiguousarray(image[..., ::-1])
