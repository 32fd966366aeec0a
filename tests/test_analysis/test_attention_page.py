"""Pictures of attention, and the tool that writes them."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdetr.analysis.attention_maps import attend
from mmdetr.analysis.attention_page import attention_page
from mmdetr.apis import init_detector
from mmdetr.config.package_configs import package_folder
from tests.test_analysis.test_report import Tags

TOOL = package_folder('tools') / 'analysis' / 'attention.py'
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
pytestmark = pytest.mark.filterwarnings('ignore:init_detector without checkpoint')


def build(name, **options):
    torch.manual_seed(0)
    return init_detector(f'{name}_tiny_1xb32-12e_shapes', device='cpu', cfg_options=options)


def test_brightest_where_the_model_looks_most():
    model = build('detr')
    result = attention_page(model, IMAGE, [(10, 20)], score_thr=0.0, max_detections=5)
    Tags(result.html)
    # Five tiles of 480 x 360 and a title of 18 each, four in a row, 6 between them.
    assert result.sheets['decoder'].shape[:2] == (2 * 378 + 6, 4 * 480 + 3 * 6)
    assert 'mean over its heads, 8 x 6 cells' in result.html
    tile = result.sheets['encoder'][-360:, :480].astype(float)
    yellow = tile[..., 0] + tile[..., 1] - tile[..., 2]

    heat = attend(model, IMAGE).encoder([(10, 20)]).on_image(0, 360, 480).numpy()
    assert np.corrcoef(yellow.ravel(), heat.ravel())[0, 1] > 0.7


def test_points_of_deformable_attention():
    result = attention_page(build('deformable_detr'), IMAGE, score_thr=0.0, max_detections=1)
    assert result.html.count('deformable attention looks at') == 2
    assert set(result.sheets) == {'decoder', 'encoder'}


def test_nothing_found_and_no_encoder():
    model = build('detr', **{'model.bbox_head.transformer.num_encoder_layers': 0})
    result = attention_page(model, IMAGE, score_thr=1.1)
    assert 'No detection reaches the score threshold.' in result.html
    assert 'The model has no encoder with self-attention' in result.html
    assert result.sheets == {}


def test_the_tool(tmp_path, monkeypatch, capsys):
    model = build('detr')
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    Image.fromarray(IMAGE).save(tmp_path / 'a.png')
    config = str(package_folder('configs') / 'detr_tiny_1xb32-12e_shapes.py')
    files = [str(tmp_path / 'a.png'), config, str(tmp_path / 'model.pth')]

    def run(*options):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *files, '--device', 'cpu', *options])
        runpy.run_path(str(TOOL), run_name='__main__')

    out = tmp_path / 'page' / 'where.html'
    run('--out', str(out), '--score-thr', '0')
    assert sorted(path.name for path in out.parent.iterdir()) == [
        'where.html',
        'where_decoder.png',
        'where_encoder.png',
    ]
    assert Path(out).read_text().startswith('<!DOCTYPE html>')
    with pytest.raises(SystemExit, match='error: point 64,5 is outside of the image of 64 x 48'):
        run('--out', str(out), '--points', '64,5')
    with pytest.raises(SystemExit):
        run('--points', 'here')
    assert '--points are pairs of numbers' in capsys.readouterr().err
