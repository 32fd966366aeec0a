"""Class names in any script are written, or said to be numbers; never squares in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from mmdetr.visualization import DetVisualizer, det_visualizer, drawing, fonts
from mmdetr.visualization.drawing import draw_boxes
from tests.test_visualization.test_det_visualizer import GREY, instances, make_sample

BLOCK, BELL = '圆', '鐘'
NAME = f'{BLOCK} cat'


@pytest.fixture(autouse=True)
def _forget(monkeypatch: Any) -> None:
    """What this machine has installed must not decide."""
    monkeypatch.setattr(fonts, 'findSystemFonts', lambda: [])
    for function in (fonts.font_for, fonts._system_fonts, fonts._characters):
        function.cache_clear()
    yield
    for function in (fonts.font_for, fonts._system_fonts, fonts._characters):
        function.cache_clear()


def make_font(file: Path, characters: str) -> str:
    """A font whose glyphs are full blocks."""
    pen = TTGlyphPen(None)
    for k, point in enumerate(((0, 0), (0, 900), (900, 900), (900, 0))):
        (pen.lineTo if k else pen.moveTo)(point)
    pen.closePath()
    names = {ord(character): f'u{ord(character):04X}' for character in characters}
    glyphs = ['.notdef', *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf({name: pen.glyph() for name in glyphs})
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName='Test', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(file)
    return str(file)


def captions_of(visualizer: DetVisualizer, classes: tuple, monkeypatch: Any) -> list[str]:
    """What is written into a picture of one object of each class."""
    seen = []
    monkeypatch.setattr(
        det_visualizer, 'draw_boxes', lambda image, _, captions, *__: seen.extend(captions) or image
    )
    visualizer.dataset_meta = dict(classes=classes)
    labels = list(range(len(classes)))
    boxes = [[50, 60, 200, 400]] * len(labels)
    sample = make_sample(pred=instances(boxes, labels, [0.9 - 0.01 * k for k in labels]))
    visualizer.draw(GREY, sample)
    return [caption[:-5] for caption in seen]


@pytest.mark.parametrize('name', ['cat', 'прямоугольник', 'Üçgen', 'κύκλος', 'دائرة'])
def test_scripts_of_the_default_font(name: str) -> None:
    assert fonts.font_for(name) == fonts.DEFAULT_FONT


def test_an_installed_font_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    installed = [
        make_font(tmp_path / name, characters)
        for name, characters in (
            ('LastResort.ttf', f'{BLOCK}{BELL}cat'),
            ('a-Bold.ttf', f'{BLOCK}cat'),
            ('b.ttf', BLOCK),
            ('c.ttf', f'{BLOCK}cat'),
        )
    ]
    (tmp_path / 'broken.ttf').write_bytes(b'no font')
    installed.append(str(tmp_path / 'broken.ttf'))
    monkeypatch.setattr(fonts, 'findSystemFonts', lambda: installed)
    # A plain one that has the whole name.
    assert fonts.font_for(NAME) == installed[3]
    assert fonts.font_for(BELL) is None
    assert fonts.font_for('cat') == fonts.DEFAULT_FONT

    used = []
    plain = drawing._font
    monkeypatch.setattr(
        drawing, '_font', lambda size, *file: used.append(file) or plain(size, *file)
    )
    draw_boxes(GREY, np.array([[50, 60, 200, 400.0]] * 2), [NAME, 'cat'], [(255, 0, 0)] * 2)
    assert used == [(installed[3],), (fonts.DEFAULT_FONT,)]


def test_a_font_of_ones_own(tmp_path: Path, monkeypatch: Any) -> None:
    own = make_font(tmp_path / 'own.ttf', f'{BLOCK}cat 0123456789.')
    visualizer = DetVisualizer(font=own)
    assert fonts.font_for('cat', own) == own
    assert fonts.font_for('dog', own) == fonts.DEFAULT_FONT
    assert captions_of(visualizer, (NAME, 'dog'), monkeypatch) == [NAME, 'dog']
    monkeypatch.undo()
    # Its blocks are in the picture.
    sample = make_sample(pred=instances([[50, 60, 200, 400]], [0], [0.9]))
    assert (visualizer.draw(GREY, sample) != DetVisualizer().draw(GREY, sample)).any()


def test_what_no_font_has_is_a_number_and_said_once(monkeypatch: Any) -> None:
    said = []
    monkeypatch.setattr(det_visualizer, 'print_log', lambda text, **_: said.append(text))
    visualizer = DetVisualizer()
    for _ in range(2):
        found = captions_of(visualizer, ('cat', BLOCK, 'two\nlines', BELL), monkeypatch)
        assert found == ['cat', 'class 1', 'two lines', 'class 3']
        visualizer.draw(GREY, make_sample(pred=instances([[50, 60, 200, 400]], [3], [0.9])))
    assert len(said) == 1
    assert said[0].startswith('2 of 4 class names are drawn as numbers')
    assert f'{BLOCK}, {BELL}' in said[0]


@pytest.mark.parametrize('name', ['gone.ttf', 'text.ttf'])
def test_what_is_no_font(tmp_path: Path, name: str) -> None:
    (tmp_path / 'text.ttf').write_text('text')
    with pytest.raises(ValueError, match=f'no font file that can be read: .*{name}'):
        DetVisualizer(font=str(tmp_path / name))
