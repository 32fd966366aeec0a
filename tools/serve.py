"""Serves a detector over HTTP, with a page to try it on."""

import argparse
import os
import sys
from pathlib import Path

from mmdetr.config.command_line import (
    add_model,
    check_input_file,
    check_model,
    errors_in_one_line,
)
from mmdetr.deploy.metadata import SUFFIXES
from mmdetr.serving.settings import MissingPackageError, Settings, check_installed

TOKEN = 'MMDETR_TOKEN'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Serve a detector over HTTP, with a page to try it on.',
        epilog=f"""\
The page is at /, a description of all addresses at /docs. In short:
  curl -F image=@photo.jpg 'http://127.0.0.1:8000/predict?score_thr=0.5'
  curl --data-binary @photo.jpg http://127.0.0.1:8000/predict

With a token, in the file of --token-file or the variable {TOKEN}, clients send the header
  Authorization: Bearer TOKEN

SIGTERM and Ctrl-C end the service when the requests that it has accepted are answered.

examples:
  python tools/serve.py rtdetrv2-r18
  python tools/serve.py work_dirs/mine/best.pth
  python tools/serve.py configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/serve.py detr-r50.onnx
  python tools/serve.py CONFIG CHECKPOINT --host 0.0.0.0 --token-file token.txt
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser, alone='; or an exported file')
    network = parser.add_argument_group('network')
    network.add_argument(
        '--host', default='127.0.0.1', help='address to listen at (default: %(default)s)'
    )
    network.add_argument('--port', type=int, default=8000, help='default: %(default)s; 0: any')
    network.add_argument('--token-file', metavar='FILE', help='its first line is the token')
    model = parser.add_argument_group('model')
    model.add_argument('--device', help='as cpu, cuda or cuda:1 (default: the GPU if there is one)')
    model.add_argument(
        '--dtype',
        choices=('float32', 'bfloat16', 'float16'),
        default='float32',
        help='what a checkpoint computes in (default: %(default)s)',
    )
    model.add_argument(
        '--runtime',
        choices=('onnxruntime', 'openvino'),
        help="of an exported file: openvino reads .onnx, too (default: the file's own)",
    )
    model.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='go on where checkpoint and config do not belong together',
    )
    add_limits(parser)
    args = parser.parse_args()
    if is_exported(args):
        check_input_file('model', args.config)
    else:
        check_model(args.config, args.checkpoint)
    return args


def is_exported(args: argparse.Namespace) -> bool:
    return args.checkpoint is None and Path(args.config).suffix in SUFFIXES.values()


def add_limits(parser: argparse.ArgumentParser) -> None:
    default = Settings()
    limits = parser.add_argument_group('limits')

    def add(name: str, kind: type, value: float, text: str) -> None:
        limits.add_argument(
            name, type=kind, default=value, metavar='N', help=f'{text} (default: %(default)s)'
        )

    add('--max-batch', int, default.max_batch, 'images that the model gets at once')
    add('--max-wait', float, default.max_wait, 'milliseconds that an image waits for others')
    add('--queue', int, default.queue, 'requests at a time; more are answered 503')
    add('--max-megabytes', float, default.max_bytes / 2**20, 'MiB of an upload')
    add('--max-megapixels', float, default.max_pixels / 1e6, 'size of an image')
    add('--timeout', float, default.timeout, 'seconds from an upload to its answer')
    add('--upload-timeout', float, default.upload_timeout, 'seconds of an upload')
    add('--decoders', int, default.decoders, 'threads that decode images')


def read_token(path: str | None) -> str | None:
    """The token of a file, or of the environment; None where there is neither."""
    if path is None:
        return os.environ.get(TOKEN)
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f'error: token file cannot be read: {path}: {error}')
    return lines[0].strip() if lines else ''


def to_settings(args: argparse.Namespace) -> Settings:
    try:
        return Settings(
            max_batch=args.max_batch,
            max_wait=args.max_wait,
            queue=args.queue,
            max_bytes=round(args.max_megabytes * 2**20),
            max_pixels=round(args.max_megapixels * 1e6),
            timeout=args.timeout,
            upload_timeout=args.upload_timeout,
            decoders=args.decoders,
            token=read_token(args.token_file),
        )
    except (OverflowError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()
    settings = to_settings(arguments)
    try:
        check_installed()
    except MissingPackageError as missing:
        sys.exit(f'error: {missing}')

from mmdetr.serving.app import create_app
from mmdetr.serving.predictor import Predictor
from mmdetr.serving.server import address, bind, is_public, serve
from mmdetr.serving.service import Service
from mmdetr.utils.memory import share_heap


def build(args: argparse.Namespace, max_batch: int) -> Predictor:
    """Build the detector that the command line names; torch is imported where it computes."""
    if is_exported(args):
        from mmdetr.deploy.metadata import ExportedFileError
        from mmdetr.serving.runtime_predictor import RuntimePredictor

        with errors_in_one_line(ExportedFileError):
            return RuntimePredictor.from_file(args.config, max_batch, args.runtime)
    from mmdetr.apis.named_models import read_model
    from mmdetr.config.refusals import refusals_in_one_line
    from mmdetr.serving.torch_predictor import TorchPredictor

    cfg, weights = read_model(args.config, args.checkpoint)
    with refusals_in_one_line(cfg):
        name = Path(args.checkpoint or args.config).name
        return TorchPredictor.from_files(
            cfg, weights, args.device, args.dtype, args.allow_mismatch, name
        )


def main(args: argparse.Namespace, settings: Settings) -> None:
    try:
        bound = bind(args.host, args.port)
    except (OSError, OverflowError) as error:
        sys.exit(f'error: cannot listen at {args.host}, port {args.port}: {error}')
    share_heap()  # before there are threads that decode
    service = Service(build(args, settings.max_batch), settings)
    service.warm_up()
    if is_public(bound) and settings.token is None:
        print('warning: open to the network without a token: see --token-file', file=sys.stderr)
    line = f'{service.predictor.name} at {address(bound)} (Ctrl-C ends)'
    serve(create_app(service), bound, lambda: print(line, flush=True))


if __name__ == '__main__':
    main(arguments, settings)
