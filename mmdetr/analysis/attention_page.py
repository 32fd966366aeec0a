"""Pictures of attention, and a page of them.

Legend: N detections, h w size of the image as drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.model import BaseModel
from PIL import Image, ImageDraw

from mmdetr.apis.images import to_pipeline_input
from mmdetr.apis.inference import test_pipeline
from mmdetr.structures import above_operating_point
from mmdetr.visualization.drawing import Colour, class_colour, draw_boxes, enlarged, with_title

from .attention_maps import AttentionMaps, attend
from .page import Section, missing, note, page, picture

COLUMNS = 4
_WIDEST = 480  # of a picture in a sheet
_GRID = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
_COOL, _WARM = np.array([30.0, 30.0, 60.0]), np.array([255.0, 215.0, 0.0])


@dataclass(frozen=True)
class AttentionPage:
    """What is drawn of one image.

    Attributes:
        html: The page.
        sheets: uint8 RGB pictures by name, ``'decoder'`` and ``'encoder'``.
    """

    html: str
    sheets: dict[str, np.ndarray]

    def write(self, path: Path) -> list[Path]:
        """Write the page and, beside it, the pictures; return the files."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html, encoding='utf-8')
        files = [path]
        for name, sheet in self.sheets.items():
            files.append(path.with_name(f'{path.stem}_{name}.png'))
            Image.fromarray(sheet).save(files[-1])
        return files


def attention_page(
    model: BaseModel,
    image: Any,
    points: Sequence[tuple[float, float]] = (),
    score_thr: float | None = None,
    max_detections: int = 8,
) -> AttentionPage:
    """Draw the decoder's attention of each detection and the encoder's at points.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`.
        image: As :func:`~mmdetr.apis.inference_detector` takes it.
        points: x, y in pixels of the image; by default the centres of the best detections, or a
            grid where there is none.
        score_thr: Least score; by default the operating point.
        max_detections: Most detections that are drawn, the best.

    Raises:
        UnreadableImageError: The file is missing or no image.
        ValueError: A point is outside of the image.
    """
    load, _ = test_pipeline(model)
    pixels = np.ascontiguousarray(to_pipeline_input(image, load)['img'][..., ::-1])
    attention = attend(model, image)
    classes = model.dataset_meta.get('classes', ())
    found = attention.sample.pred_instances
    if score_thr is None:
        pred = above_operating_point(found, model.operating_point, classes)
    else:
        pred = found[found.scores >= score_thr]
    pred = pred[pred.scores.argsort(descending=True)][:max_detections].cpu()
    names = [
        f'{classes[k] if k < len(classes) else f"class {k}"} {score:.2f}'
        for k, score in zip(pred.labels.tolist(), pred.scores.tolist(), strict=True)
    ]
    boxes, labels = pred.bboxes.numpy(), pred.labels.tolist()
    sheets, sections = {}, []

    everything = draw_boxes(pixels, boxes, names, [class_colour(k) for k in labels])
    body = picture(everything, f'{len(names)} detections')
    if names:
        maps = attention.cross(pred.queries)
        tiles = [
            _tile(pixels, maps, n, name, class_colour(labels[n]), boxes[n])
            for n, name in enumerate(names)
        ]
        sheets['decoder'] = _sheet(tiles)
        body += note(_explain(maps, 'decoder'))
        body += ''.join(picture(tile, name) for tile, name in zip(tiles, names, strict=True))
    else:
        body += missing('No detection reaches the score threshold.')
    sections.append(Section('decoder', 'Decoder: where each detection looks', body))

    height, width = pixels.shape[:2]
    chosen = list(points) or [
        (min(max((x1 + x2) / 2, 0), width - 1), min(max((y1 + y2) / 2, 0), height - 1))
        for x1, y1, x2, y2 in boxes[:COLUMNS].tolist()
    ]
    chosen = chosen or [(x * width, y * height) for x, y in _GRID]
    try:
        maps = attention.encoder(chosen)
    except ValueError as error:
        if points and 'outside' in str(error):
            raise
        body = missing(f'{str(error)[0].upper()}{str(error)[1:]}.')
    else:
        titles = [f'from x {x:.0f}, y {y:.0f}' for x, y in chosen]
        tiles = [
            _tile(pixels, maps, n, title, (255, 0, 0), point=chosen[n])
            for n, title in enumerate(titles)
        ]
        sheets['encoder'] = _sheet(tiles)
        body = note(_explain(maps, 'encoder'))
        body += ''.join(picture(tile, title) for tile, title in zip(tiles, titles, strict=True))
    sections.append(Section('encoder', 'Encoder: what a point attends to', body))
    return AttentionPage(page('Attention', '', sections), sheets)


def _explain(maps: AttentionMaps, part: str) -> str:
    if maps.points is None:
        height, width = maps.maps.shape[1:]
        return (
            f'Last {part} layer ({maps.layer}), mean over its heads, {width} x {height} cells; '
            'yellow is where it looks most.'
        )
    return (
        f'Last {part} layer ({maps.layer}): deformable attention looks at '
        f'{maps.points.shape[1]} points, drawn the larger the more they weigh; points outside of '
        'the image are left out.'
    )


def _tile(
    pixels: np.ndarray,
    maps: AttentionMaps,
    index: int,
    title: str,
    colour: Colour,
    box: np.ndarray | None = None,
    point: tuple[float, float] | None = None,
) -> np.ndarray:
    """The image with one map over it, and the box or the point that the map belongs to."""
    height, width = pixels.shape[:2]
    if maps.points is None:
        heat = maps.on_image(index, height, width).numpy()[..., None]
        share = 0.6 + 0.25 * heat  # of the colour; dark where nothing is looked at
        shown = (1 - share) * pixels + share * (_COOL + heat * (_WARM - _COOL))
    else:
        shown = 0.6 * pixels.astype(float)
    canvas = Image.fromarray(enlarged(shown.clip(0, 255).astype(np.uint8)))
    factor = canvas.width / width
    draw = ImageDraw.Draw(canvas)
    line = max(2, canvas.width // 200)
    if box is not None:
        draw.rectangle(_upright(box * factor), outline=colour, width=line)
    if maps.points is not None:
        _draw_points(draw, maps, index, canvas.size)
    if point is not None:
        x, y, r = point[0] * factor, point[1] * factor, 3 * line
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=line)
    return with_title(np.asarray(canvas), title)


def _upright(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _draw_points(
    draw: ImageDraw.ImageDraw, maps: AttentionMaps, index: int, size: tuple[int, int]
) -> None:
    assert maps.points is not None
    assert maps.weights is not None
    weights = maps.weights[index]
    largest = float(weights.max())
    for n in weights.argsort().tolist():  # the heaviest lie on top
        x, y = maps.points[index, n].tolist()
        if not (0 <= x <= 1 and 0 <= y <= 1):
            continue
        share = float(weights[n]) / largest
        x, y = x * size[0], y * size[1]
        radius = max(1.5, 0.014 * max(size) * share**0.5)
        colour = tuple(np.round(_COOL + share * (_WARM - _COOL)).astype(int).tolist())
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=colour, outline=(255, 255, 255)
        )


def _sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures of one size side by side in rows."""
    scale = min(1.0, _WIDEST / tiles[0].shape[1])
    small = [
        Image.fromarray(tile).resize(
            (round(tile.shape[1] * scale), round(tile.shape[0] * scale)), Image.Resampling.LANCZOS
        )
        for tile in tiles
    ]
    width, height, gap = small[0].width, small[0].height, 6
    columns = min(COLUMNS, len(small))
    rows = -(-len(small) // columns)
    size = columns * (width + gap) - gap, rows * (height + gap) - gap
    sheet = Image.new('RGB', size, 'white')
    for number, tile in enumerate(small):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * (width + gap), row * (height + gap)))
    return np.asarray(sheet)
