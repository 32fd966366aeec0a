"""The files in which a hub keeps a model: one of weights, or several with an index."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .io import CheckpointError, MapLocation, load_file

_INDEX = '.index.json'
_NAMES = (
    'model.safetensors',
    f'model.safetensors{_INDEX}',
    'pytorch_model.bin',
    f'pytorch_model.bin{_INDEX}',
)
SCHEME = 'hf://'
_LONGEST_JSON = 50_000_000


def load_any(filename: str, map_location: MapLocation) -> tuple[str, Any]:
    """Read a file of weights, a folder that holds one, ``hf://...``, or what an index lists.

    Returns:
        The file that ``config.json`` lies beside, and the content.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: A file cannot be used.
    """
    if filename.startswith(SCHEME):
        filename = fetch_from_hub(filename)
    if os.path.isdir(filename):
        found = [name for name in _NAMES if (Path(filename) / name).is_file()]
        if not found:
            raise CheckpointError(f'{filename}: a folder with none of {", ".join(_NAMES)}')
        filename = str(Path(filename) / found[0])
    if not filename.endswith(_INDEX):
        return filename, load_file(filename, map_location)
    files = read_json(filename).get('weight_map')
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f'{filename}: no weight_map in it')
    weights: dict[str, Any] = {}
    for name in sorted(set(map(str, files.values()))):
        if os.path.basename(name) != name:
            raise CheckpointError(f'{filename}: {name!r} is not a file beside it')
        shard = Path(filename).with_name(name)
        if not shard.exists():
            raise FileNotFoundError(f'{filename} lists {name}, which is not beside it')
        content = load_file(shard, map_location)
        if not isinstance(content, Mapping):
            raise CheckpointError(f'{shard}: no weights in it')
        weights |= content
    if missing := files.keys() - weights.keys():
        raise CheckpointError(f'{filename}: {len(missing)} weights missing, as {min(missing)}')
    return filename, weights


def fetch_from_hub(address: str) -> str:
    """Fetch what an address of the Hugging Face hub names, as huggingface_hub does.

    That is: into its cache, from where it was interrupted, and nothing with ``HF_HUB_OFFLINE=1``.

    Args:
        address: ``hf://OWNER/NAME`` for the folder of weights and config, ``hf://OWNER/NAME/FILE``
            for one file.

    Raises:
        CheckpointError: The address is none, huggingface_hub is missing or cannot fetch it.
    """
    owner, _, rest = address.removeprefix(SCHEME).partition('/')
    name, _, file = rest.partition('/')
    if not owner or not name:
        raise CheckpointError(f'{address}: give hf://OWNER/NAME or hf://OWNER/NAME/FILE')
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError as error:
        raise CheckpointError(f'{address} needs pip install huggingface_hub') from error
    try:
        if file:
            return hf_hub_download(f'{owner}/{name}', file)
        wanted = ['config.json', 'preprocessor_config.json', *_NAMES, '*.safetensors']
        return snapshot_download(f'{owner}/{name}', allow_patterns=wanted)
    except Exception as error:  # of its own, requests' and the operating system's kinds
        reason = str(error).strip().partition('\n')[0] or type(error).__name__
        raise CheckpointError(f'cannot fetch {address}: {reason}') from error


def read_json(filename: str | Path) -> dict[str, Any]:
    """Read a JSON object from a regular file of reasonable size.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: It is no JSON object.
    """
    path = Path(filename)
    if not path.exists():
        raise FileNotFoundError(f'file not found: {path}')
    if not path.is_file() or path.stat().st_size > _LONGEST_JSON:
        raise CheckpointError(f'{path}: no regular file, or more than {_LONGEST_JSON} bytes')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: not valid JSON: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: not a JSON object')
    return content
