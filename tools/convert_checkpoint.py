"""Convert a checkpoint between codebases, or print what one holds.

    python tools/convert_checkpoint.py detr-r50-e632da11.pth detr_r50.pth --to mmdetr
    python tools/convert_checkpoint.py work_dirs/my/best.pth model.safetensors --to huggingface
    python tools/convert_checkpoint.py --inspect model.safetensors

SRC is a path or a URL of any format that mmdetr loads (its own, facebookresearch/detr, mmdetection
3, Hugging Face); it is recognised by its names.
"""

import argparse

from mmdetr.config.command_line import check_input_file, errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='SRC', help='checkpoint to read: a path or a URL')
    parser.add_argument('destination', metavar='DST', nargs='?', help='file to write')
    parser.add_argument(
        '--to', metavar='FORMAT', help='format to write: mmdetr, facebook or huggingface'
    )
    parser.add_argument('--inspect', action='store_true', help='print what SRC holds')
    args = parser.parse_args()
    if not args.inspect and not (args.destination and args.to):
        parser.error('give DST and --to FORMAT to convert, or --inspect to look')
    check_input_file('checkpoint', args.source)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.checkpoint import (
    CheckpointError,
    CheckpointFile,
    class_names,
    convert,
    read_checkpoint,
    writable_formats,
)


def describe(source: CheckpointFile) -> str:
    """Format, variant, classes and sizes of a checkpoint, for people."""
    names = class_names(source)
    if names is None:
        classes = 'not named in the file'
    else:
        known = [name for name in names if name]
        classes = f'{len(known)}: {", ".join(known)}'
        if source.classes is None:
            classes += ' (COCO, by the number of rows)'
    architecture = source.layout.architecture
    traits = architecture.traits(source) if architecture else {}
    weights = source.state_dict
    numbers = sum(value.numel() for value in weights.values())
    megabytes = sum(value.numel() * value.element_size() for value in weights.values()) / 2**20
    flat = not {'model', 'state_dict'} & set(source.content)
    other = [] if flat else [k for k in source.content if k not in ('model', 'state_dict')]
    return '\n'.join(
        [
            f'file: {source.filename}',
            f'format: {source.format}',
            f'architecture: {architecture.name if architecture else "not registered"}',
            f'variant: {source.variant or "unknown"}',
            *(f'{heading}: {text}' for heading, text in traits.items()),
            f'classes: {classes}',
            f'weights: {len(weights)} tensors, {numbers:,} numbers, {megabytes:.1f} MiB, '
            f'{", ".join(sorted({str(value.dtype) for value in weights.values()}))}',
            f'without a place here: {", ".join(source.unknown) or "nothing"}',
            f'beside the weights: {", ".join(other) or "nothing"}',
        ]
    )


def main(args: argparse.Namespace) -> None:
    with errors_in_one_line(CheckpointError, OSError):
        if args.to not in (None, *writable_formats()):
            raise CheckpointError(f'--to must be one of {", ".join(writable_formats())}')
        source = read_checkpoint(args.source)
        if args.inspect:
            print(describe(source))
        if args.destination:
            for path in convert(source, args.destination, args.to):
                print(f'wrote {path}')
            if source.unknown:
                print(f'left out {len(source.unknown)} weights: {", ".join(source.unknown)}')
            if args.to == 'huggingface' and source.format != args.to:
                print(
                    'weights show neither dilation (DC5) nor the number of attention heads (8 is '
                    'written): check both in config.json'
                )


if __name__ == '__main__':
    main(arguments)
