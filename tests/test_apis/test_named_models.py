"""One word is enough for a detector: a checkpoint that carries its config, or a name."""

import hashlib
import json
import runpy
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdetr.apis import init_detector
from mmdetr.checkpoint import CheckpointError, from_mmdetr, save_file
from mmdetr.config.package_configs import find_config
from mmdetr.deploy.export import ExportReport
from mmdetr.zoo import known_models
from tests.helpers.exported import metadata

ROOT = Path(__file__).parents[2]
DEMO = 'detr_tiny_1xb32-12e_shapes'
CLASSES = ['circle', 'rectangle', 'triangle']


@pytest.fixture(scope='module')
def trained() -> Any:
    """A detector as a training of the demo leaves it, but for the weights."""
    with pytest.warns(UserWarning, match='random'):
        return init_detector(DEMO, device='cpu')


def save(model: Any, path: Path, **meta: Any) -> Path:
    meta = dict(mmdetr_version='0', dataset_meta=dict(classes=CLASSES), **meta)
    save_file(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


def same_weights(model: Any, other: Any) -> bool:
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: Any) -> Iterator[tuple[Path, str]]:
    """A folder and the address that it has."""
    folder = tmp_path / 'site'
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('MMDETR_HOME', str(tmp_path / 'home'))
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def test_checkpoint_alone(trained: Any, tmp_path: Path) -> None:
    path = save(trained, tmp_path / 'mine.pth', cfg=Config.fromfile(find_config(DEMO)).pretty_text)
    model = init_detector(path, device='cpu')
    assert same_weights(model, trained)
    assert list(model.dataset_meta['classes']) == CLASSES
    assert model.cfg.test_dataloader.dataset.type == 'ShapesDataset'


def test_checkpoint_without_config(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'bare\.pth carries no config: give the config'):
        init_detector(save(trained, tmp_path / 'bare.pth'), device='cpu')


def test_name_from_an_index_over_the_net(
    trained: Any, site: tuple[Path, str], tmp_path: Path, monkeypatch: Any
) -> None:
    """Fetched once, checked, and taken from the folder without the server from then on."""
    folder, address = site
    path = save(trained, folder / 'shapes.pth')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = dict(name='shapes', config=DEMO, weights=f'{address}/shapes.pth', sha256=digest)
    index = tmp_path / 'index.json'
    index.write_text(json.dumps([entry]))
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    assert same_weights(init_detector('shapes', device='cpu'), trained)
    path.unlink()
    assert same_weights(init_detector('shapes', device='cpu'), trained)
    index.write_text(json.dumps([entry | dict(sha256='0' * 64)]))
    with pytest.raises(OSError, match=r'cannot download .*shapes\.pth'):
        init_detector('shapes', device='cpu')


def test_hub_name_from_the_cache(trained: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A file of ours on the hub, read from huggingface_hub's own cache without network."""
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    commit = '0' * 40
    folder = tmp_path / 'models--team--shapes'
    (folder / 'snapshots' / commit).mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs' / 'main').write_text(commit)
    save(
        trained,
        folder / 'snapshots' / commit / 'shapes.pth',
        cfg=Config.fromfile(find_config(DEMO)).pretty_text,
    )
    assert same_weights(init_detector('hf://team/shapes/shapes.pth', device='cpu'), trained)
    with pytest.raises(CheckpointError, match='cannot fetch hf://team/other'):
        init_detector('hf://team/other', device='cpu')


def test_published_model_by_name(tmp_path: Path, monkeypatch: Any) -> None:
    """The authors' file, put where the message about the missing network says."""
    monkeypatch.setenv('MMDETR_HOME', str(tmp_path))
    entry = known_models()['detr-r50']
    small = Config.fromfile(find_config(entry.config))
    small.model.backbone.depth = 18
    small.model.bbox_head.num_classes = 91
    with pytest.warns(UserWarning, match='random'):
        model = init_detector(small, device='cpu')
    weights = from_mmdetr(model.state_dict(), 'facebook')
    name = 'detr-r50-' + 'a' * 8
    (tmp_path / 'checkpoints').mkdir()
    torch.save(dict(model=weights), tmp_path / 'checkpoints' / f'{name}.pth')
    digest = hashlib.sha256((tmp_path / 'checkpoints' / f'{name}.pth').read_bytes()).hexdigest()
    real = tmp_path / 'checkpoints' / f'detr-r50-{digest[:8]}.pth'
    (tmp_path / 'checkpoints' / f'{name}.pth').rename(real)
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = 'mmdetr::{entry.config}.py'\nmodel = dict(backbone=dict(depth=18))\n"
    )
    index = tmp_path / 'index.json'
    address = f'http://127.0.0.1:9/{real.name}'
    index.write_text(json.dumps([dict(name='small', config='small.py', weights=address)]))
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    found = init_detector('small', device='cpu')
    assert len(found.dataset_meta['classes']) == 80
    # Row 1 of the authors' head is the first category, person.
    row = weights['class_embed.weight'][1]
    assert torch.equal(found.bbox_head.cls_branch.weight[0], row)


def test_unknown_word() -> None:
    with pytest.raises(
        FileNotFoundError, match=r'config not found: detr-r5O.*close names: detr-r50'
    ):
        init_detector('detr-r5O', device='cpu')


@pytest.fixture
def infer(tmp_path: Path, monkeypatch: Any) -> Any:
    """``tools/infer.py`` on one picture."""
    Image.new('RGB', (64, 64), 'white').save(tmp_path / 'photo.png')

    def run(*words: str) -> int:
        arguments = ['infer.py', str(tmp_path / 'photo.png'), *words]
        monkeypatch.setattr(sys, 'argv', [*arguments, '--out-dir', str(tmp_path / 'out')])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools/infer.py'), run_name='__main__')
        return ended.value.code

    return run


def test_infer_takes_a_name_or_a_checkpoint(
    trained: Any, infer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    text = Config.fromfile(find_config(DEMO)).pretty_text
    path = save(trained, tmp_path / 'mine.pth', cfg=text)
    index = tmp_path / 'index.json'
    index.write_text(json.dumps([dict(name='mine', config=DEMO, weights='mine.pth')]))
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    for words in ([str(path)], ['--model', 'mine']):
        assert infer(*words, '--score-thr', '0') == 0
        (record,) = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
        assert len(record['boxes']) == 10
    assert 'detr-r5O' in str(infer('--model', 'detr-r5O'))
    assert 'is a config: give a checkpoint' in str(infer(DEMO))
    assert infer() == 2


@pytest.fixture
def tool(monkeypatch: Any) -> Any:
    """Run a tool in this process; what it ended with, None where it came to its end."""

    def run(name: str, *words: Any) -> Any:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        try:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        except SystemExit as ended:
            return ended.code
        return None

    return run


def test_export_serve_and_test_take_one_word(
    trained: Any, tool: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    pytest.importorskip('fastapi')
    text = Config.fromfile(find_config(DEMO)).pretty_text
    path = save(trained, tmp_path / 'mine.pth', cfg=text)
    index = tmp_path / 'index.json'
    index.write_text(json.dumps([dict(name='my.v2', config=DEMO, weights='mine.pth')]))
    monkeypatch.setenv('MMDETR_MODELS', str(index))
    monkeypatch.chdir(tmp_path)
    exported, served = [], []

    def export(model: Any, file: str, **options: Any) -> ExportReport:
        exported.append((model, file))
        return ExportReport(Path(file), metadata(), [], 0.0)

    monkeypatch.setattr('mmdetr.apis.export_detector', export)
    monkeypatch.setattr('mmdetr.serving.server.serve', lambda app, *_: served.append(app.title))
    for word, file in ((path, tmp_path / 'mine.pt2'), ('my.v2', 'my.v2.pt2')):
        assert tool('export.py', word, '--format', 'torch-export') is None
        assert exported[-1][1] == str(file)
        assert same_weights(exported[-1][0], trained)
        assert tool('serve.py', word, '--port', 0, '--device', 'cpu') is None
    assert served == ['mmdetr: mine.pth', 'mmdetr: my.v2']
    few = ('num_workers=0', 'persistent_workers=False', 'dataset.num_images=2')
    options = [f'test_dataloader.{each}' for each in few]
    assert tool('test.py', path, '--quiet', '--cfg-options', *options) is None
    assert ' bbox  0.' in capsys.readouterr().out
    assert (tmp_path / 'work_dirs' / 'mine').is_dir()


@pytest.mark.parametrize('name', ['export.py', 'serve.py', 'test.py'])
def test_what_is_no_model_is_said_in_one_line(
    trained: Any, tool: Any, tmp_path: Path, name: str
) -> None:
    pytest.importorskip('fastapi')
    bare = save(trained, tmp_path / 'bare.pth')
    for word, message in (
        (bare, 'bare.pth carries no config: give the config that it was trained with'),
        (DEMO, f'{DEMO} is a config: give a checkpoint of its model as well'),
        ('nowhere/some.pth', 'checkpoint not found: nowhere/some.pth'),
        ('detr-r5O', 'close names: detr-r50'),
    ):
        said = str(tool(name, word))
        assert said.startswith('error: '), said
        assert message in said
        assert '\n' not in said
