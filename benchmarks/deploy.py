"""DETR-R50 in ONNX Runtime and OpenVINO, ours and the authors', against torch.

    python benchmarks/deploy.py [--authors DIR] [--threads 2]

Needs pip install 'mmdetr[export]'. Every party has a process of its own, the same threads and its
turn; outputs are compared before timing. The authors' model is exported for each size anew.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _common import heading, parser, positive, ratio, table, time_in_turns, write_page

TORCH = {'torch, plain': False, 'torch, optimised': True}
RUNTIMES = ('onnxruntime', 'openvino')
OURS = 'ours.onnx'  # which OpenVINO reads, too
COLUMNS = ('', 'p50', 'p95', 'images/s', 'MiB', 'start-up', 'difference', 'x authors')


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, size=(800, 1066), repeats=9)
    options.add_argument('--batches', type=positive, nargs='+', default=[1, 2, 8])
    options.add_argument('--threads', type=positive, default=2, help='of every party (default: 2)')
    return options.parse_args()


def start(args: argparse.Namespace, batch: int, paths: dict, folder: Path) -> dict[str, Any]:
    """Start the parties of a batch size."""
    from _deploy import export_authors, in_runtime, in_torch
    from _peers import Peer

    height, width = args.size
    size = dict(batch=batch, height=height, width=width)
    shared = dict(size, threads=args.threads)
    peers = {}
    if args.authors is not None:
        file = str(folder / f'authors_{batch}.onnx')
        Peer(export_authors, dict(size, path=paths['authors'], file=file), args.authors).close()
        given = dict(shared, kind='authors', path=paths['authors'], padded=False)
        peers['authors, torch'] = Peer(in_torch, given, args.authors)
        for runtime in RUNTIMES:
            given = dict(shared, file=file, runtime=runtime)
            peers[f'authors, {runtime}'] = Peer(in_runtime, given)
    for name, optimize in TORCH.items():
        given = dict(shared, kind='ours', path=paths['ours'], padded=False, optimize=optimize)
        peers[name] = Peer(in_torch, given)
    for runtime in RUNTIMES:
        given = dict(shared, file=str(folder / OURS), runtime=runtime)
        peers[runtime] = Peer(in_runtime, given)
    return peers


def start_up(args: argparse.Namespace, name: str, paths: dict, folder: Path) -> str:
    """Seconds to the first detections of a party of ours."""
    from _deploy import start_up_seconds

    if name in TORCH:
        seconds = start_up_seconds(paths['ours'], args.threads, None, TORCH[name])
    elif name in RUNTIMES:
        seconds = start_up_seconds(str(folder / OURS), args.threads, name)
    else:
        return ''
    return f'{seconds:.1f} s'


def measure(args: argparse.Namespace, batch: int, paths: dict, folder: Path) -> str:
    """The table of a batch size."""
    from _peers import check_agreement

    peers = start(args, batch, paths, folder)
    differences = check_agreement(peers, 'torch, plain', dict.fromkeys(peers, 1e-4))
    seconds = time_in_turns(peers, args.repeats)
    memory = {name: peer.peak_memory() for name, peer in peers.items()}
    for peer in peers.values():
        peer.close()
    rows = []
    for name, times in seconds.items():
        slow = sorted(times)[min(len(times) - 1, round(0.95 * (len(times) - 1)))]
        theirs = seconds.get('authors, torch')
        middle = statistics.median(times)
        rows.append(
            (
                name,
                f'{middle * 1000:.0f} ms',
                f'{slow * 1000:.0f} ms',
                f'{batch / middle:.2f}',
                f'{memory[name]:.0f}',
                start_up(args, name, paths, folder) if batch == args.batches[0] else '',
                f'{differences[name]:.0e}',
                '' if theirs is None else str(ratio(theirs, times)),
            )
        )
    return table(COLUMNS, rows)


def main() -> None:
    args = parse_args()
    from _deploy import export_ours
    from _models import random_weights

    height, width = args.size
    parts = [heading('DETR-R50 in other runtimes')]
    parts.append(
        f'\n{height} x {width}, float32, {args.threads} threads, {args.repeats} rounds in turns, '
        'random weights. Memory is the peak above that after importing torch and this package, '
        'which the runtimes do not need. Start-up is from the start of a process to the first '
        'detections in an image of 480 x 640, resized to 800 x 1066.\n'
    )
    with random_weights() as paths, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_ours(paths['ours'], folder / OURS)
        for batch in args.batches:
            parts.append(f'\n## Batch {batch}\n\n{measure(args, batch, paths, folder)}')
            print(parts[-1], flush=True)
    write_page('deploy', ''.join(parts))


if __name__ == '__main__':
    main()
