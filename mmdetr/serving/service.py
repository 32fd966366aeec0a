"""The way of one request: admitted, read, decoded, batched, answered."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from mmdetr.utils.memory import resident_memory

from .answers import to_record
from .batching import Batcher
from .images import RefusedUploadError, decode_upload
from .metrics import Metrics
from .predictor import NoAttentionError, Predictor, Prepared
from .settings import Settings
from .uploads import drain, read_upload

T = TypeVar('T')
_LONGEST_RETRY = 60
_LOGGER = logging.getLogger('mmdetr.serving')


class BusyError(Exception):
    """All places are taken.

    Attributes:
        retry_after: Seconds after which there may be one.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f'the service is busy: try again in {retry_after} s')
        self.retry_after = retry_after


class Service:
    """A predictor with its queue, limits and figures.

    Memory is bounded: at most ``queue`` requests are here at a time, and twice ``max_batch`` images
    are decoded at a time.

    Args:
        predictor: The detector.
        settings: Limits.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self.predictor = predictor
        self.settings = settings
        self.metrics = Metrics(
            {
                ('mmdetr_requests_accepted', 'Requests that are read, queued or computed now.'): (
                    lambda: self._accepted
                ),
                ('mmdetr_queue_length', 'Images that wait for the model.'): (
                    lambda: self._batcher.waiting
                ),
                ('mmdetr_resident_memory_bytes', 'Memory of the process, without mapped files.'): (
                    lambda: resident_memory() * 2**20
                ),
            }
        )
        self._batcher = Batcher(settings.max_batch, settings.max_wait / 1000, self.metrics.on_batch)
        self._decoders = ThreadPoolExecutor(settings.decoders, thread_name_prefix='decoder')
        self._images = asyncio.Semaphore(2 * settings.max_batch)
        self._accepted = 0

    async def predict(self, request: Request, score_thr: float | None) -> dict[str, Any]:
        """Detect in the image of a request; returns a record as ``answers.Prediction`` says.

        Raises:
            BusyError: All places are taken.
            RefusedUploadError: The upload is at fault.
            asyncio.TimeoutError: The answer took too long.
        """
        async with self._place(request):
            content = await self._read(request)
            return await self._in_time(self._predict(content, score_thr))

    async def attend(self, request: Request, query: int) -> dict[str, Any]:
        """Look at a query's attention in the image of a request, see ``answers.Attention``.

        Raises:
            BusyError, RefusedUploadError, asyncio.TimeoutError: As in :meth:`predict`.
            NoAttentionError: There is no such query, or no attention.
        """
        if self.predictor.attention is None:
            await drain(request)
            raise NoAttentionError('this detector shows no attention: serve a checkpoint of torch')
        async with self._place(request):
            content = await self._read(request)
            return await self._in_time(self._attend(content, query))

    def warm_up(self) -> None:
        """Compute one small image: a service that answers is one that works."""
        prepared = self.predictor.prepare(np.full((64, 64, 3), 128, np.uint8))
        self._batcher.submit(self.predictor.predict, prepared.group, prepared).result()

    def is_healthy(self) -> bool:
        """Whether the model is not stuck in one batch for longer than requests wait for it."""
        return self._batcher.busy_seconds() < max(self.settings.timeout, 1.0)

    def close(self) -> None:
        """Compute what waits, then end the threads."""
        self._batcher.close()
        self._decoders.shutdown()

    @asynccontextmanager
    async def _place(self, request: Request) -> AsyncIterator[None]:
        if self._accepted >= self.settings.queue:
            await drain(request)
            seconds = math.ceil(self._batcher.expected_seconds())
            raise BusyError(min(max(seconds, 1), _LONGEST_RETRY))
        start = time.monotonic()
        self._accepted += 1
        try:
            yield
        finally:
            self._accepted -= 1
            self.metrics.request_seconds.add(time.monotonic() - start)

    async def _read(self, request: Request) -> bytes:
        return await read_upload(request, self.settings.max_bytes, self.settings.upload_timeout)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        return await asyncio.wait_for(answer, self.settings.timeout)

    async def _predict(self, content: bytes, score_thr: float | None) -> dict[str, Any]:
        async with self._images:
            prepared = await self._prepare(content)
            job = self._batcher.submit(self.predictor.predict, prepared.group, prepared)
            found = await asyncio.wrap_future(job)
        return to_record(found, prepared.size, score_thr, self.predictor)

    async def _attend(self, content: bytes, query: int) -> dict[str, Any]:
        async with self._images:
            prepared = await self._prepare(content)
            job = self._batcher.submit(self.predictor.attend, None, (prepared, query))
            return await asyncio.wrap_future(job)

    async def _prepare(self, content: bytes) -> Prepared:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, self._decode, content)

    def _decode(self, content: bytes) -> Prepared:
        image = decode_upload(content, self.settings.max_pixels)
        try:
            return self.predictor.prepare(image)
        except Exception as error:
            height, width = image.shape[:2]
            _LOGGER.warning('an image of %d x %d cannot be prepared', width, height, exc_info=True)
            reason = f'the model takes no image of {width} x {height} pixels: {error}'
            raise RefusedUploadError(422, reason) from error
