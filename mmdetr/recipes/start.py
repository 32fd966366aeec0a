"""Look at a folder of data, choose a config for it and write it into the work directory."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdetr.checkpoint import CheckpointError, fetch_weights
from mmdetr.config.data_check import check_config
from mmdetr.config.package_configs import PREFIX, find_config, package_configs
from mmdetr.config.reading import load_config
from mmdetr.config.training_check import find_key
from mmdetr.datasets.formats import Conversion, convert
from mmdetr.datasets.formats.recognise import Format
from mmdetr.datasets.formats.voc import VocPixels
from mmdetr.engine.lock import work_dir_lock
from mmdetr.zoo import UnknownModelError, find_model

from .child_config import Section, config_text, merge, nested
from .choose import FINE_TUNING_STEPS, Base, Machine, choose_base, this_machine
from .errors import RecipeError
from .schedule import accumulated_batches, epochs_for, schedule_changes
from .start_weights import NONE, choose_weights
from .weights import Weights, read_weights
from .worth import describe_worth

ANNOTATIONS = 'annotations'
PREPARATION = 'preparation.txt'
HERE = '{{ fileDirname }}'  # mmengine puts the folder of the config in its place, as it is
NUM_DECODED = 200  # images of each dataset, as tools/dataset/check.py does
NO_TEXT = re.compile(r'[\'"\\{}\n\r]')  # what would end or change a text of Python
LOADERS = dict(train='train_dataloader', val='val_dataloader', test='test_dataloader')


@dataclass
class Options:
    """What the command line says beside the folder.

    Attributes:
        work_dir: Folder for everything that is written; ``work_dirs/<name of the data>`` if None.
        weights: File of a detector or a backbone; ``'none'`` trains from scratch; None takes what
            the config says.
        epochs: None lets the number of images say.
        model: Config to build on instead of the one of the table, or the name of a published model,
            whose weights are taken unless ``weights`` says otherwise.
        fmt: Format of the data; None recognises it.
        seed: Of the split, and of the training.
        group: Regular expression, see ``split_pictures``.
        voc_pixels: What ``xmin`` counts in Pascal VOC's files, see ``read_voc``.
    """

    work_dir: str | None = None
    weights: str | None = None
    epochs: int | None = None
    model: str | None = None
    fmt: Format | None = None
    seed: int = 0
    group: str | None = None
    voc_pixels: VocPixels = 'auto'


def prepare(folder: str, options: Options, resume: bool = False) -> Path:
    """Write the annotations and the config of a training, and say what was chosen and why.

    What is said stands in ``preparation.txt`` of the work directory, too.

    Args:
        folder: Of the data, in any format that ``dataset convert`` knows.
        options: Of the command line.
        resume: Take the config that is there already, as the user may have edited it.

    Returns:
        The config file.

    Raises:
        FormatError: The data cannot be read.
        RecipeError: The check of the data finds what a training cannot work with. Weights or model
            do not fit. The work directory has a config, and ``resume`` is not set.
            The training would have no epoch.
    """
    if options.epochs is not None and options.epochs < 1:
        raise RecipeError(f'epochs must be 1 or more, not {options.epochs}')
    name = re.sub(r'[^\w.-]+', '_', Path(folder).resolve().name).strip('._') or 'data'
    work_dir = Path(options.work_dir or f'work_dirs/{name}')
    config = work_dir / f'{name.replace(".", "_")}.py'
    if config.exists():
        if resume:
            print(f'continues {config}')
            return config
        raise RecipeError(
            f'{config} is there already: --resume goes on with it, tools/train.py {config} begins '
            'again with what you edited, and another --work-dir begins anew'
        )
    options = _with_named_model(options)
    print(f'looks at {folder}', flush=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    with work_dir_lock(work_dir, MMLogger.get_current_instance()):
        weights = None
        if options.weights not in (None, NONE):
            weights = read_weights(str(options.weights), options.model)
        for file in (work_dir / ANNOTATIONS).glob('*'):
            file.unlink()  # of a start that did not come as far as the config
        data = convert(
            folder,
            work_dir / ANNOTATIONS,
            options.fmt,
            seed=options.seed,
            group=options.group,
            voc_pixels=options.voc_pixels,
        )
        print('\n'.join(data.lines), flush=True)
        text, chosen = _write(folder, config, data, weights, options)
        config.write_text(text, encoding='utf-8')
        found = _check_data(config)
        blocks = ['\n'.join(chosen), '\n'.join([*data.lines, *found])]
        (work_dir / PREPARATION).write_text('\n\n'.join(blocks) + '\n', encoding='utf-8')
    print('\n'.join([*found, *chosen, f'config: {config}, to be edited and run again']), flush=True)
    return config


def _check_data(config: Path) -> list[str]:
    """Check the data of a config that was just written; return what is worth knowing in lines.

    Raises:
        RecipeError: There are errors. The config is taken away, so that the next start is anew.
    """
    cfg = load_config(config)
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    findings = check_config(cfg, NUM_DECODED, num_gpus=1)
    if errors := [text for level, text in findings if level == 'error']:
        config.unlink()
        raise RecipeError(f'the data cannot be trained on: {"; ".join(errors)}')
    warnings = [f'warning: {text}' for level, text in findings if level == 'warning']
    return [*warnings, f'checked: 0 errors, {len(warnings)} warnings']


def _with_named_model(options: Options) -> Options:
    """Replace the name of a published model by its config and weights."""
    name = options.model
    if name is None or os.path.exists(name) or find_config(name) != name:
        return options
    try:
        entry = find_model(name)
        weights = options.weights or fetch_weights(entry.weights, entry.sha256)
    except UnknownModelError as error:
        raise RecipeError(f'--model: config not found: {name}, and {error}') from None
    except (OSError, CheckpointError) as error:
        raise RecipeError(f'--model: {error}') from None
    return replace(options, model=entry.config, weights=weights)


def _write(
    folder: str, config: Path, data: Conversion, weights: Weights | None, options: Options
) -> tuple[str, list[str]]:
    """Return the text of the config, and what was chosen in lines."""
    machine = this_machine()
    here = str(config.parent.resolve())
    here = here if NO_TEXT.search(here) else HERE
    num_images = sum(each.split == 'train' for each in data.collection.pictures)
    base = _base(num_images, machine, weights, options)
    cfg = _read_base(base.config)
    accumulated = accumulated_batches(cfg)
    batch = (cfg.train_dataloader.get('batch_size') or 1) * accumulated
    epochs = options.epochs or epochs_for(base.steps, num_images, batch)
    steps = max(1, epochs * num_images // batch)
    start = choose_weights(cfg, weights, options.weights)
    counts = ', '.join(
        f'{sum(each.split == part for each in data.collection.pictures)} {part}'
        for part in data.files
    )
    chosen = [
        f'config: {base.config}, since {base.reason}',
        f'weights: {start.words}',
        f'worth: {describe_worth(base.config, start.start, num_images, steps)}',
        f'length: {epochs} epochs, {steps} steps of {batch} images',
    ]
    header = [
        f'{folder}: {counts} images, {machine}.',
        f'  python tools/train.py {config}',
        f'Cost and result: of this data, see {config.parent}.',
        base.reason[0].upper() + base.reason[1:] + '.',
    ]
    classes = len(data.collection.classes)
    stated = {key: classes for key, _ in find_key(cfg.model, 'num_classes', 'model')}
    sections: list[Section] = [
        ('Boxes in COCO form; the images stay where they are.', _data_changes(cfg, data, here)),
        (
            f'{classes} classes. Weights: {start.words}.',
            merge(nested(stated), dict(model=start.model) if start.model else {}) | start.settings,
        ),
        (
            f'{epochs} epochs of {num_images} images are {steps} steps of {batch} images.',
            schedule_changes(cfg, epochs, num_images)
            | (dict(optim_wrapper=dict(accumulative_counts=accumulated)) if accumulated > 1 else {})
            | dict(randomness=dict(seed=options.seed)),
        ),
        ('What is written goes beside this file.', dict(work_dir=here)),
    ]
    return config_text(header, _base_name(base.config), sections), chosen


def _base(num_images: int, machine: Machine, weights: Weights | None, options: Options) -> Base:
    detector = weights is not None and weights.detector
    if options.model is not None:
        steps = FINE_TUNING_STEPS if detector else choose_base(num_images, machine).steps
        return Base(options.model, steps, 'it was asked for by --model')
    if detector:
        return Base(str(detector), FINE_TUNING_STEPS, f'{weights.file} is of its model')  # type: ignore[union-attr]
    return choose_base(num_images, machine)


def _read_base(name: str) -> Config:
    try:
        cfg = load_config(name)
    except (OSError, ValueError) as error:
        raise RecipeError(f'--model: {error}') from None
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if dataset.get('type') != 'CocoDataset' or cfg.get('model') is None:
        raise RecipeError(f'--model: {name} has no model, or trains on no CocoDataset')
    return cfg


def _base_name(config: str) -> str:
    if config.removesuffix('.py') in package_configs() and not Path(config).is_file():
        return f'{PREFIX}{config.removesuffix(".py")}.py'
    return config if config.startswith(PREFIX) else str(Path(find_config(config)).resolve())


def _data_changes(cfg: Config, data: Conversion, here: str) -> dict[str, Any]:
    """Return the settings of loaders and metrics; without a test part, val is tested on."""
    changes: dict[str, Any] = {}
    for part, loader in LOADERS.items():
        name = data.files.get(part, data.files['val']).name
        file = f'{here}/{ANNOTATIONS}/{name}'
        dataset = dict(data_root='', ann_file=file, data_prefix=dict(img=f'{data.image_root}/'))
        changes[loader] = dict(dataset=dataset)
        evaluator = f'{part}_evaluator'
        if (cfg.get(evaluator) or {}).get('ann_file'):
            changes[evaluator] = dict(ann_file=file)
    return changes
