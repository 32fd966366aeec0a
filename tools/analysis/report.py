"""One page of a run: curves, AP, kinds of errors, worst and best images, data, warnings."""

import argparse
import sys
import time
from pathlib import Path

from mmdetr.config.command_line import check_input_file, check_out_dir, score


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/analysis/report.py work_dirs/my_run
  python tools/analysis/report.py work_dirs/my_run --checkpoint work_dirs/my_run/epoch_3.pth
  python tools/analysis/report.py work_dirs/my_run --out /tmp/my_run.html --score-thr 0.4

The page is one file that loads nothing. The checkpoint (by default the best one, else the last) is
evaluated on the validation data of the run's config; what is missing is said in the page.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dir', help='folder of a training')
    parser.add_argument('--out', help='file to write (default: WORK_DIR/report.html)')
    parser.add_argument('--config', help='config instead of the one in the folder or checkpoint')
    parser.add_argument('--checkpoint', help='checkpoint instead of the best one in the folder')
    parser.add_argument(
        '--score-thr',
        type=score,
        help='least score of detections in pictures, confusion and counts (default: the operating '
        'point in the checkpoint)',
    )
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    if not Path(args.work_dir).is_dir():
        parser.error(f'no such folder: {args.work_dir}')
    check_out_dir('--out', Path(args.out).parent if args.out else args.work_dir)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.analysis.report import make_report, open_run
from mmdetr.analysis.run_files import find_config, read_curves
from mmdetr.config.reading import ConfigError


class Progress:
    """Say every few seconds how many images are done."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > 3 or done == total:
            self.last = now
            print(f'evaluated {done} of {total} images')


def main(args: argparse.Namespace) -> None:
    try:
        run = open_run(args.work_dir, args.config, args.checkpoint, args.score_thr)
    except (ConfigError, OSError) as error:
        sys.exit(f'error: {error}')
    if not (find_config(run.work_dir) or run.checkpoint or any(read_curves(run.work_dir))):
        sys.exit(
            f'error: {run.work_dir} is no folder of a training: it has no config, checkpoint or log'
        )
    html = make_report(run, Progress())
    out = Path(args.out) if args.out else run.work_dir / 'report.html'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding='utf-8')
    print(f'wrote {out} ({len(html) // 1024} KiB)')


if __name__ == '__main__':
    main(arguments)
