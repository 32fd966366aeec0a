"""AP against minutes of training: several configs on the same data, several seeds.

    python benchmarks/learning_curves.py shapes
    python benchmarks/learning_curves.py shapes --minutes 4 --seeds 0 1 2 --jobs 2
    python benchmarks/learning_curves.py bccd --cfg-options \\
        train_dataloader.dataset.data_root=DIR val_dataloader.dataset.data_root=DIR \\
        model.backbone.pretrained=FILE

"shapes" trains the demo of each member of the family. "bccd" trains the same models on the
photographs of blood cells, with 100 queries on a MobileNetV2 of ImageNet at strides 8, 16 and 32
(those with dense attention: 16), and the configs of RT-DETRv2 and D-FINE for small data.

Every run is one process of one thread without workers; minutes are its CPU minutes, without
validations. The epochs are as many as fit into them, by the time of the first steps, and the
config's schedule is stretched to them as `mmdetr train FOLDER` does it. Runs that are done are kept
in WORK_DIR and not repeated; the picture and the result are of all that are done.
"""

import contextlib
import copy
import itertools
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _common import RESULTS, ROOT, new_figure, parser, positive, write_result

from mmdetr.config.command_line import add_cfg_options

MODELS = (
    *('detr', 'conditional_detr', 'dab_detr', 'dn_detr'),
    *('deformable_detr', 'dino', 'rtdetrv2', 'dfine'),
)
SHAPES = '{}_tiny_1xb32-12e_shapes.py'
SMALL = '{}_mobilenetv2_1xb4-40e_{}.py'
SPLITS = ('train', 'val', 'test')
METRICS = ('bbox_mAP', 'bbox_mAP_50')
PROBED_STEPS = 12  # the first two of them not timed

Run = dict[str, Any]


def parse_args() -> Any:
    options = parser(__doc__)
    options.add_argument('group', choices=('shapes', 'bccd'))
    options.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    options.add_argument('--minutes', type=float, default=4, help='CPU minutes (default: 4)')
    options.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    options.add_argument('--jobs', type=positive, default=1, help='runs at once (default: 1)')
    options.add_argument('--work-dir', type=Path, default=Path('work_dirs/learning_curves'))
    add_cfg_options(options)
    return options.parse_args()


def config(group: str, name: str, seed: int, options: dict[str, Any]) -> Any:
    """The config of a run, without what takes time and changes no weight."""
    from mmengine.config import Config

    from mmdetr.config.options import apply_cfg_options

    folder = ROOT / 'configs'
    cfg = Config.fromfile(folder / SHAPES.format(name))
    if group == 'bccd':
        real = Config.fromfile(folder / SMALL.format('rtdetrv2', 'bccd'))
        if name in ('rtdetrv2', 'dfine'):
            model = Config.fromfile(folder / SMALL.format(name, 'custom')).model
            model.bbox_head.num_classes = 3
        else:
            model = with_backbone(cfg.model, real.model)
        cfg, cfg.model = real, model
    apply_cfg_options(
        cfg,
        {
            **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
            **{
                f'{split}_dataloader.persistent_workers': False
                for split in ('train', 'val', 'test')
            },
            'default_hooks.checkpoint': None,
            'default_hooks.visualization': None,
            'log_level': 'WARNING',
            'randomness.seed': seed,
        },
    )
    apply_cfg_options(cfg, options)
    return cfg


def with_backbone(model: Any, other: Any) -> Any:
    """A demo's model on the backbone of another, for 100 queries of three classes."""
    dense = model.neck.type == 'InputProjection'
    model.backbone, model.data_preprocessor = copy.deepcopy(other.backbone), other.data_preprocessor
    model.backbone.out_indices = [3] if dense else [2, 3, 4]
    head = model.bbox_head
    head.num_queries = 100
    head.transformer.feedforward_channels = 512
    if 'max_per_img' in head:
        head.max_per_img = 100
    if 'max_queries' in head.get('denoising', {}):
        head.denoising.max_queries = 100
    if 'no_object_weight' in head.criterion.loss_cls:
        head.criterion.loss_cls.no_object_weight = 0.1
    return model


def training_clock(max_steps: int | None = None) -> Any:
    """A hook that notes the CPU minutes of training before each validation, and the metrics."""
    from mmengine.hooks import Hook

    class TrainingClock(Hook):
        seconds = 0.0

        def __init__(self) -> None:
            self.curve: list[dict[str, float]] = []
            self.steps: list[float] = []

        def before_train_epoch(self, runner: Any) -> None:
            self._start = time.process_time()

        def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
            self.steps.append(time.process_time())
            if max_steps and len(self.steps) >= max_steps:
                raise StopIteration

        def after_train_epoch(self, runner: Any) -> None:
            self.seconds += time.process_time() - self._start

        def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
            found = {name: metrics[f'coco/{name}'] for name in METRICS}
            self.curve.append(dict(epoch=runner.epoch, minutes=self.seconds / 60, **found))

    return TrainingClock()


def run_training(cfg: Any, folder: Path, max_steps: int | None = None) -> tuple[Any, Any]:
    """Train; what the run prints goes to a file. The clock and the runner."""
    from mmdetr.engine import DetectionRunner

    folder.mkdir(parents=True, exist_ok=True)
    cfg.work_dir = str(folder)
    clock = training_clock(max_steps)
    with open(folder / 'output.txt', 'w') as file, contextlib.redirect_stdout(file):
        runner = DetectionRunner.from_cfg(cfg)
        runner.register_hook(clock, priority='VERY_LOW')
        with contextlib.suppress(StopIteration):
            runner.train()
    return clock, runner


def probe(cfg_of: tuple, folder: Path) -> tuple[float, int]:
    """CPU seconds of a step, and the steps of an epoch."""
    clock, runner = run_training(config(*cfg_of), folder / 'probe', PROBED_STEPS)
    return (clock.steps[-1] - clock.steps[1]) / (PROBED_STEPS - 2), len(runner.train_dataloader)


def learn(cfg_of: tuple, epochs: int, steps: int, folder: Path) -> Run:
    """Train one config with one seed, for so many epochs of so many steps."""
    from mmdetr.recipes.schedule import schedule_changes

    cfg = config(*cfg_of)
    num_images = steps * cfg.train_dataloader.batch_size
    cfg.merge_from_dict(schedule_changes(cfg, epochs, num_images))
    cfg.train_cfg.val_interval = max(1, epochs // 12)
    clock, runner = run_training(cfg, folder)
    parameters = sum(p.numel() for p in runner.model.parameters())
    return dict(epochs=epochs, parameters=parameters, curve=clock.curve)


def alone(function: Any, *args: Any) -> Any:
    """Call in a process of its own: mmengine keeps its singletons for the life of one."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as process:
        return process.submit(function, *args).result()


def train_one(name: str, seed: int, args: Any) -> Run:
    """One run, or its result of an earlier call."""
    folder = args.work_dir / args.group / f'{name}_{args.minutes:g}min_seed{seed}'
    done = folder / 'run.json'
    if done.is_file():
        return json.loads(done.read_text())
    cfg_of = (args.group, name, seed, args.cfg_options or {})
    step, steps = alone(probe, cfg_of, folder)
    epochs = max(1, round(60 * args.minutes / (step * steps)))
    print(f'{name}, seed {seed}: {step:.3f} CPU s a step, {epochs} epochs', flush=True)
    run = dict(name=name, seed=seed, step=step, **alone(learn, cfg_of, epochs, steps, folder))
    done.write_text(json.dumps(run))
    return run


def plot(runs: list[Run], path: Path) -> None:
    """Curves of each model in one colour, one line for each seed."""
    figure, axes = new_figure(11, 4.5, columns=len(METRICS))
    for axis, metric in zip(axes, METRICS, strict=True):
        for number, name in enumerate(dict.fromkeys(run['name'] for run in runs)):
            for count, run in enumerate(run for run in runs if run['name'] == name):
                minutes = [0.0, *(point['minutes'] for point in run['curve'])]
                values = [0.0, *(point[metric] for point in run['curve'])]
                label = None if count else f'{name} ({run["parameters"] / 1e6:.1f} M)'
                axis.plot(minutes, values, color=f'C{number}', label=label, alpha=0.8)
        axis.set(xlabel='CPU minutes of training, one thread', ylabel=metric, ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].legend(loc='upper left', fontsize=8)
    figure.savefig(path, dpi=110)
    print(f'wrote {path}')


def main() -> None:
    args = parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'  # for the processes that are started from here
    with ThreadPoolExecutor(args.jobs) as pool:
        # All models with the first seed come first.
        todo = [
            pool.submit(train_one, name, seed, args)
            for seed, name in itertools.product(args.seeds, args.models)
        ]
        for future in as_completed(todo):
            run = future.result()
            last = run['curve'][-1]
            print(
                f'{run["name"]}, seed {run["seed"]}: '
                + ', '.join(f'{key} {last[key]:.3f}' for key in ('minutes', *METRICS)),
                flush=True,
            )
    runs = sorted(
        (future.result() for future in todo),
        key=lambda run: (MODELS.index(run['name']), run['seed']),
    )
    write_result(
        f'learning_curves_{args.group}', dict(group=args.group, minutes=args.minutes, runs=runs)
    )
    plot(runs, RESULTS / f'learning_curves_{args.group}.png')


if __name__ == '__main__':
    main()
