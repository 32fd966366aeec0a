"""What a grid of ablations shows: statistics over seeds, verdicts, page and plot."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _common import new_figure, table

CONFIDENCE = 0.95
BASELINE = 'baseline'
# One training: variant, seed, epochs, AP and AP50 in 0..1, parameters, ...
Run = dict[str, Any]


class Ordering(NamedTuple):
    """The paper finds ``better`` better than ``worse``; both are variants of the grid."""

    better: str
    worse: str
    paper: str


# AP against the paper's own baseline of 40.6, by variant.
PAPER = {
    BASELINE: '40.6 AP',
    'enc0': '-3.9 (0 layers instead of 6)',
    'enc3': '+1.0 (12 layers instead of 6)',
    'no-spatial-pos': '-7.8',
    'sine-pos-at-input': '-1.4',
    'learned-pos': '-1.0',
    'no-encoder-pos': '-1.3',
    'no-giou': '-4.8',
    'no-l1': '-0.7',
}
ORDERINGS = (
    Ordering(BASELINE, 'enc0', '+3.9, 6 layers against 0 (table 2)'),
    Ordering('enc3', BASELINE, '+1.0, 12 layers against 6 (table 2)'),
    Ordering(BASELINE, 'no-spatial-pos', '+7.8 (table 3)'),
    Ordering('no-encoder-pos', 'no-spatial-pos', '+6.5 (table 3)'),
    Ordering('sine-pos-at-input', 'no-spatial-pos', '+6.4 (table 3)'),
    Ordering(BASELINE, 'sine-pos-at-input', '+1.4 (table 3)'),
    Ordering(BASELINE, 'no-encoder-pos', '+1.3 (table 3)'),
    Ordering(BASELINE, 'learned-pos', '+1.0 (table 3)'),
    Ordering(BASELINE, 'no-giou', '+4.8 (table 4)'),
    Ordering('no-l1', 'no-giou', '+4.1 (table 4)'),
    Ordering(BASELINE, 'no-l1', '+0.7 (table 4)'),
    Ordering(BASELINE, 'no-aux', 'no number: "helpful" (section 3.2)'),
    Ordering(BASELINE, 'dec1', '+8.2, one model after layers 6 and 1 (figure 4)'),
)
RULE = """\
The difference of two means has a 95 % interval (Welch's t over the seeds, unpaired). Wholly above
0: the ordering **shows**. Wholly below 0: it **does not show**, the opposite does. Otherwise, or
with a single seed: **undecided**. Of {count} intervals of 95 %, one may miss by chance."""
SETTING = """\
Each variant is the demo, `configs/detr_tiny_1xb32-12e_shapes.py`, with one fact changed, trained
for {epochs} epochs with the learning rate's decay scaled to them. The seed draws initial weights,
order and flips; the 4,000 training and 200 validation images are the same for all. AP is that of
the weights after the last epoch, in points of 100. One thread per run; time is processor time, on
a machine that others used as well.

What this is not: the demo is pre-norm, has 1 encoder and 3 decoder layers, no pretrained backbone
and an easy data set, and its own schedule is 12 epochs, after which it has 79.3 AP. The fewer the
epochs, the more the grid compares how soon a variant begins to learn, and the less how good it
becomes. What does not show here says nothing against the paper."""


class Comparison(NamedTuple):
    """Mean of one sample less that of another.

    Attributes:
        difference: Of the means.
        error: Its standard error; NaN with fewer than two values in either sample.
        low, high: Ends of the 95 % interval; NaN likewise.
    """

    difference: float
    error: float
    low: float
    high: float

    def __str__(self) -> str:
        error = '' if math.isnan(self.error) else f' ± {self.error:.1f}'
        return f'{round(self.difference, 1) + 0.0:+.1f}{error}'  # no negative zero


def mean_difference(better: Sequence[float], worse: Sequence[float]) -> Comparison:
    """Compare two samples of AP, a value per seed.

    They are not paired: variants of other weights draw other random numbers from one seed.
    """
    difference = statistics.fmean(better) - statistics.fmean(worse)
    if min(len(better), len(worse)) < 2:
        return Comparison(difference, math.nan, math.nan, math.nan)
    variances = [statistics.variance(each) / len(each) for each in (better, worse)]
    if sum(variances) == 0:
        return Comparison(difference, 0.0, difference, difference)
    from scipy.stats import ttest_ind

    test = ttest_ind(better, worse, equal_var=False)
    interval = test.confidence_interval(CONFIDENCE)
    return Comparison(difference, sum(variances) ** 0.5, float(interval.low), float(interval.high))


def verdict(comparison: Comparison) -> str:
    """'shows', 'does not show' or 'undecided', from the interval of the difference alone."""
    if comparison.low > 0:
        return 'shows'
    return 'does not show' if comparison.high < 0 else 'undecided'


def points(runs: Sequence[Run], variant: str, name: str = 'AP') -> list[float]:
    """A score of a variant's runs in points of 100, a value per seed."""
    return [100 * run[name] for run in runs if run['variant'] == variant]


def page(runs: Sequence[Run], texts: dict[str, str]) -> str:
    """The whole page as Markdown.

    Args:
        runs: In the order of the table.
        texts: What each variant changes.
    """
    present = list(dict.fromkeys(run['variant'] for run in runs))
    orderings = [each for each in ORDERINGS if {each.better, each.worse} <= set(present)]
    (epochs,) = {run['epochs'] for run in runs}
    dates = sorted({run['date'] for run in runs})
    where = '; '.join(sorted({run['machine'] for run in runs}))
    seeds = ' '.join(str(seed) for seed in sorted({run['seed'] for run in runs}))
    left_out = [name for name in texts if name not in present]
    parts = [
        "# The paper's orderings at the size of a laptop",
        f'{" to ".join(dict.fromkeys((dates[0], dates[-1])))}; {where}.',
        f'```bash\npython benchmarks/ablation_grid.py --epochs {epochs} --seeds {seeds}\n```',
        SETTING.format(epochs=epochs),
        '![AP of each variant, a point per seed](ablation_grid.png)',
        '## Variants',
        _variants_table(runs, present, texts),
        *([f'Not measured: {", ".join(left_out)}.'] if left_out else []),
        _completeness(runs, present),
        'The paper compares no norms, and states no AP without auxiliary losses nor of models '
        'trained with fewer decoder layers.',
        '## Orderings',
        RULE.format(count=len(orderings)),
        _orderings_table(runs, orderings).rstrip(),
        _summary(runs, orderings),
        'Raw results: [ablation_grid.json](ablation_grid.json).',
    ]
    return '\n\n'.join(parts) + '\n'


def plot(runs: Sequence[Run], path: Path) -> None:
    """AP of every run, the mean of each variant, and the baseline's range as a band."""
    present = list(dict.fromkeys(run['variant'] for run in runs))
    figure, axes = new_figure(7, 0.4 * len(present) + 1)
    if BASELINE in present:
        band = points(runs, BASELINE)
        axes.axvspan(min(band), max(band), color='tab:blue', alpha=0.15, lw=0)
    for row, variant in enumerate(present):
        scores = points(runs, variant)
        axes.plot(scores, [row] * len(scores), 'o', color='tab:blue', alpha=0.6, markersize=5)
        axes.plot(statistics.fmean(scores), row, '|', color='black', markersize=14)
    axes.set_yticks(range(len(present)), present)
    axes.invert_yaxis()
    axes.set_xlabel('AP (a point per seed, a stroke for the mean; band: range of the baseline)')
    axes.grid(axis='x', alpha=0.3)
    figure.savefig(path, dpi=120)


def _variants_table(runs: Sequence[Run], present: list[str], texts: dict[str, str]) -> str:
    columns = (
        'variant', 'what it changes', 'seeds', 'AP', 'min..max', 'sd', 'AP50',
        'against the baseline', 'paper', 'parameters', 'time (s)',
    )  # fmt: skip
    rows = []
    for variant in present:
        scores = points(runs, variant)
        own = [run for run in runs if run['variant'] == variant]
        versus = '-'
        if variant != BASELINE and BASELINE in present:
            versus = str(mean_difference(scores, points(runs, BASELINE)))
        rows.append(
            (
                variant,
                texts[variant],
                str(len(scores)),
                f'{statistics.fmean(scores):.1f}',
                f'{min(scores):.1f}..{max(scores):.1f}',
                f'{statistics.stdev(scores):.1f}' if len(scores) > 1 else '-',
                f'{statistics.fmean(points(runs, variant, "AP50")):.1f}',
                versus,
                PAPER.get(variant, 'not stated'),
                f'{own[0]["parameters"]:,}',
                f'{statistics.median(run["cpu_seconds"] for run in own):.0f}',
            )
        )
    return (
        f'{table(columns, rows)}\nAP, AP50: means over the seeds. sd: over the seeds. Against '
        'the baseline: difference of the mean APs and its standard error. Time: median of the runs.'
    )


def _orderings_table(runs: Sequence[Run], orderings: Sequence[Ordering]) -> str:
    rows = []
    for better, worse, paper in orderings:
        comparison = mean_difference(points(runs, better), points(runs, worse))
        known = not math.isnan(comparison.low)
        interval = f'{comparison.low:+.1f} to {comparison.high:+.1f}' if known else '-'
        found = f'**{verdict(comparison)}**'
        rows.append((f'{better} > {worse}', paper, str(comparison), interval, found))
    return table(('ordering', 'paper', 'here', '95 % interval', 'at this scale'), rows)


def _summary(runs: Sequence[Run], orderings: Sequence[Ordering]) -> str:
    found: dict[str, list[str]] = {'shows': [], 'does not show': [], 'undecided': []}
    for better, worse, _ in orderings:
        found[verdict(mean_difference(points(runs, better), points(runs, worse)))].append(
            f'{better} > {worse}'
        )
    lines = [
        f'- {name}: {len(each)} of {len(orderings)}' + (f' ({"; ".join(each)})' if each else '')
        for name, each in found.items()
    ]
    return '\n'.join(lines)


def _completeness(runs: Sequence[Run], present: list[str]) -> str:
    seeds = {run['seed'] for run in runs}
    expected = len(present) * len(seeds)
    if len(runs) == expected:
        return f'The grid is complete: {expected} runs.'
    return (
        f'**The grid is incomplete: {len(runs)} of {expected} runs.** Variants of fewer than '
        f'{len(seeds)} seeds have runs missing.'
    )
