"""Serves models on loopback: speed beside single inference, and a thousand hostile uploads.

    python benchmarks/serving.py --cases demo detr-r50

Weights are random. Each case starts tools/serve.py as a process of its own, sends the same image
from several clients at a time, and asks inference_detector for it one after another, before and
after. Hostile uploads are cut off, damaged, of wrong types, bombs and huge heads; those that Pillow
reads all the same are left out. Needs the packages of requirements/tests.txt and Linux.

Writes benchmarks/results/serving.md; ends with 1 where an upload is not refused, where the service
does not answer any more, or where its memory grows.
"""

import argparse
import io
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from _common import COCO_CONFIG, DEMO, ROOT, heading, parser, positive, table, write_page

# Config, height and width, and how many times as many images.
CASES = {'demo': (DEMO, 64, 64, 10), 'detr-r50': (COCO_CONFIG, 800, 1066, 1)}
# What is called flat, as in soak.py.
TOLERATED_SHARE, TOLERATED_MIB = 0.02, 8.0


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    options.add_argument('--clients', nargs='+', type=positive, default=[1, 4, 8])
    options.add_argument(
        '--requests',
        type=positive,
        default=16,
        help='of each number of clients, of the demo ten times as many (default: 16)',
    )
    options.add_argument('--hostile', type=positive, default=1000, help='uploads (default: 1000)')
    return options.parse_args()


@dataclass
class Times:
    """Of several images: seconds of each, seconds of all, seconds of CPU of who computed them."""

    name: str
    each: list[float]
    wall: float
    cpu: float

    def row(self) -> list[str]:
        import numpy as np

        count = len(self.each)
        middle, high = (1000 * np.percentile(self.each, part) for part in (50, 95))
        return [
            self.name,
            f'{count / self.wall:.3g}',
            f'{1000 * self.cpu / count:.3g}',
            f'{middle:.3g}',
            f'{high:.3g}',
        ]


def write_model(config: Path, folder: Path) -> tuple[Path, Path]:
    """Write a checkpoint with random weights."""
    import torch

    from mmdetr.apis import init_detector

    model = init_detector(config, device='cpu')
    meta = dict(dataset_meta=model.dataset_meta)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'random.pth')
    return config, folder / 'random.pth'


def picture(height: int, width: int) -> bytes:
    """A JPEG of soft patches, which compresses about as a photograph does."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
    content = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(content, 'JPEG', quality=90)
    return content.getvalue()


def timed(calls: int, call: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def time_single(model: Any, content: bytes, count: int) -> Times:
    from mmdetr.apis import inference_detector

    inference_detector(model, content)
    start, cpu = time.perf_counter(), time.process_time()
    each = timed(count, lambda: inference_detector(model, content))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Times('inference_detector, one after another', each, wall, cpu)


def time_service(service: Any, content: bytes, clients: int, count: int) -> Times:
    import httpx

    each: list[float] = []
    left = iter(range(count))

    def ask(client: Any) -> None:
        answer = client.post('/predict', content=content)
        assert answer.status_code == 200, answer.text

    def work() -> None:
        with httpx.Client(base_url=service.url, timeout=600) as client:
            for _ in left:  # iterators of range may be shared between threads
                each.extend(timed(1, lambda: ask(client)))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    start, cpu = time.perf_counter(), cpu_seconds(service.process.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - start, cpu_seconds(service.process.pid) - cpu
    return Times(f'service, {clients} {"client" if clients == 1 else "clients"}', each, wall, cpu)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def compare(case: str, args: argparse.Namespace) -> tuple[str, list[list[str]]]:
    """Time a case; its title and rows."""
    from mmdetr.apis import init_detector
    from tests.helpers.service_process import run_service

    config, height, width, times = CASES[case]
    count = times * args.requests
    content = picture(height, width)
    with tempfile.TemporaryDirectory() as folder:
        files = write_model(config, Path(folder))
        model = init_detector(*files, device='cpu', optimize=True)
        before = time_single(model, content, count)
        threads = os.environ.get('OMP_NUM_THREADS', '')
        limits = ('--device', 'cpu', '--timeout', 600)
        with run_service(*files, *limits, OMP_NUM_THREADS=threads) as service:
            time_service(service, content, max(args.clients), max(args.clients))  # warms up
            rows = [time_service(service, content, n, count) for n in args.clients]
            service.end()
        rows = [before, *rows, time_single(model, content, count)]
    return f'{config.stem}, {height} x {width}, {count} images', [row.row() for row in rows]


# Hostile uploads


def hostile_uploads() -> Iterator[bytes]:
    """Yield uploads without end that are no images."""
    from PIL import Image

    from tests.helpers.hostile import HOSTILE, damaged_uploads

    named = [build() for build, _ in HOSTILE.values()]
    for number, damaged in enumerate(damaged_uploads(10**9)):
        if number % 5 == 0:
            yield named[number // 5 % len(named)]
        try:
            with Image.open(io.BytesIO(damaged)) as image:
                image.convert('RGB')
        except Exception:
            yield damaged


def attack(count: int) -> tuple[Counter, list[float]]:
    """Send hostile uploads; statuses, and MiB before, in the middle and after."""
    import httpx

    from tests.helpers.service_process import run_service
    from tests.helpers.serving import write_detector

    with tempfile.TemporaryDirectory() as folder:
        files = write_detector(Path(folder))
        with (
            run_service(*files, '--device', 'cpu') as service,
            httpx.Client(base_url=service.url, timeout=60) as client,
        ):
            uploads = hostile_uploads()
            good = picture(120, 160)
            for content in chain([good], islice(uploads, max(count // 5, 10)), [good]):
                client.post('/predict', content=content)
            statuses: Counter = Counter()
            memory = [service.memory() / 1024]
            for number in range(count):
                if number % 50 == 49:
                    # The service answers and hangs up before it has read the whole head, so the
                    # answer's body may be lost on the way.
                    request = client.stream('GET', '/health', headers={'X': 'a' * 100_000})
                    with request as answer:
                        statuses[answer.status_code] += 1
                elif number % 2:
                    answer = client.post('/predict', files=dict(image=next(uploads)))
                    statuses[answer.status_code] += 1
                else:
                    answer = client.post('/predict', content=next(uploads))
                    statuses[answer.status_code] += 1
                if number + 1 in (count // 2, count):
                    memory.append(service.memory() / 1024)
            assert client.post('/predict', content=good).status_code == 200
            service.end()
    return statuses, memory


def main() -> int:
    args = parse_args()
    sys.path.insert(0, str(ROOT))  # for the tests' helpers
    text = heading('Serving')
    text += (
        '\nCPU time is that of the process that computes: the service, or the one that calls '
        'inference_detector. Images are equal, so all that wait share batches. Milliseconds.\n'
    )
    for case in args.cases:
        title, rows = compare(case, args)
        columns = [title, 'images per second', 'CPU per image', 'p50', 'p95']
        text += f'\n{table(columns, rows)}'
    statuses, memory = attack(args.hostile)
    # A process that keeps freed memory grows until each thread has met the largest image.
    rise = memory[-1] - memory[1]
    refused = sum(n for status, n in statuses.items() if 400 <= status < 500)
    flat = rise <= max(TOLERATED_MIB, TOLERATED_SHARE * memory[0])
    counts = ', '.join(f'{status}: {n}' for status, n in sorted(statuses.items()))
    text += (
        f'\n{args.hostile} hostile uploads: {refused} answered 4xx ({counts}). Resident memory '
        f'before, in the middle and after, MiB: {", ".join(f"{each:.0f}" for each in memory)}. '
        'What counts as growth is the second half. The service detects as before.\n'
    )
    write_page('serving', text)
    return 0 if flat and refused == args.hostile else 1


if __name__ == '__main__':
    sys.exit(main())
