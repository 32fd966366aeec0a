"""The paper's main ablations at the size of a laptop: variants of the demo, several seeds each.

    python benchmarks/ablation_grid.py
    python benchmarks/ablation_grid.py --variants baseline no-giou --seeds 0 1 2 3 4
    python benchmarks/ablation_grid.py --report-only

All variants are trained with the first seed, then with the second, and so on. A run that has
finished is kept in the work directory and not done again. The page is made from all runs there.
"""

import argparse
import contextlib
import copy
import datetime
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _ablation_report import BASELINE, Run, page, plot
from _common import DEMO, RESULTS, machine, machine_line, parser, positive

HEAD, TRANSFORMER = 'model.bbox_head', 'model.bbox_head.transformer'
CRITERION, COSTS = f'{HEAD}.criterion', f'{HEAD}.criterion.assigner.match_costs'

RUNS_FILE = 'runs.jsonl'
EPOCHS = 3


@dataclass(frozen=True)
class Variant:
    """The demo with one fact changed.

    Attributes:
        text: The fact.
        options: The same as overrides of the config.
    """

    text: str
    options: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    BASELINE: Variant('the demo: 1 encoder layer, 3 decoder layers, sine at attention, pre-norm'),
    'enc0': Variant('no encoder layer', {f'{TRANSFORMER}.num_encoder_layers': 0}),
    'enc3': Variant('3 encoder layers', {f'{TRANSFORMER}.num_encoder_layers': 3}),
    'no-spatial-pos': Variant(
        'no spatial positions, queries at the input',
        {
            f'{TRANSFORMER}.encoder_pos': 'none',
            f'{TRANSFORMER}.decoder_pos': 'none',
            f'{TRANSFORMER}.query_pos': 'input',
        },
    ),
    'sine-pos-at-input': Variant(
        'sine positions and queries at the input',
        {f'{TRANSFORMER}.{name}_pos': 'input' for name in ('encoder', 'decoder', 'query')},
    ),
    'learned-pos': Variant(
        'learned positions at attention',
        {f'{HEAD}.positional_encoding': dict(_delete_=True, type='LearnedPositionalEncoding')},
    ),
    'no-encoder-pos': Variant(
        'no spatial positions in the encoder', {f'{TRANSFORMER}.encoder_pos': 'none'}
    ),
    'no-giou': Variant(
        'no GIoU loss and cost', {f'{CRITERION}.loss_giou': None, f'{COSTS}.giou': None}
    ),
    'no-l1': Variant(
        'no L1 loss and cost', {f'{CRITERION}.loss_bbox': None, f'{COSTS}.bbox': None}
    ),
    'no-aux': Variant('no auxiliary losses', {f'{CRITERION}.aux_loss': False}),
    'post-norm': Variant('post-norm', {f'{TRANSFORMER}.norm_first': False}),
    'dec1': Variant('1 decoder layer', {f'{TRANSFORMER}.num_decoder_layers': 1}),
}
# What costs time or disk and changes no weight; validation comes once, after the last epoch.
LEAN = {
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.persistent_workers': False for split in ('train', 'val', 'test')},
    'default_hooks.checkpoint': None,
    'default_hooks.visualization': None,
    'env_cfg.mp_cfg.mp_start_method': 'spawn',  # as the pool set it; there are no workers
    'log_level': 'WARNING',
}


@cache
def demo_config() -> Any:
    from mmengine.config import Config

    return Config.fromfile(DEMO)


def config(variant: str, epochs: int) -> Any:
    """The demo's config as one variant of the grid, its schedule scaled to ``epochs``."""
    from mmdetr.config.options import apply_cfg_options

    cfg = copy.deepcopy(demo_config())
    schedule = {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'param_scheduler.1.T_max': epochs,
    }
    apply_cfg_options(cfg, {**LEAN, **schedule, **VARIANTS[variant].options})
    return cfg


def fingerprint(cfg: Any) -> str:
    """Changes with anything in the config, so that no result of another config is taken over."""
    content = {key: value for key, value in cfg.to_dict().items() if key != 'filename'}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def train(variant: str, seed: int, epochs: int, work_dir: Path) -> Run:
    """Train and evaluate one variant with one seed; what the run prints goes to a file."""
    from mmdetr.engine import DetectionRunner

    cfg = config(variant, epochs)
    identity = dict(variant=variant, seed=seed, epochs=epochs, config=fingerprint(cfg))
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(work_dir / f'{variant}_seed{seed}_{epochs}e')
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    start, cpu_start = time.monotonic(), time.process_time()
    with open(Path(cfg.work_dir) / 'output.txt', 'w') as file, contextlib.redirect_stdout(file):
        runner = DetectionRunner.from_cfg(cfg)
        runner.train()
    names = dict(AP='bbox_mAP', AP50='bbox_mAP_50', AP75='bbox_mAP_75')
    scalars = runner.message_hub.log_scalars
    return dict(
        **identity,
        **{name: scalars[f'val/coco/{key}'].current() for name, key in names.items()},
        loss=scalars['train/loss'].current(),
        parameters=sum(p.numel() for p in runner.model.parameters() if p.requires_grad),
        seconds=round(time.monotonic() - start, 1),
        cpu_seconds=round(time.process_time() - cpu_start, 1),
        date=datetime.date.today().isoformat(),
        machine=machine_line(machine()),
    )


def train_alone(*args: Any) -> Run:
    """The same in a process of its own: mmengine keeps its singletons for the life of one."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as process:
        return process.submit(train, *args).result()


def finished(work_dir: Path, epochs: int) -> list[Run]:
    """Runs in the work directory that are of the config as it is now, each once."""
    path = work_dir / RUNS_FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    current = {name: fingerprint(config(name, epochs)) for name in VARIANTS}
    runs = [json.loads(line) for line in lines]
    valid = [run for run in runs if current.get(run['variant']) == run['config']]
    return list({(run['variant'], run['seed']): run for run in valid}.values())


def fill(work_dir: Path, todo: list[tuple[str, int]], epochs: int, jobs: int) -> int:
    """Train what is to be done in so many processes, each result on disk as soon as it is there.

    Returns:
        How many runs failed.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    failed = 0
    os.environ['OMP_NUM_THREADS'] = '1'  # for the processes that are started from here
    with ThreadPoolExecutor(jobs) as pool, open(work_dir / RUNS_FILE, 'a') as file:
        futures = {
            pool.submit(train_alone, variant, seed, epochs, work_dir): f'{variant}, seed {seed}'
            for variant, seed in todo
        }
        for number, future in enumerate(as_completed(futures), start=1):
            name = f'{number}/{len(futures)} {futures[future]}'
            if error := future.exception():
                failed += 1
                print(f'{name}: FAILED: {type(error).__name__}: {error}', flush=True)
                continue
            run = future.result()
            print(json.dumps(run), file=file, flush=True)
            print(f'{name}: AP {100 * run["AP"]:.1f} in {run["seconds"]:.0f} s', flush=True)
    return failed


def write_report(runs: list[Run], out_dir: Path) -> None:
    """Page, plot and raw results."""
    out_dir.mkdir(parents=True, exist_ok=True)
    raw = out_dir / 'ablation_grid.json'
    raw.write_text('[\n' + ',\n'.join(json.dumps(run) for run in runs) + '\n]\n')
    plot(runs, out_dir / 'ablation_grid.png')
    (out_dir / 'ablation_grid.md').write_text(page(runs, texts()))
    print(f'wrote {out_dir / "ablation_grid.md"}')


def texts() -> dict[str, str]:
    """What each variant changes, for the page."""
    return {name: variant.text for name, variant in VARIANTS.items()}


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument('--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS))
    options.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    options.add_argument('--epochs', type=positive, default=EPOCHS, help=f'default: {EPOCHS}')
    options.add_argument(
        '--jobs', type=positive, default=2, help='processes, a thread each (default: 2)'
    )
    options.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation_grid'))
    options.add_argument(
        '--out-dir', type=Path, default=RESULTS, help='for page, plot and raw results'
    )
    options.add_argument('--report-only', action='store_true', help='train nothing')
    return options.parse_args()


def main() -> None:
    args = parse_args()
    done = {(run['variant'], run['seed']) for run in finished(args.work_dir, args.epochs)}
    grid = [(variant, seed) for seed in args.seeds for variant in args.variants]
    todo = [] if args.report_only else [each for each in grid if each not in done]
    failed = fill(args.work_dir, todo, args.epochs, args.jobs) if todo else 0
    runs = finished(args.work_dir, args.epochs)
    if not runs:
        sys.exit(f'error: no finished runs of {args.epochs} epochs in {args.work_dir}')
    order = list(VARIANTS)
    runs.sort(key=lambda run: (order.index(run['variant']), run['seed']))
    write_report(runs, args.out_dir)
    sys.exit(f'error: {failed} runs failed; call again to repeat them' if failed else 0)


if __name__ == '__main__':
    main()
