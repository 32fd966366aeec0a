"""What a start is worth for so many images, as far as it was measured.

The numbers are in ``measured.json``: each run with the file that it is from, and its points.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .choose import family_of

MEASURED = Path(__file__).with_name('measured.json')
SHOWN_SHARES = (0.25, 0.5, 1)  # of the planned steps
SIMILAR = 1.25  # numbers of images that differ by less are about the same

Start = Literal['detector', 'backbone', 'none']
"""A whole detector's weights, those of a backbone, or no weights."""
Run = dict[str, Any]
Point = dict[str, float]


def describe_worth(config: str, start: Start, num_images: int, steps: int) -> str:
    """Say in one line what was measured of a start, and how far that is from this data.

    Args:
        config: Name of the package's config that is built on.
        start: What the training starts from.
        num_images: To train on.
        steps: Optimiser steps that are planned.
    """
    measured = _measured()
    runs, model = _find_runs(Path(config).stem, start)
    unknown = ''
    if not runs:
        unknown = 'a start from a whole detector' if start == 'detector' else 'this model'
        unknown += ' was not measured; '
        runs, model = _find_runs(measured['recommended'], 'backbone')
        model = _size(runs[0])
    seeds = 'one seed' if len(runs) == 1 else f'mean of {len(runs)} seeds'
    return (
        f'{unknown}on {measured["images"]} {measured["data"]}, {seeds}, {model} from '
        f'{runs[0]["from"]} had {_scores(runs, steps)}. You have '
        f'{_compare(num_images, measured["images"])}. Other data differ'
    )


@cache
def _measured() -> dict[str, Any]:
    return json.loads(MEASURED.read_text(encoding='utf-8'))


def _find_runs(config: str, start: Start) -> tuple[list[Run], str]:
    """Return the runs, one for each seed, that are nearest to a training, and their model."""
    runs = [run for run in _measured()['runs'] if run['start'] == start]
    same = [run for run in runs if run['config'] == config]
    family = [run for run in runs if run['family'] == family_of(config)]
    # Without weights, of which little was measured, any model tells what to expect.
    for nearest in (same, family, runs if start == 'none' else []):
        if nearest:
            first = nearest[0]
            model = 'this model' if nearest is same else _size(first)
            return [run for run in nearest if run['name'] == first['name']], model
    return [], ''


def _size(run: Run) -> str:
    return f'{run["family"]} of {run["parameters"]} M parameters'


def _scores(runs: list[Run], steps: int) -> str:
    """Say what runs that differ in their seeds came to on the way to so many steps."""
    points = _on_the_way(_mean(runs), steps)
    metric = 'bbox_mAP_50' if 'bbox_mAP_50' in points[0] else 'bbox_mAP'
    text = f'{metric} {_list(points, metric, ".3f")} after {_list(points, "steps", ".0f")} steps'
    if 'minutes' in points[0]:
        text += f' ({_list(points, "minutes", ".0f")} CPU minutes of one thread)'
    return text


def _mean(runs: list[Run]) -> list[Point]:
    """Return the mean of the points that all runs have."""
    curves = [{point['steps']: point for point in run['curve']} for run in runs]
    shared = sorted(set.intersection(*map(set, curves)))
    return [
        {key: sum(each[step][key] for each in curves) / len(curves) for key in curves[0][step]}
        for step in shared
    ]


def _on_the_way(curve: list[Point], steps: int) -> list[Point]:
    """Return the last measured points before a quarter, half and all of the steps."""
    chosen = []
    for share in SHOWN_SHARES:
        reached = [point for point in curve if point['steps'] <= share * steps]
        if reached and reached[-1] not in chosen:
            chosen.append(reached[-1])
    return chosen or curve[:1]


def _list(points: list[Point], key: str, form: str) -> str:
    return ', '.join(f'{point[key]:{form}}' for point in points)


def _compare(number: int, measured: int) -> str:
    if number * SIMILAR < measured:
        return f'fewer images, {number}: expect less'
    if number > measured * SIMILAR:
        return f'more images, {number}'
    return f'about as many images, {number}'
