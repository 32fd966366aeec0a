"""The service's addresses: HTTP in, JSON out."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

from mmdetr.version import __version__

from .answers import Attention, Model, Prediction, Problem
from .images import RefusedUploadError
from .metrics import CONTENT_TYPE
from .middleware import Observe
from .pages import read_page
from .predictor import NoAttentionError
from .service import BusyError, Service

_BODY = dict(type='string', format='binary')
_UPLOAD = {
    'requestBody': dict(
        required=True,
        content={
            'multipart/form-data': dict(
                schema=dict(type='object', required=['image'], properties=dict(image=_BODY))
            ),
            'image/*': dict(schema=_BODY),
        },
    )
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: dict(description='The upload is empty, or the form has no file'),
    401: dict(description='The token is missing or wrong'),
    408: dict(description='The upload took too long'),
    413: dict(description='Too many bytes or pixels'),
    415: dict(description='The upload is no image'),
    422: dict(description='The image is broken, or a parameter out of its range'),
    503: dict(description='Busy: try again after the seconds of Retry-After'),
    504: dict(description='The answer took too long'),
}
for _problem in _PROBLEMS.values():
    _problem['model'] = Problem


def create_app(service: Service) -> FastAPI:
    """Build the application; when it ends, so does the service, after what it has accepted."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title=f'mmdetr: {service.predictor.name}',
        description='Objects in images, detected by a DETR.',
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages fetch scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Observe, count=service.metrics.requests.add)
    _add_pages(app)
    _add_answers(app, service)
    _add_figures(app, service)
    _add_errors(app)
    return app


def _add_pages(app: FastAPI) -> None:
    def page(name: str) -> Callable[[], Any]:
        text, policy = read_page(name)

        async def answer() -> HTMLResponse:
            return HTMLResponse(text, headers={'Content-Security-Policy': policy})

        return answer

    for path, name in (('/', 'index.html'), ('/docs', 'docs.html')):
        app.get(path, include_in_schema=False)(page(name))


def _add_answers(app: FastAPI, service: Service) -> None:
    allowed = [Depends(_require_token(service.settings.token))]

    @app.post(
        '/predict',
        dependencies=allowed,
        response_model=Prediction,
        responses=_PROBLEMS,
        openapi_extra=_UPLOAD,
    )
    async def predict(
        request: Request,
        score_thr: Annotated[
            float | None,
            Query(
                ge=0,
                le=1,
                description='leave out detections of lower scores (default: what /model says)',
            ),
        ] = None,
    ) -> Any:
        """Detect objects in an image: a form with one file, or the image as the whole body."""
        return JSONResponse(await service.predict(request, score_thr))

    @app.post(
        '/attention',
        dependencies=allowed,
        response_model=Attention,
        responses=_PROBLEMS,
        openapi_extra=_UPLOAD,
    )
    async def attention(
        request: Request,
        query: Annotated[int, Query(ge=0, description='one of the queries of /predict')],
    ) -> Any:
        """Show where the last decoder layer looks in the image for one detection."""
        return JSONResponse(await service.attend(request, query))

    @app.get('/model', dependencies=allowed, response_model=Model)
    async def model() -> Any:
        """Say what is served."""
        predictor, settings = service.predictor, service.settings
        return JSONResponse(
            dict(
                name=predictor.name,
                classes=list(predictor.classes),
                attention=predictor.attention,
                score_thr=predictor.score_thr,
                thresholds=predictor.thresholds and list(predictor.thresholds),
                max_bytes=settings.max_bytes,
                max_pixels=settings.max_pixels,
            )
        )


def _add_figures(app: FastAPI, service: Service) -> None:
    @app.get('/health', responses={503: dict(description='The model is stuck')})
    async def health() -> Any:
        """Say whether the service answers; needs no token."""
        healthy = service.is_healthy()
        return JSONResponse(dict(status='ok' if healthy else 'stuck'), 200 if healthy else 503)

    @app.get(
        '/metrics',
        dependencies=[Depends(_require_token(service.settings.token))],
        response_class=PlainTextResponse,
    )
    async def metrics() -> Any:
        """Give the figures that Prometheus collects."""
        return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE)


def _require_token(token: str | None) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        if token is None:
            return
        given = request.headers.get('authorization', '')
        # Equal time for whatever is wrong.
        if not hmac.compare_digest(given.encode(), f'Bearer {token}'.encode()):
            raise HTTPException(
                401,
                'a token is needed: Authorization: Bearer TOKEN',
                {'WWW-Authenticate': 'Bearer'},
            )

    return check


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, reason: Any, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(dict(detail=str(reason)), status, headers)

    @app.exception_handler(RefusedUploadError)
    async def refused(request: Request, error: RefusedUploadError) -> Any:
        # The rest of the upload may still be on its way.
        return answer(error.status, error, {'Connection': 'close'})

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> Any:
        headers = {'Retry-After': str(error.retry_after), 'Connection': 'close'}
        return answer(503, error, headers)

    @app.exception_handler(NoAttentionError)
    async def unseen(request: Request, error: NoAttentionError) -> Any:
        return answer(422, error)

    @app.exception_handler(asyncio.TimeoutError)
    async def late(request: Request, error: asyncio.TimeoutError) -> Any:
        return answer(504, 'the answer took too long')
