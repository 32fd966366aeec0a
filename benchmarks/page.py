"""Writes benchmarks/README.md from the results in benchmarks/results.

python benchmarks/page.py
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import RESULTS, summary

PAGE = Path(__file__).parent / 'README.md'

HEAD = """# Benchmarks

What is fast, by how much and against whom, as measured; `python benchmarks/page.py` makes this
page from the files in [results](results). Every script runs anywhere: `--help` tells how. The live
peer is transformers from the package index (`pip install transformers`), with the parameters frozen
that the authors freeze; a checkout of facebookresearch/detr is compared with where `--authors DIR`
names one. Outputs are compared before anything is timed, and the parties run in turns. A ratio is
the median of the ratios of single rounds, with the lowest and the highest; above 1 we are faster.

Nothing here was measured on a GPU.
"""


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f'{name}.json').read_text(encoding='utf-8'))


def origin(result: dict[str, Any]) -> str:
    """Command, date and machine of a result."""
    machine = result['machine']
    versions = ', '.join(f'{name} {machine[name]}' for name in ('torch', 'torchvision'))
    return (
        f'`{result["command"]}`, {result["date"]}, {machine["cpu"]}, {machine["cores"]} cores, '
        f'{machine["threads"]} threads, GPU: {machine["gpu"]}, Python {machine["python"]}, '
        f'{versions}'
    )


def shown(ratio: Any) -> str:
    if isinstance(ratio, dict):
        ratio = ratio['median'], ratio['min'], ratio['max']
    median, low, high = ratio
    return f'{median:.2f} ({low:.2f} to {high:.2f})'


def inference() -> Iterator[str]:
    result = load('inference')
    yield f'## Inference, DETR-R50, {result["size"][0]} x {result["size"][1]}\n\n'
    yield (
        'Every party has a process of its own. "plain" is a model as `init_detector` builds it; '
        '"optimised" is '
        '`init_detector(..., optimize=True)`, with `dict(dtype=..., compile=True)` for the rest. '
        'The difference is the largest of logits and boxes to the reference, with random weights.\n'
    )
    for case, content in result['cases'].items():
        others = list(next(iter(content['rows'].values()))['ratio_to'])
        yield (
            f'\n| {case} | seconds | difference | ' + ' | '.join(f'x {o}' for o in others) + ' |\n'
        )
        yield '|---' * (3 + len(others)) + '|\n'
        for name, row in content['rows'].items():
            ratios = ' | '.join(shown(row['ratio_to'][other]) for other in others)
            yield f'| {name} | {summary(row["seconds"])} | {row["difference"]:.1g} | {ratios} |\n'
    yield f'\n{origin(result)}\n'


def training_step() -> Iterator[str]:
    yield '## Training step, DETR-R50, float32\n\n'
    yield (
        'Losses, gradients, clipping, AdamW. Memory is the peak above that after importing the '
        'libraries. "memory kept" calls `mmdetr.utils.memory.disable_trimming()` first.\n'
    )
    for path in sorted(RESULTS.glob('training_step_*.json')):
        result = load(path.stem)
        height, width = result['size']
        others = list(next(iter(result['rows'].values()))['ratio_to'])
        titles = [f'{what} {other}' for other in others for what in ('x', 'memory /')]
        yield f'\n| batch {result["batch"]}, {height} x {width} | seconds | MiB | '
        yield ' | '.join(titles) + ' |\n' + '|---' * (3 + len(titles)) + '|\n'
        for name, row in result['rows'].items():
            cells = [
                cell
                for other in others
                for cell in (shown(row['ratio_to'][other]), f'{row["memory_to"][other]:.2f}')
            ]
            yield f'| {name} | {summary(row["seconds"])} | {row["peak_mib"]:.0f} | '
            yield ' | '.join(cells) + ' |\n'
        yield f'\n{origin(result)}\n'


def criterion() -> Iterator[str]:
    result = load('criterion')
    yield (
        f'## Matching and losses, forward and backward\n\n{result["layers"]} layers, batch '
        f'{result["batch"]}, {result["queries"]} queries, {result["objects"]} objects an image.\n\n'
    )
    yield '| | seconds | ours is faster by |\n|---|---|---|\n'
    for name, times in result['seconds'].items():
        against = shown(result['ratio_to'][name]) if name in result['ratio_to'] else '-'
        yield f'| {name} | {summary(times)} | {against} |\n'
    yield f'\n{origin(result)}\n'


def data_loading() -> Iterator[str]:
    result = load('data_loading')
    yield '## Data loading\n\n'
    yield (
        f'Against {result["peer"]}, the same pixels out; {result["data"]}. "not normalised" leaves '
        'that to the preprocessor, as in training here.\n\n'
    )
    yield '| pipeline | where | party | images a second | x authors |\n|---|---|---|---|---|\n'
    for pipeline in ('train', 'test'):
        for place, parties in result.get(pipeline, {}).items():
            if not isinstance(parties, dict):
                continue
            for party, row in parties.items():
                yield (
                    f'| {pipeline} | {place} | {party} | {row["images_per_second"]} | '
                    f'{shown(row["ratio"])} |\n'
                )
    yield f'\n{origin(result)}\n'


def coco_evaluation() -> Iterator[str]:
    result = load('coco_evaluation')
    yield (
        f'## COCO evaluation\n\n{result["images"]} images, {result["detections"]} detections, '
        f'{result["annotations"]} objects, generated; `CocoMetric` with each backend, the same 12 '
        'numbers.\n\n| timed | pycocotools | faster-coco-eval | ratio |\n|---|---|---|---|\n'
    )
    for part in ('whole', 'compute_metrics'):
        seconds = result[part]['seconds']
        yield (
            f'| {part} | {summary(seconds["pycocotools"])} | '
            f'{summary(seconds["faster_coco_eval"])} | {shown(result[part]["ratio"])} |\n'
        )
    yield f'\n{origin(result)}\n'


def demo_bfloat16() -> Iterator[str]:
    result = load('demo_bfloat16')
    yield f'## AP in bfloat16\n\n`{result["config"]}`, trained as it stands.\n\n'
    yield '| | bbox_mAP | bbox_mAP_50 |\n|---|---|---|\n'
    for name, metrics in result['metrics'].items():
        yield f'| {name} | {metrics["coco/bbox_mAP"]:.4f} | {metrics["coco/bbox_mAP_50"]:.4f} |\n'
    yield f'\n{origin(result)}\n'


def growth() -> Iterator[str]:
    result = load('growth')
    yield (
        '## How the cost grows\n\nThe optimised model in float32. The floor is the arithmetic of '
        f'the model at the speed of a large matrix product, {result["peak_gflops"]:.0f} GFLOP/s '
        "here; Winograd's form of the 3x3 convolutions needs less than that arithmetic.\n\n"
        '![cost against size, batch, queries and objects](results/growth.png)\n\n'
        '| axis | point | median seconds | floor |\n|---|---|---|---|\n'
    )
    for axis, points in result['axes'].items():
        for point, row in points.items():
            floor = f'{row["floor"]:.3f}' if row['floor'] else '-'
            yield f'| {axis} | {point} | {statistics.median(row["seconds"]):.4f} | {floor} |\n'
    yield f'\n{origin(result)}\n'


OTHERS = """## Other pages

- [ablation_grid.md](results/ablation_grid.md): the paper's ablations on the demo
- [soak.md](results/soak.md): memory over half an hour of training
- [evaluation_batch_size.md](results/evaluation_batch_size.md): AP tested with and without padding
- [hook_cost.md](results/hook_cost.md): what the watch and the guard cost of a step
"""


def main() -> None:
    sections = [HEAD]
    for section in (
        inference,
        training_step,
        criterion,
        coco_evaluation,
        data_loading,
        demo_bfloat16,
        growth,
    ):
        if any(RESULTS.glob(f'{section.__name__}*.json')):
            sections.append(''.join(section()))
        else:
            sections.append(f'## {section.__name__}\n\nNot measured.\n')
    PAGE.write_text('\n'.join([*sections, OTHERS]), encoding='utf-8')
    print(f'wrote {PAGE}')


if __name__ == '__main__':
    main()
