"""Writes benchmarks/README.md from the results in benchmarks/results.

python benchmarks/page.py
"""

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from _common import RESULTS, Ratio, machine_line, parser, summary, table

PAGE = Path(__file__).parent / 'README.md'

HEAD = """# Benchmarks

What is fast, by how much and against whom, as measured; `python benchmarks/page.py` makes this
page from the files in [results](results). Every script runs anywhere: `--help` tells how. The live
peer is transformers from the package index (`pip install transformers`), with the parameters frozen
that the authors freeze; a checkout of facebookresearch/detr is compared with where `--authors DIR`
names one. Outputs are compared before anything is timed, and the parties run in turns. A ratio is
the median of the ratios of single rounds, with the lowest and the highest; above 1 we are faster.

The line under each table says which kind of CPU it is from. Lines without a kind are of a CPU with
AVX-512 and bfloat16 and of the code before the fast forms moved (1b190ef); no such CPU was at hand
since.
"""
NO_GPU = '\nNothing here was measured on a GPU.\n'
OTHERS = """## Other pages

- [ablation_grid.md](results/ablation_grid.md): the paper's ablations on the demo
- [soak.md](results/soak.md): memory over half an hour of training
- [deploy.md](results/deploy.md): DETR-R50, ours and the authors', in ONNX Runtime and OpenVINO
- [serving.md](results/serving.md): the HTTP service beside single inference; hostile uploads
- [evaluation_batch_size.md](results/evaluation_batch_size.md): AP tested with and without padding
- [hook_cost.md](results/hook_cost.md): what the watch and the guard cost of a step
"""


def load(name: str) -> list[dict[str, Any]]:
    """Results of a benchmark, one for each kind of CPU (and size) that it ran on."""
    paths = sorted(RESULTS.glob(f'{name}*.json'))
    return [json.loads(path.read_text(encoding='utf-8')) for path in paths]


def origin(result: dict[str, Any]) -> str:
    """Command, date and machine of a result."""
    return f'\n`{result["command"]}`, {result["date"]}, {machine_line(result["machine"])}\n'


def ratios(row: dict[str, Any], others: Iterable[str]) -> list[str]:
    return [str(Ratio(*row['ratio_to'][other])) for other in others]


def inference() -> Iterator[str]:
    yield '## Inference, DETR-R50\n\n'
    yield (
        'Every party has a process of its own. "plain" is a model as `init_detector` builds it; '
        '"optimised" is '
        '`init_detector(..., optimize=True)`, with `dict(dtype=..., compile=True)` for the rest. '
        'The difference is the largest of logits and boxes to the reference, with random weights.\n'
    )
    for result in load('inference'):
        height, width = result['size']
        for case, content in result['cases'].items():
            others = list(next(iter(content['rows'].values()))['ratio_to'])
            rows = [
                [name, summary(row['seconds']), f'{row["difference"]:.1g}', *ratios(row, others)]
                for name, row in content['rows'].items()
            ]
            title = f'{case}, {height} x {width}'
            columns = [title, 'seconds', 'difference', *(f'x {other}' for other in others)]
            yield '\n' + table(columns, rows)
        yield origin(result)


def training_step() -> Iterator[str]:
    yield '## Training step, DETR-R50, float32\n\n'
    yield (
        'Losses, gradients, clipping, AdamW. Memory is the peak above that after importing the '
        'libraries. "memory kept" calls `mmdetr.utils.memory.disable_trimming()` first.\n'
    )
    for result in load('training_step'):
        height, width = result['size']
        others = list(next(iter(result['rows'].values()))['ratio_to'])
        columns = [f'batch {result["batch"]}, {height} x {width}', 'seconds', 'MiB']
        columns += [f'{what} {other}' for other in others for what in ('x', 'memory /')]
        rows = []
        for name, row in result['rows'].items():
            cells = [name, summary(row['seconds']), f'{row["peak_mib"]:.0f}']
            for other, faster in zip(others, ratios(row, others), strict=True):
                cells += [faster, f'{row["memory_to"][other]:.2f}']
            rows.append(cells)
        yield '\n' + table(columns, rows) + origin(result)


def masks() -> Iterator[str]:
    yield '## Masks, DETR-R50\n\n'
    yield (
        'CPU seconds of one thread. "15 masks" are those of the queries that a panoptic '
        'segmentation keeps of 100; post-processing turns mask logits into run-length codes, or '
        'into segments of 15 queries, of an original of 480 x 640. Training has 7 objects in each '
        'image. The difference is the largest of masks (logits), losses or areas (parts of the '
        'image); memory is the peak above that after importing the libraries.\n'
    )
    for result in load('masks'):
        for case, content in result['cases'].items():
            rows = [
                [
                    name,
                    summary(row['seconds']),
                    '-' if row['difference'] is None else f'{row["difference"]:.1g}',
                    f'{row["peak_mib"]:.0f}',
                    str(Ratio(*row['ratio'])),
                ]
                for name, row in content.items()
            ]
            yield '\n' + table([case, 'seconds', 'difference', 'MiB', 'x authors'], rows)
        yield origin(result)


def fast_forms() -> Iterator[str]:
    yield '## Fast forms, one left out at a time\n\n'
    yield (
        'Seconds of a whole image or training step of DETR-R50, and how many times those of the '
        'model with all forms. "other processes" multiply matrices on the same cores meanwhile; '
        'with "memory kept" glibc does not return freed memory. '
        'See [performance.md](../docs/performance.md).\n'
    )
    for result in load('fast_forms'):
        height, width = result['size']
        title = f'{result["work"]}, batch {result["batch"]}, {height} x {width}'
        title += f', {result["load"]} other processes' if result['load'] else ''
        title += ', memory kept' if result['keep_memory'] else ''
        rows = [
            [name, summary(row['seconds']), str(Ratio(*row['time_to_fast']))]
            for name, row in result['rows'].items()
        ]
        yield '\n' + table([title, 'seconds', 'x fast'], rows) + origin(result)


def deformable_attention() -> Iterator[str]:
    yield '## Deformable attention\n\n'
    yield (
        'Sampling and summing in one encoder layer, without projections, in CPU seconds of one '
        'thread. "usual" stacks what grid_sample reads, as the authors, mmcv and transformers do; '
        '"kept" is what autograd keeps for the backward pass.\n'
    )
    for result in load('deformable_attention'):
        height, width = result['size']
        rows = []
        for name, row in result['rows'].items():
            cells = [name, f'{row["difference"]:.1g}']
            for work in ('forward', 'forward_and_backward'):
                found = row.get(work)
                cells += (
                    [summary(found['seconds']), str(Ratio(*found['faster']))] if found else '--'
                )
            kept = row.get('kept_bytes')
            rows.append([*cells, '-' if kept is None else f'{kept / 2**20:.0f}'])
        columns = [f'{height} x {width}', 'difference', 'forward', 'x usual']
        columns += ['forward and backward', 'x usual', 'kept, MiB']
        yield '\n' + table(columns, rows) + origin(result)


def successors() -> Iterator[str]:
    yield '## Successors, R50, batch 1, float32\n\n'
    yield (
        "CPU seconds of one thread, against transformers or the authors' models, these with their "
        'PyTorch form of deformable attention. Training is forward and backward without matching, '
        'losses and denoising queries. The difference is the largest of logits and boxes, of '
        "queries as sets. DINO's take their content by the rank of the proposal, and with random "
        'weights nearly equal proposals change ranks; tests compare the two with distinct ones.\n'
    )
    for result in load('successors'):
        height, width = result['size']
        rows = [
            [work, *map(summary, row['seconds'].values()), str(Ratio(*row['faster']))]
            for work, row in result['rows'].items()
        ]
        parties = list(result['rows']['inference']['seconds'])
        columns = [f'{result["model"]}, {height} x {width}', *parties, f'x {parties[0]}']
        yield '\n' + table(columns, rows)
        yield f'\nDifference {result["difference"]:.1g}.\n' + origin(result)


def realtime() -> Iterator[str]:
    yield '## RT-DETRv2 and D-FINE, float32\n\n'
    yield (
        'CPU seconds of one thread, or seconds on a GPU. Training is the forward pass of two '
        'images with matching, all losses and denoising, and the backward pass; inference is one '
        'image. "optimised" is `init_detector(..., optimize=True)`. The difference is the largest '
        'of logits and boxes. Those of 2026-11-26 to the authors compare queries by place, but '
        'with random weights nearly equal proposals change places. As sets, which the script '
        'compares now, the queries of D-FINE-N and R18 agree within 2e-6.\n'
    )
    for result in load('realtime'):
        height, width = result['size']
        peers = list(result['difference'])
        rows = [
            [name, summary(row['seconds']), *(str(Ratio(*row['faster'][peer])) for peer in peers)]
            for name, row in result['rows'].items()
        ]
        title = f'{result["model"]}, {height} x {width}'
        yield '\n' + table([title, 'seconds', *(f'x {peer}' for peer in peers)], rows)
        found = ', '.join(f'{value:.1g} to {peer}' for peer, value in result['difference'].items())
        yield f'\nDifference {found}.\n' + origin(result)


def criterion() -> Iterator[str]:
    yield '## Matching and losses, forward and backward\n'
    for result in load('criterion'):
        yield (
            f'\n{result["layers"]} layers, batch {result["batch"]}, {result["queries"]} queries, '
            f'{result["objects"]} objects an image.\n\n'
        )
        rows = [
            [
                name,
                summary(times),
                *(ratios(result, [name]) if name in result['ratio_to'] else ['-']),
            ]
            for name, times in result['seconds'].items()
        ]
        yield table(['', 'seconds', 'ours is faster by'], rows) + origin(result)


def coco_evaluation() -> Iterator[str]:
    yield '## COCO evaluation\n'
    for result in load('coco_evaluation'):
        yield (
            f'\n{result["images"]} images, {result["detections"]} detections, '
            f'{result["annotations"]} objects, generated; `CocoMetric` with each backend, the same '
            '12 numbers.\n\n'
        )
        rows = [
            [
                part,
                *map(summary, result[part]['seconds'].values()),
                str(Ratio(*result[part]['ratio'])),
            ]
            for part in ('whole', 'compute_metrics')
        ]
        columns = ['timed', 'pycocotools', 'faster-coco-eval', 'ratio']
        yield table(columns, rows) + origin(result)


def data_loading() -> Iterator[str]:
    yield '## Data loading\n'
    for result in load('data_loading'):
        yield (
            f'\nAgainst {result["peer"]}, the same pixels out; {result["data"]}. "not normalised" '
            'leaves that to the preprocessor, as in training here.\n\n'
        )
        rows = [
            [pipeline, place, party, f'{row["images_per_second"]}', str(Ratio(*row['ratio']))]
            for pipeline in ('train', 'test')
            for place in ('one process', 'one worker')
            for party, row in result[pipeline][place].items()
        ]
        columns = ['pipeline', 'where', 'party', 'images a second', 'x authors']
        yield table(columns, rows) + origin(result)


def demo_bfloat16() -> Iterator[str]:
    yield '## AP in bfloat16\n'
    for result in load('demo_bfloat16'):
        yield f'\n`{result["config"]}`, trained as it stands.\n\n'
        rows = [
            [name, *(f'{metrics[f"coco/{key}"]:.4f}' for key in ('bbox_mAP', 'bbox_mAP_50'))]
            for name, metrics in result['metrics'].items()
        ]
        yield table(['', 'bbox_mAP', 'bbox_mAP_50'], rows) + origin(result)


def learning_curves() -> Iterator[str]:
    yield '## Learning curves\n\n'
    yield (
        'AP against CPU minutes of training, one thread, validations left out; every line is one '
        'seed.\n'
    )
    for result in load('learning_curves'):
        group = result['group']
        if 'note' in result:
            yield f'\n{result["note"]}\n'
        yield f'\n![AP against minutes](results/learning_curves_{group}.png)\n\n'
        rows = []
        for run in result['runs']:
            last = run['curve'][-1]
            reached = [
                f'{point["minutes"]:.1f}' for point in run['curve'] if point['bbox_mAP_50'] >= 0.8
            ]
            rows.append(
                [
                    *(run['name'], str(run['seed']), f'{run["parameters"] / 1e6:.2f}'),
                    *(str(last['epoch']), f'{last["minutes"]:.1f}'),
                    *(f'{last[key]:.3f}' for key in ('bbox_mAP', 'bbox_mAP_50')),
                    (reached or ['-'])[0],
                ]
            )
        columns = [group, 'seed', 'parameters (M)', 'epochs', 'CPU minutes']
        columns += ['bbox_mAP', 'bbox_mAP_50', 'minutes to 0.80']
        yield table(columns, rows) + origin(result)


def growth() -> Iterator[str]:
    yield '## How the cost grows\n'
    for result in load('growth'):
        yield (
            '\nThe optimised model in float32. The floor is the arithmetic of the model at the '
            f'speed of a large matrix product, {result["peak_gflops"]:.0f} GFLOP/s here; '
            "Winograd's form of the 3x3 convolutions needs less than that arithmetic.\n\n"
            '![cost against size, batch, queries and objects](results/growth.png)\n\n'
        )
        rows = []
        for axis, points in result['axes'].items():
            for point, row in points.items():
                floor = f'{row["floor"]:.3f}' if row['floor'] else '-'
                rows.append([axis, point, f'{statistics.median(row["seconds"]):.4f}', floor])
        yield table(['axis', 'point', 'median seconds', 'floor'], rows) + origin(result)


def gpu_check() -> Iterator[str]:
    from gpu_check import results_table

    (result,) = load('gpu_check')
    yield f'## Every model on {result["device"]}\n\n'
    yield (
        f'One image, and one training step of batch {result["batch"]}, with random weights. Loss '
        'in automatic mixed precision is the relative difference to that in float32, the loss of '
        'DistributedDataParallel that to the bare model.\n\n'
    )
    yield results_table(result['models'])
    for name, reason in result['failed'].items():
        yield f'\n{name} failed: {reason}'
    yield '\n' + result.get('note', '') + '\n' + origin(result)


SECTIONS = (
    *(inference, training_step, masks, fast_forms, deformable_attention, successors, realtime),
    *(criterion, coco_evaluation, data_loading),
    *(demo_bfloat16, learning_curves, growth, gpu_check),
)


def main() -> None:
    parser(__doc__).parse_args()
    results = [json.loads(path.read_text(encoding='utf-8')) for path in RESULTS.glob('*.json')]
    machines = [each['machine'] for each in results if 'machine' in each]
    on_gpu = any(each['gpu'] != 'none' for each in machines)
    sections = [HEAD if on_gpu else HEAD + NO_GPU]
    for section in SECTIONS:
        if any(RESULTS.glob(f'{section.__name__}*.json')):
            sections.append(''.join(section()))
    PAGE.write_text('\n'.join([*sections, OTHERS]), encoding='utf-8')
    print(f'wrote {PAGE}')


if __name__ == '__main__':
    main()
