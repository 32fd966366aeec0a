"""Shows in ten minutes on a GPU what no CPU can: every model of the zoo, with figures.

    python benchmarks/gpu_check.py
    python benchmarks/gpu_check.py configs/detr_tiny_1xb32-12e_shapes.py --size 64 64 --device cpu

Each model detects objects in one image and takes training steps, in float32 and in automatic mixed
precision (bfloat16 and float16), with random weights. Without dropout the loss in mixed precision
is compared with that in float32, and the loss and gradients within DistributedDataParallel, alone
in its group, with those of the bare model. On a CPU there are no steps in mixed precision.

Writes benchmarks/results/gpu_check.json; ends with 1 where a model fails.
"""

import argparse
import statistics
import sys
from typing import Any

from _common import existing_file, parser, positive, summary, table, write_result


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, repeats=10)
    options.add_argument('configs', nargs='*', type=existing_file, help='default: the whole zoo')
    options.add_argument('--device', default='cuda', help='default: cuda')
    options.add_argument(
        '--size',
        type=positive,
        nargs=2,
        metavar=('H', 'W'),
        help="of the images (default: what each config's pipeline makes of 480 x 640 pixels)",
    )
    options.add_argument('--batch', type=positive, default=2, help='of a step (default: 2)')
    return options.parse_args()


def results_table(models: dict[str, dict[str, Any]]) -> str:
    """A row for each model that passed; what was not measured is '-'."""
    columns = ['model', 'size', 'one image', 'MiB', 'fast form']
    columns += [f'{dtype} step, MiB' for dtype in ('float32', 'bfloat16', 'float16')]
    columns += ['bfloat16 loss', 'float16 loss', 'DDP loss']
    rows = []
    for name, result in models.items():
        forms, losses = result.get('forms'), result['loss']
        fast = summary(forms['seconds']['fast']) if forms else '-'
        row = [name, '{} x {}'.format(*result['size']), summary(result['image']['seconds'])]
        row += [_mib(result['image']), fast]
        for dtype in ('float32', 'bfloat16', 'float16'):
            step = result['step'].get(dtype)
            row.append(f'{statistics.median(step["seconds"]):.3f} s, {_mib(step)}' if step else '-')
        row += [
            f'{losses[dtype] / losses["float32"] - 1:+.1e}' for dtype in ('bfloat16', 'float16')
        ]
        rows.append([*row, f'{result["ddp_difference"]:.0e}'])
    return table(columns, rows)


def _mib(figures: dict[str, Any]) -> str:
    return '-' if figures['peak_mib'] is None else f'{figures["peak_mib"]:.0f}'


def main() -> None:
    args = parse_args()
    import torch
    from _model_check import ModelCheck, group_of_one, zoo
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel('ERROR')  # or it lists the rate of every weight
    name = 'cpu'
    if args.device != 'cpu':
        if not torch.cuda.is_available():
            sys.exit('error: no GPU is available; --device cpu tries the script without one')
        name = torch.cuda.get_device_name(args.device)
    passed, failed = {}, {}
    with group_of_one(args.device):
        for config in args.configs or zoo():
            try:
                check = ModelCheck(config, args.device, args.size, args.batch, args.repeats)
                passed[config.stem] = check.run()
            except Exception as error:  # the others may still work
                failed[config.stem] = f'{type(error).__name__}: {error}'.splitlines()[0]
                print(f'{config.stem}: FAILED: {failed[config.stem]}', flush=True)
            else:
                print(f'{config.stem}: passed', flush=True)
    print(results_table(passed))
    content = dict(device=name, batch=args.batch, models=passed, failed=failed)
    write_result('gpu_check', content, args.device)
    sys.exit(f'error: failed: {", ".join(failed)}' if failed else 0)


if __name__ == '__main__':
    main()
