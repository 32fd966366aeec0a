"""Print parameters and multiply-accumulates of a model by component, beside the paper's figures.

Example:
    python tools/analysis/model_complexity.py configs/detr_r50_8xb2-150e_coco.py --shape 800 1066
"""

import argparse
import inspect

from mmdetr.config.command_line import add_cfg_options, check_input_file

# Paper, table 1: G multiply-accumulates averaged over the first 100 images of val2017 and million
# parameters, by depth and dilation of the backbone.
PAPER = {
    (50, False): (86, 41),
    (50, True): (187, 41),
    (101, False): (152, 60),
    (101, True): (253, 60),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(800, 1066),
        metavar=('H', 'W'),
        help='input size in pixels (default: 800 1066, a 480 x 640 image of COCO)',
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    check_input_file('config', args.config)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmdetr.config.options import read_config
from mmdetr.registry import MODELS


def build(cfg: Config) -> nn.Module:
    """The model of a config, without memory for its weights."""
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    with torch.device('meta'):
        return MODELS.build(cfg.model).eval()


def components(model: nn.Module) -> dict[str, nn.Module]:
    """Parts of a model by name: what a config can swap, and what stands beside it.

    A module is split into its children as long as there is a registered component inside of it.
    """
    registered = tuple(kind for kind in MODELS.module_dict.values() if inspect.isclass(kind))

    def has_components(module: nn.Module) -> bool:
        return any(isinstance(m, registered) for m in module.modules() if m is not module)

    parts: dict[str, nn.Module] = {}
    open_parts = [('', model)]
    while open_parts:
        name, module = open_parts.pop()
        if has_components(module):
            children = [(f'{name}.{child}'.strip('.'), m) for child, m in module.named_children()]
            open_parts += reversed(children)
        else:
            parts[name] = module
    return parts


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """All parameters and the trainable ones; values of frozen batch norm are buffers."""
    parameters = list(module.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return sum(p.numel() for p in parameters), trainable


def count_macs(model: nn.Module, shape: tuple[int, int]) -> dict[str, int]:
    """Multiply-accumulates of one image of ``shape`` (h, w), by module name, '' for all.

    Convolutions, matrix products and attention are counted; the counter knows attention only as
    plain matrix products, hence the choice of kernel.
    """
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.zeros(1, 3, *shape, device='meta'))
    prefix = f'{type(model).__name__}.'
    macs = {'': counter.get_total_flops() // 2}
    for name, operations in counter.get_flop_counts().items():
        macs[name.removeprefix(prefix)] = sum(operations.values()) // 2
    return macs


def report(cfg: Config, shape: tuple[int, int]) -> str:
    """The table that the tool prints."""
    model = build(cfg)
    parts = {'': model, **components(model)}
    parameters = {name: count_parameters(part) for name, part in parts.items()}
    # The counter's module tracker trips over parameters that want gradients under no_grad.
    macs = count_macs(model.requires_grad_(False), shape)
    rows = [('component', 'parameters', 'trainable', 'GMAC')]
    for name, (total, trainable) in parameters.items():
        if not total and not macs.get(name):
            continue
        gmac = f'{macs.get(name, 0) / 1e9:.2f}'
        rows.append((name or 'total', f'{total:,}', f'{trainable:,}', gmac))
    lines = [f'{name:32} {total:>14} {own:>14} {gmac:>10}' for name, total, own, gmac in rows]
    lines.append(f'input 3 x {shape[0]} x {shape[1]}')
    backbone = cfg.model.get('backbone', {})
    paper = PAPER.get((backbone.get('depth'), backbone.get('dilation', False)))
    if paper and cfg.model.get('bbox_head', {}).get('type') == 'DETRHead':  # not of a successor
        lines.append(
            f'paper, for 6 encoder and 6 decoder layers: {paper[0]} GMAC on average over the first '
            f'100 images of val2017 (which it calls GFLOPS), {paper[1]} M parameters'
        )
    return '\n'.join(lines)


def main(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options, required=('model',))
    print(report(cfg, tuple(args.shape)))


if __name__ == '__main__':
    main(arguments)
