"""Videos in and out by PyAV, cameras by OpenCV.

Legend: h w size of a frame.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from .sources import Picture

MILLISECOND = Fraction(1, 1000)


class VideoError(ValueError):
    """A video cannot be read or written."""


class VideoFile:
    """The frames of a video file, upright.

    Args:
        path: The file.
        out_dir: Folder of the drawn video.

    Raises:
        VideoError: PyAV is not installed, the file is no video, or the drawn one would replace it.
    """

    def __init__(self, path: str, out_dir: Path) -> None:
        self.path = path
        self.unreadable = 0
        self.video_name = Path(f'{Path(path).stem}.mp4')
        if (out_dir / self.video_name).resolve() == Path(path).resolve():
            raise VideoError(f'the video of {path} would replace it: choose another --out-dir')
        with self._open() as container:
            self.total = container.streams.video[0].frames

    def read(self, load: Callable[[dict], dict]) -> Iterator[Picture]:
        """Yield the frames with their number, from 0, and time in seconds.

        Raises:
            VideoError: The file breaks off within a frame.
        """
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            rate = float(stream.average_rate or 25)
            frames = container.decode(stream)
            number = 0
            while (frame := self._next(frames)) is not None:
                seconds = number / rate if frame.time is None else float(frame.time)
                # The tag says how far to turn counterclockwise, as numpy does.
                turned = np.rot90(frame.to_ndarray(format='bgr24'), round(frame.rotation / 90))
                where = dict(frame=number, time=round(seconds, 6))
                name = Path(f'{self.video_name.stem}_{number:06}.png')
                yield Picture(self.path, name, np.ascontiguousarray(turned), where)
                number += 1

    def _next(self, frames: Any) -> Any:
        try:
            return next(frames, None)
        except (OSError, ValueError) as error:  # PyAV's errors are these as well
            raise VideoError(f'{self.path} cannot be decoded any further: {error}') from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        av = load_av()
        try:
            container = av.open(self.path)
        except (OSError, ValueError) as error:
            raise VideoError(f'{self.path} cannot be read as a video: {error}') from error
        with container:
            if not container.streams.video:
                raise VideoError(f'{self.path} has no pictures in it')
            yield container


class Camera:
    """The frames of a camera, until the user interrupts.

    Args:
        number: Which camera, from 0.

    Raises:
        VideoError: There is none.
    """

    total = 0

    def __init__(self, number: int) -> None:
        self.number = number
        self.unreadable = 0
        self.video_name = Path(f'camera{number}.mp4')
        if not _has_device(number):  # OpenCV tells at length what it tries
            raise VideoError(f'no camera answers to number {number}')
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise VideoError(f'no camera answers to number {number}')

    def read(self, load: Callable[[dict], dict]) -> Iterator[Picture]:
        """Yield frames with their number and the seconds since the first."""
        begin = time.monotonic()
        number = 0
        try:
            while True:
                is_there, image = self._capture.read()
                if not is_there:
                    return
                where = dict(frame=number, time=round(time.monotonic() - begin, 6))
                name = Path(f'{self.video_name.stem}_{number:06}.png')
                yield Picture(f'camera {self.number}', name, image, where)
                number += 1
        finally:
            self._capture.release()


def _has_device(number: int) -> bool:
    return sys.platform != 'linux' or Path(f'/dev/video{number}').exists()


class VideoWriter:
    """Write frames to an MP4 file, each at its time; to be used as a context manager.

    Frames of another size are brought to that of the first. The file is H.264 where PyAV has it,
    else MPEG-4.

    Args:
        path: The file, replaced; its folder is made.

    Raises:
        VideoError: PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._av = load_av()
        self.path = path
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Add a frame.

        Args:
            image: uint8 [h, w, 3] RGB.
            seconds: When it is shown.
        """
        if self._container is None:
            self._begin(*image.shape[:2])
        size = self._stream.width, self._stream.height
        if image.shape[1::-1] != size:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
        # Two frames of one moment are no video to a player.
        self._last = max(round(seconds / MILLISECOND), self._last + 1)
        frame.pts, frame.time_base = self._last, MILLISECOND
        self._container.mux(self._stream.encode(frame))

    def _begin(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self.path), 'w')
        codec = 'libx264' if 'libx264' in self._av.codecs_available else 'mpeg4'
        self._stream = self._container.add_stream(codec, rate=25)
        # Colours are stored for two by two pixels.
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = 'yuv420p'
        self._stream.codec_context.time_base = MILLISECOND


def load_av() -> Any:
    """Import PyAV.

    Raises:
        VideoError: It is not installed; the message says how to.
    """
    try:
        import av
    except ImportError:
        raise VideoError(
            "videos need PyAV: pip install av, or pip install 'mmdetr[video]'"
        ) from None
    return av
