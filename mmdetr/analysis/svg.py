"""Line and bar charts as SVG text, for pages that load nothing."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 12, 42
COLOURS = (
    '#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#e377c2',
    '#7f7f7f', '#bcbd22', '#003f5c', '#ffa600',
)  # fmt: skip
MOST_POINTS = 400


class Series(NamedTuple):
    """A line of a chart.

    Attributes:
        name: For the legend.
        x, y: Of its points; those that are not finite are left out.
        dots: Also mark the points.
        dashed: Draw the line dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    dashed: bool = False


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
) -> str:
    """Draw lines with axes and a legend; nothing but a sentence where there is no point."""
    lines = [(each, _finite(each)) for each in series]
    points = [point for _, own in lines for point in own]
    if not points:
        return '<p class="missing">Nothing to draw.</p>'
    x_axis = _Axis([x for x, _ in points], x_range, LEFT, WIDTH - RIGHT)
    y_axis = _Axis([y for _, y in points], y_range, HEIGHT - BOTTOM, TOP)
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    for number, (each, own) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in _thinned(own)]
        text = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
        dashes = ' stroke-dasharray="6 4"' if each.dashed else ''
        parts.append(
            f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        if each.dots or len(places) == 1:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places
            ]
    return _svg(parts, y_label) + _legend([each.name for each in series])


def bar_chart(labels: Sequence[str], values: Sequence[float], y_label: str) -> str:
    """Draw one bar for each label."""
    if not values:
        return '<p class="missing">Nothing to draw.</p>'
    y_axis = _Axis([*values], (min(0, *values), max(0, *values) or 1), HEIGHT - BOTTOM, TOP)
    slot = (WIDTH - LEFT - RIGHT) / len(values)
    parts = [_frame(None, y_axis, '', y_label)]
    every = -(-len(labels) // 12)
    for number, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, top, zero = (
            LEFT + number * slot,
            y_axis.place(max(value, 0)),
            y_axis.place(min(value, 0)),
        )
        parts.append(
            f'<rect x="{x + 0.1 * slot:.1f}" y="{top:.1f}" width="{0.8 * slot:.1f}" '
            f'height="{max(zero - top, 0):.1f}" fill="{COLOURS[0]}">'
            f'<title>{escape(label)}: {value:.4g}</title></rect>'
        )
        if number % every == 0:
            short = label if len(label) <= 12 else f'{label[:11]}…'
            parts.append(_text(x + slot / 2, HEIGHT - BOTTOM + 16, short, 'middle'))
    return _svg(parts, y_label)


class _Axis:
    """From values to pixels, with round numbers as ticks."""

    def __init__(
        self,
        values: Sequence[float],
        limits: tuple[float, float] | None,
        first: float,
        last: float,
    ) -> None:
        low, high = limits or (min(values), max(values))
        if high - low < 1e-12 * max(abs(high), 1e-30):
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        step = _round_step((high - low) / 5)
        if all(value == round(value) for value in values):
            step = max(step, 1.0)
        self.low, self.high = (low, high) if limits else (low, math.ceil(high / step - 1e-9) * step)
        if limits is None:
            self.low = math.floor(low / step + 1e-9) * step
        self.first, self.last = first, last
        count = math.floor((self.high - self.low) / step + 1e-6)
        start = math.ceil(self.low / step - 1e-6)
        ticks = [(start + i) * step for i in range(count + 1)]
        self.ticks = [tick for tick in ticks if tick <= self.high + step * 1e-6]

    def place(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def _round_step(size: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= size * 0.999)


def _finite(series: Series) -> list[tuple[float, float]]:
    pairs = zip(series.x, series.y, strict=True)
    return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // MOST_POINTS)
    return points if step <= 1 else [*points[::step], points[-1]]


def _frame(x_axis: _Axis | None, y_axis: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>'
            + _text(LEFT - 6, y + 4, _number(tick), 'end')
        )
    for tick in x_axis.ticks if x_axis else ():
        x = x_axis.place(tick)  # type: ignore[union-attr]
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#555"/>'
            + _text(x, bottom + 18, _number(tick), 'middle')
        )
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#555"/>')
    parts.append(_text((LEFT + right) / 2, HEIGHT - 6, x_label, 'middle'))
    return ''.join(parts)


def _number(value: float) -> str:
    return '0' if abs(value) < 1e-12 else f'{value:.4g}'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: list[str], label: str) -> str:
    head = f'<p class="axis">{escape(label)}</p>' if label else ''
    return (
        f'{head}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{"".join(parts)}</svg>'
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ''
    items = (
        f'<span><i style="background:{COLOURS[n % len(COLOURS)]}"></i>{escape(name)}</span>'
        for n, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(items)}</p>'
