"""What people hand in as an image, turned into pixels. Does not import torch."""

from __future__ import annotations

import http.client
import io
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from mmdetr.utils.image_decoding import UnreadableImageError, decode_image
from mmdetr.version import __version__

if TYPE_CHECKING:
    import torch

ImageInput: TypeAlias = Union[
    str,
    os.PathLike,
    bytes,
    bytearray,
    memoryview,
    BinaryIO,
    Image.Image,
    np.ndarray,
    'torch.Tensor',
]
TAKEN = (
    'a path, an http(s) URL, a PIL image, the bytes of an image file or a file opened for reading '
    'them, a uint8 array [h, w, 3] in BGR order, a uint8 or 0..1 float tensor [3, h, w] in RGB '
    'order, or a list or generator of these'
)
# Seconds until a server answers or goes on sending, seconds for a whole image, and bytes of one.
URL_SILENCE, URL_TIME, URL_SIZE = 20.0, 120.0, 256 * 2**20
_CHUNK = 2**16
_PATH_LENGTH = 4096
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)


def is_single(imgs: Any) -> bool:
    """Whether something is one image, and not several or none.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(imgs, _SINGLE) or hasattr(imgs, 'read') or _is_tensor(imgs):
        return True
    # The order of a set is by chance, and iterating over a mapping gives its keys.
    if isinstance(imgs, Iterable) and not isinstance(imgs, Mapping | Set):
        return False
    raise TypeError(f'no image: {type(imgs).__name__}; taken is {TAKEN}')


def to_pipeline_input(img: Any, load: Callable[[dict], dict]) -> dict[str, Any]:
    """Turn one image into what the steps of a pipeline after the loading step take.

    Args:
        img: See :func:`mmdetr.apis.inference_detector`.
        load: The pipeline's loading step, which reads local files.

    Returns:
        dict with ``img`` uint8 [h, w, 3] BGR, ``img_shape``, ``ori_shape`` and, if the image has
        one, ``img_path``.

    Raises:
        TypeError, ValueError: It is no image, or an array of another layout or range.
        UnreadableImageError: A file is missing or no image.
    """
    frame = getattr(load, 'exif_frame', 'shown')
    if isinstance(img, str | os.PathLike):
        path = os.fsdecode(img) if isinstance(img, os.PathLike) else img
        if not is_url(path):
            return _load_file(path, load)
        try:
            return _with_shapes(decode_image(_fetch(path), frame), path)
        except UnreadableImageError as error:
            raise UnreadableImageError(f'{path}: {error}') from error
    if isinstance(img, np.ndarray):
        return _with_shapes(_from_array(img))
    if _is_tensor(img):
        return _with_shapes(_from_tensor(img))
    if hasattr(img, 'read'):
        img = img.read()
        if not isinstance(img, bytes):
            raise TypeError("a file must be opened with 'rb' to read an image from it")
    if isinstance(img, bytearray | memoryview):
        img = bytes(img)
    if isinstance(img, bytes | Image.Image):
        return _with_shapes(decode_image(img, frame))
    raise TypeError(f'no image: {type(img).__name__}; taken is {TAKEN}')


def _is_tensor(img: Any) -> bool:
    torch = sys.modules.get('torch')  # whoever holds a tensor has imported it
    return torch is not None and isinstance(img, torch.Tensor)


def is_url(text: str) -> bool:
    """Whether a text is an address that images are fetched from."""
    return text.lower().startswith(('http://', 'https://'))


def _load_file(path: str, load: Callable[[dict], dict]) -> dict[str, Any]:
    if path.startswith('data:') or len(path) > _PATH_LENGTH:
        raise UnreadableImageError(
            f'{path[:40]}... is no path; of a base64 text, give the decoded bytes'
        )
    if os.path.isdir(path):
        raise UnreadableImageError(
            f'{path} is a folder: give its files as a list, or the folder to tools/infer.py'
        )
    if os.path.exists(path) and not os.path.isfile(path):
        raise UnreadableImageError(f'{path} is no regular file, but a pipe or device')
    if any(sign in path for sign in '*?[') and not os.path.lexists(path) and '://' not in path:
        raise UnreadableImageError(
            f'{path} does not exist: give the files of a pattern as a list (glob.glob)'
        )
    return load(dict(img_path=path))


def _with_shapes(img: np.ndarray, path: str | None = None) -> dict[str, Any]:
    data = dict(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2])
    return data if path is None else dict(data, img_path=path)


def _from_array(img: np.ndarray) -> np.ndarray:
    """Take [h, w], or [h, w, 1, 3 or 4] in BGR(A) order; the alpha channel is dropped."""
    channels = img.shape[2] if img.ndim == 3 else 1
    if img.dtype != np.uint8 or img.ndim not in (2, 3) or channels not in (1, 3, 4) or not img.size:
        hint = ''
        if img.ndim == 4:
            hint = '; pass several images as a list'
        elif img.ndim == 3 and img.shape[0] in (1, 3) and channels not in (1, 3, 4):
            hint = '; channels come last: array.transpose(1, 2, 0)'
        elif img.dtype != np.uint8:
            hint = '; which range its values have is not known, so scale it to 0..255 yourself'
        raise ValueError(
            'an image array must be uint8 [h, w, 3] in BGR order (or grey [h, w], or BGRA), got '
            f'{img.dtype} {img.shape}{hint}'
        )
    return _three_channels(img.reshape(*img.shape[:2], channels))


def _from_tensor(img: torch.Tensor) -> np.ndarray:
    """Take [3, h, w] as torchvision reads it: RGB, uint8 in 0..255 or float in 0..1."""
    import torch

    wanted = (
        'an image tensor must be uint8, or float in 0..1, of [3, h, w] in RGB order (or grey '
        f'[1, h, w], or RGBA), got {img.dtype} {list(img.shape)}'
    )
    if img.ndim == 4:
        raise ValueError(f'{wanted}; pass several images as a list: list(tensor)')
    if img.ndim != 3 or not img.numel():
        raise ValueError(wanted)
    if img.shape[0] not in (1, 3, 4):
        raise ValueError(f'{wanted}; channels come first: tensor.permute(2, 0, 1)')
    if img.shape[2] in (1, 3, 4):
        raise ValueError(f'{wanted}, whose channels may come first or last: pass an array instead')
    img = img.detach().cpu()
    if img.is_floating_point():
        low, high = img.min().item(), img.max().item()
        if not (low >= 0 and high <= 1):  # NaN included
            raise ValueError(
                f'{wanted} with values {low:g} to {high:g}; a normalised image cannot be taken, '
                'one in 0..255 as tensor.to(torch.uint8)'
            )
        img = (img.float() * 255).round().to(torch.uint8)
    if img.dtype != torch.uint8:
        raise ValueError(wanted)
    rgb = _three_channels(img.permute(1, 2, 0).numpy())
    return np.ascontiguousarray(rgb[..., ::-1])


def _three_channels(img: np.ndarray) -> np.ndarray:
    """Repeat a grey channel, drop an alpha channel."""
    if img.shape[2] == 1:
        return np.repeat(img, 3, axis=2)
    return np.ascontiguousarray(img[..., :3])


def _fetch(url: str) -> bytes:
    """Read a URL, in bounded time and of bounded size."""
    headers = {'User-Agent': f'mmdetr/{__version__}'}  # some servers refuse Python's own
    deadline = time.monotonic() + URL_TIME
    content = io.BytesIO()
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=URL_SILENCE) as answer:
            stated = answer.headers.get('Content-Length')
            while chunk := answer.read1(_CHUNK):
                content.write(chunk)
                if time.monotonic() > deadline:
                    raise TimeoutError(f'not finished after {URL_TIME:g} s')
                if content.tell() > URL_SIZE:
                    raise OSError(f'larger than {URL_SIZE / 2**20:g} MiB')
    # ValueError and HTTPException: an address or an answer that breaks the protocol.
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, 'reason', None) or error
        raise UnreadableImageError(f'cannot be fetched: {reason}') from error
    if stated is not None and stated.isdigit() and content.tell() < int(stated):
        raise UnreadableImageError(f'ends after {content.tell()} of {stated} bytes')
    return content.getvalue()


def name_in_url(url: str) -> str:
    """The last part of a URL's path, as a name for files made from it."""
    return urlsplit(url).path.rpartition('/')[2] or 'image'
