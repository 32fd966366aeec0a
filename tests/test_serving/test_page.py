"""The page at /, used in a headless Chromium as a person would."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')

import uvicorn
from pycocotools import mask as coco_mask

from mmdetr.serving.app import create_app
from mmdetr.serving.predictor import Detections, Prepared, as_text
from mmdetr.serving.server import address, bind
from mmdetr.serving.service import Service
from mmdetr.serving.settings import Settings
from tests.helpers.chromium import CHROMIUM, Page, open_chromium
from tests.helpers.serving import FakePredictor, encode

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed')

GREY = 128
BOXES = np.array([[20.0, 10.0, 120.0, 110.0], [150.0, 40.0, 250.0, 140.0], [0, 0, 300, 200]])
NAMES = ('cat', '<b>dog</b>')  # a name is no markup


class Fixed(FakePredictor):
    """The same three detections in every image of 300 x 200 pixels."""

    classes = NAMES
    score_thr = 0.6

    def predict(self, batch: Sequence[Prepared]) -> list[Detections]:
        areas = np.zeros((3, 200, 300), np.uint8)
        areas[0, 30:90, 40:100] = 1
        areas[1, 60:120, 170:230] = 1
        codes = [coco_mask.encode(np.asfortranarray(area)) for area in areas]
        found = Detections(
            boxes=BOXES,
            scores=np.array([0.9, 0.7, 0.3]),
            labels=np.array([0, 1, 0]),
            queries=np.array([5, 3, 8]),
            masks=as_text(codes),
        )
        return [found for _ in batch]

    def attend(self, batch: Sequence[tuple[Prepared, int]]) -> list[dict[str, Any]]:
        if batch[0][1] == 3:
            points = [[0.9, 0.9, 1.0], [0.6, 0.4, 0.2]]
            return [dict(kind='points', points=points) for _ in batch]
        values = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        return [dict(kind='map', height=2, width=3, values=values) for _ in batch]


@pytest.fixture(scope='module')
def url() -> Iterator[str]:
    service = Service(Fixed(), Settings(max_wait=0, token='geheim', max_pixels=100_000))
    config = uvicorn.Config(create_app(service), log_level='warning', lifespan='on')
    server = uvicorn.Server(config)
    bound = bind('127.0.0.1', 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f'{address(bound)}/'
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope='module')
def chromium(tmp_path_factory: Any) -> Iterator[Page]:
    with open_chromium(tmp_path_factory.mktemp('chromium')) as page:
        yield page


@pytest.fixture(scope='module')
def image(tmp_path_factory: Any) -> Path:
    file = tmp_path_factory.mktemp('image') / 'grey.png'
    file.write_bytes(encode(np.full((200, 300, 3), GREY, np.uint8)))
    return file


def open_with(page: Page, url: str, image: Path, width: int = 1100, height: int = 800) -> None:
    page.open(url, width, height, mobile=width < 500)
    enter_token(page)
    page.wait('state.model')
    page.choose_file('#file', image)
    page.wait('state.answer')


def enter_token(page: Page) -> None:
    page.wait('!document.querySelector("#access").hidden')
    page.take_problem('401')
    page.run(
        'document.querySelector("#token").value = "geheim";'
        'document.querySelector("#token").dispatchEvent(new Event("change"))'
    )


def rows(page: Page) -> list[str]:
    texts: list[str] = page.run(
        '[...document.querySelectorAll("#list button")].map(each => each.innerText)'
    )
    return [' '.join(text.split()) for text in texts]


def slide(page: Page, score: float) -> None:
    page.run(
        f'document.querySelector("#score").value = {score};'
        'document.querySelector("#score").dispatchEvent(new Event("input"))'
    )


def place_of(page: Page, x: float, y: float) -> tuple[float, float]:
    """The point of the window where a pixel of the image is shown."""
    left, top, width, height = page.run(
        '(r => [r.left, r.top, r.width, r.height])'
        '(document.querySelector("#stage").getBoundingClientRect())'
    )
    return left + x / 300 * width, top + y / 200 * height


def colour_at(page: Page, file: Path, x: float, y: float) -> tuple[int, ...]:
    """Colour of a pixel of the image, as the window shows it."""
    page.screenshot(file)
    left, top = place_of(page, x, y)
    with Image.open(io.BytesIO(file.read_bytes())) as shown:
        pixel = shown.convert('RGB').getpixel((int(left), int(top)))
    assert isinstance(pixel, tuple)
    return pixel


def test_upload_slider_and_legend(chromium: Page, url: str, image: Path, tmp_path: Path) -> None:
    page = chromium
    open_with(page, url, image)
    assert rows(page) == ['cat 0.90', '<b>dog</b> 0.70']
    assert page.run('document.querySelector("#status").innerText').startswith('2 detections')
    assert page.run('document.querySelectorAll("#boxes g").length') == 2
    # Boxes lie where they are in the image, masks are painted, the rest is as it was.
    red, _, blue = colour_at(page, tmp_path / 'shot.png', 70, 60)
    assert blue > red + 20
    assert colour_at(page, tmp_path / 'shot.png', 280, 180) == (GREY,) * 3
    edge = colour_at(page, tmp_path / 'shot.png', 120, 60)
    assert max(edge) - min(edge) > 60, edge

    slide(page, 0.2)
    assert rows(page) == ['cat 0.90', '<b>dog</b> 0.70', 'cat 0.30']
    slide(page, 0.8)
    assert rows(page) == ['cat 0.90']
    assert page.run('document.querySelectorAll("#boxes g").length') == 1
    slide(page, 0.95)
    assert rows(page) == []
    slide(page, 0.2)
    legend = page.run('[...document.querySelectorAll("#legend button")].map(e => e.innerText)')
    assert legend == ['cat (2)', '<b>dog</b> (1)']
    page.run('document.querySelector("#legend button").click()')
    assert rows(page) == ['<b>dog</b> 0.70']
    # The answer of 401 is an entry of the log before the token was given.
    assert not page.problems


def test_click_shows_row_and_attention(
    chromium: Page, url: str, image: Path, tmp_path: Path
) -> None:
    page = chromium
    open_with(page, url, image)
    page.run('document.querySelector("#show-masks").click()')
    before = colour_at(page, tmp_path / 'shot.png', 280, 170)
    page.click(*place_of(page, 70, 60))
    page.wait('state.attention.size')
    pressed = 'document.querySelector("#list [aria-pressed=true]")?.innerText'
    assert page.run(pressed).split() == ['cat', '0.90']
    assert before == (GREY,) * 3
    # All attention is on the lower right.
    right = colour_at(page, tmp_path / 'shot.png', 280, 170)
    left = colour_at(page, tmp_path / 'shot.png', 8, 190)
    assert right[0] > 200
    assert right[1] > 150
    assert right[2] < 60
    assert max(left) < 80
    page.click(*place_of(page, 200, 90))
    page.wait('state.attention.size === 2')
    assert page.run(pressed).split() == ['<b>dog</b>', '0.70']
    assert 'Deformable' in page.run('document.querySelector("#heat-note").innerText')
    point = colour_at(page, tmp_path / 'shot.png', 270, 180)
    assert point[0] > 200
    assert point[2] < 60
    page.press('Escape')
    assert page.run(pressed) is None
    assert colour_at(page, tmp_path / 'shot.png', 280, 170) == before
    assert not page.problems


def test_keyboard_alone(chromium: Page, url: str, image: Path) -> None:
    page = chromium
    open_with(page, url, image)
    reached = []
    page.run('document.body.focus()')
    for _ in range(12):
        page.press('Tab')
        reached.append(page.run('document.activeElement.id || document.activeElement.innerText'))
    joined = ' '.join(' '.join(each.split()) for each in reached)
    for stop in ('file', 'score', 'show-masks', 'show-heat', 'cat (1)', 'cat 0.90', 'save'):
        assert stop in joined, reached
    page.run('document.querySelector("#list button").focus()')
    page.press('Enter', '\r')
    page.wait('state.attention.size')
    # The list was built anew; the focus is where it was.
    focused = page.run('document.activeElement.innerText').split()
    assert focused == ['cat', '0.90']
    page.run('document.querySelector("#score").focus()')
    page.press('ArrowRight')
    assert page.run('document.querySelector("#score-text").innerText') == '0.61'


def test_on_a_phone(chromium: Page, url: str, image: Path) -> None:
    page = chromium
    open_with(page, url, image, 360, 740)
    assert page.run('document.documentElement.scrollWidth') <= 360
    small = page.run(
        '[...document.querySelectorAll("button, input[type=range]")]'
        '.filter(e => e.offsetHeight && e.offsetHeight < 24).length'
    )
    assert small == 0


def test_download(chromium: Page, url: str, image: Path, tmp_path: Path) -> None:
    page = chromium
    open_with(page, url, image)
    page.send('Page.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    page.run('document.querySelector("#save").click()')
    file = tmp_path / 'grey.json'
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    record = json.loads(file.read_text())
    assert record['file'] == 'grey.png'
    assert record['boxes'] == BOXES[:2].tolist()
    assert record['names'] == list(NAMES)
    assert record['score_thr'] == 0.6
    assert len(record['masks']) == len(record['queries']) == 2


def test_scores_by_class_until_the_slider_moves(
    chromium: Page, url: str, image: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Fixed, 'thresholds', [0.2, 0.8])
    page = chromium
    open_with(page, url, image)
    shown = 'document.querySelector("#score-text").innerText'
    scores = '[...document.querySelectorAll("#list b")].map(e => e.innerText).join()'
    assert (page.run(shown), page.run(scores)) == ('by class', '0.90,0.30')
    slide(page, 0.5)
    assert (page.run(shown), page.run(scores)) == ('0.50', '0.90,0.70')
    assert not page.problems


def test_problems_are_said(chromium: Page, url: str, tmp_path: Path) -> None:
    page = chromium
    (tmp_path / 'no.png').write_bytes(b'no image')
    page.open(url, 1100, 800)
    enter_token(page)
    page.wait('state.model')
    said = 'document.querySelector("#status.bad")?.innerText'
    page.choose_file('#file', tmp_path / 'no.png')
    page.wait(said)
    assert page.run(said).startswith('The upload is no image')
    (tmp_path / 'large.png').write_bytes(encode(np.zeros((400, 400, 3), np.uint8)))
    page.choose_file('#file', tmp_path / 'large.png')
    page.wait(f'{said}?.startsWith("400 x 400")')
    for status in ('415', '413'):
        page.take_problem(status)
    assert not page.problems


def test_docs_page_tells_all_addresses(chromium: Page, url: str) -> None:
    page = chromium
    page.open(f'{url}docs', 1100, 800)
    page.wait('document.querySelectorAll("h2").length > 8')
    text = page.run('document.body.innerText')
    for each in ('POST /predict', 'POST /attention', 'GET /metrics', 'score_thr', 'Retry-After'):
        assert each in text
    assert not page.problems
