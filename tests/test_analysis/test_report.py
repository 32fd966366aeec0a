"""The page of a run: complete, escaped, self-contained, sortable, and no wider than a phone."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdetr.analysis.report import make_report, open_run
from mmdetr.analysis.run_files import read_curves, read_warnings
from mmdetr.checkpoint import load_file, save_file
from mmdetr.config.reading import load_config
from mmdetr.registry import MODELS
from mmdetr.visualization import DetVisualizer

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis' / 'report.py'
CLASSES = ['<script>alert(1)</script>', 'b & "c"', 'triangle']
CONFIG = """
_base_ = 'mmdetr::detr_tiny_1xb32-12e_shapes.py'
load = [dict(type='LoadImageFromFile')]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'instances')
data = dict(_delete_=True, type='CocoDataset', data_root={root!r}, ann_file='train.json',
            data_prefix=dict(img='images/'))
train_dataloader = dict(dataset=dict(
    **data, pipeline=[*load, dict(type='LoadAnnotations'), dict(type='PackDetInputs')]))
data['ann_file'] = 'val.json'
val_dataloader = dict(dataset=dict(
    **data, test_mode=True, pipeline=[*load, dict(type='PackDetInputs', meta_keys=keys)]))
test_dataloader = val_dataloader
"""


def write_data(folder):
    """Five pictures for training, four for validation, one of which is a copy."""
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for part, names in (
        ('train', [f't{i}.png' for i in range(5)]),
        ('val', ['v<img src=x>0.png', 'v1.png', 'v2.png', 't0 again.png']),
    ):
        images, annotations = [], []
        for number, name in enumerate(names):
            pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / 'images' / name)
            images.append(dict(id=number, file_name=name, width=64, height=48))
            for k in range(number % 4):
                box = [4 + 10 * k, 5, 20, 30]
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=number,
                        category_id=k + 1,
                        bbox=box,
                        area=600,
                        iscrowd=0,
                    )
                )
        categories = [dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / f'{part}.json').write_text(json.dumps(content))
    shutil.copy(folder / 'images' / 't0.png', folder / 'images' / 't0 again.png')


def write_logs(run):
    log = run / '20260101_000000'
    (log / 'vis_data').mkdir(parents=True)
    rows = [
        dict(loss=9.0 - step, loss_cls=1.0, lr=1e-3 / step, step=step, iter=step, epoch=1)
        for step in range(1, 6)
    ]
    rows.append({'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_50': 0.5, 'step': 1})
    text = '\n'.join(map(json.dumps, rows))
    (log / 'vis_data' / 'scalars.json').write_text(f'{text}\n{{"loss": 1')
    head = '2026/01/01 00:00:00 - mmengine -'
    (log / 'a.log').write_text(
        f'{head} INFO - all is well\n{head} WARNING - 3 boxes <b>dropped</b>\n  second line\n'
        f'{head} WARNING - x.weight is skipped\n{head} WARNING - y.weight is skipped\n'
    )


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder as a training leaves it, with a model that has learned nothing."""
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    run = tmp_path_factory.mktemp('run')
    write_logs(run)
    (run / 'my_config.py').write_text(CONFIG.format(root=str(folder)))
    (run / 'preparation.txt').write_text('worth: <b>much</b>\n\ndropped: 2 boxes\n')
    torch.manual_seed(0)
    model = MODELS.build(dict(load_config(run / 'my_config.py').model, _scope_='mmdetr'))
    point = dict(name='all', threshold=0.1, precision=0.5, recall=0.5, f1=0.5, num_objects=9)
    meta = dict(
        dataset_meta=dict(classes=CLASSES),
        epoch=3,
        operating_point=dict(everything=point, classes=[], iou=0.5, num_images=4),
    )
    torch.save(dict(meta=meta, state_dict=model.state_dict()), run / 'epoch_3.pth')
    return run


@pytest.fixture(scope='module')
def html(run):
    return make_report(open_run(run))


class Tags(HTMLParser):
    """Collect tags and see that they are closed in order."""

    EMPTY = ('meta', 'img')

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_everything_is_there_and_nothing_is_loaded(html):
    tags = Tags(html).tags
    ids = [attrs.get('id') for tag, attrs in tags if tag == 'section']
    assert ids == [
        'start', 'curves', 'results', 'point', 'errors', 'confusion', 'pictures', 'data',
        'warnings', 'versions',
    ]  # fmt: skip
    for _, attrs in tags:
        assert not attrs.get('src', 'data:').startswith(('http', '/', 'file'))
        assert attrs.get('href', '#')[0] == '#'
    assert 'http' not in re.sub(r'<details>.*?</details>', '', html, flags=re.DOTALL)
    assert sum(tag == 'svg' for tag, _ in tags) >= 8
    pictures = [attrs['alt'] for tag, attrs in tags if tag == 'img']
    assert len(pictures) >= 4
    assert any('F1 ' in alt and 'right' in alt for alt in pictures)
    # Nothing is executed that a name holds.
    assert sum(tag == 'script' for tag, _ in tags) == 1
    assert '&lt;script&gt;alert(1)&lt;/script&gt;' in html
    assert 'score threshold 0.1 (best F1 on 4 validation images' in html
    assert '1 pictures stand in both training and validation' in html
    assert '3 boxes &lt;b&gt;dropped&lt;/b&gt;' in html
    assert 'x.weight is skipped (and 1 more like it)' in html
    assert 'The config names no load_from' in html
    assert '<li>worth: &lt;b&gt;much&lt;/b&gt;</li>' in html
    assert '<pre>dropped: 2 boxes\n</pre>' in html


MASKS = """
_base_ = 'mmdetr::detr_tiny_1xb16-10e_shapes_masks.py'
train_dataloader = dict(dataset=dict(num_images=2))
val_dataloader = dict(dataset=dict(num_images=2))
"""


def test_masks_are_drawn_and_stuff_is_no_error(tmp_path, monkeypatch):
    (tmp_path / 'masks.py').write_text(MASKS)
    torch.manual_seed(0)
    model = MODELS.build(dict(load_config(tmp_path / 'masks.py').model, _scope_='mmdetr'))
    classes = ['circle', 'rectangle', 'triangle', 'ground', 'sky']
    torch.save(
        dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=model.state_dict()),
        tmp_path / 'epoch_1.pth',
    )
    drawn = []
    draw = DetVisualizer.draw
    monkeypatch.setattr(
        DetVisualizer, 'draw', lambda *args, **keys: drawn.append(args[2]) or draw(*args, **keys)
    )
    html = make_report(open_run(tmp_path, score_thr=0.0))
    results, errors = (
        re.search(f'<section id="{name}">.*?</section>', html, re.DOTALL)[0]
        for name in ('results', 'confusion')
    )
    assert 'Masks are drawn in the pictures' in results
    for name in classes:
        assert (f'>{name}<' in results, f'>{name}<' in errors) == 2 * (name in classes[:3],)
    assert len(drawn) == 2
    for sample in drawn:
        assert 'masks' in sample.pred_instances
        assert 'pred_panoptic' in sample
        assert {each['label'] for each in sample.segments} >= {3, 4}


def test_missing_pieces_are_said(run, tmp_path):
    html = make_report(open_run(tmp_path))
    Tags(html)
    for text in ('no */vis_data/scalars.json', 'has no config file', 'has no */*.log'):
        assert text in html
    (tmp_path / 'my_config.py').write_text(CONFIG.format(root='/nowhere'))
    html = make_report(open_run(tmp_path))
    assert 'has no checkpoint, so nothing can be evaluated' in html
    assert 'The validation data cannot be read any more' in html
    html = make_report(open_run(tmp_path, checkpoint=str(run / 'epoch_3.pth')))
    assert 'could not be evaluated' in html
    carried = tmp_path / 'carried.pth'
    content = load_file(run / 'epoch_3.pth')
    content['meta']['cfg'] = load_config(run / 'my_config.py').pretty_text
    save_file(content, carried)
    (tmp_path / 'my_config.py').unlink()
    opened = open_run(tmp_path, checkpoint=str(carried))
    assert opened.config is not None, opened.config_problem
    assert opened.config.test_dataloader.dataset.ann_file == 'val.json'
    (tmp_path / 'my_config.py').write_text('model = (')
    assert 'Nothing can be evaluated: cannot read the config' in make_report(open_run(tmp_path))


def test_curves_of_resumed_runs_and_broken_lines(tmp_path):
    for name, steps, value in (('a', (10, 20, 30), 1.0), ('b', (20, 30, 40), 2.0)):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        rows = [json.dumps(dict(loss=value, step=step)) for step in steps]
        (folder / 'scalars.json').write_text('\n'.join([*rows, '{"loss"', '[1]']))
    training, validation = read_curves(tmp_path)
    assert training['loss'].steps == [10, 20, 30, 40]
    assert training['loss'].values == [1.0, 2.0, 2.0, 2.0]
    assert validation == {}
    assert read_warnings(tmp_path) == []


def test_the_tool(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'page.html'
    argv = [str(TOOL), str(run), '--out', str(out), '--score-thr', '0.4']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'score threshold 0.4.' in out.read_text()
    printed = capsys.readouterr().out
    assert 'evaluated 4 of 4 images' in printed
    assert f'wrote {out}' in printed
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(tmp_path / 'nowhere')])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert exit_info.value.code == 2
    assert 'no such folder' in capsys.readouterr().err


PROBE = """<script>
const heads=[...document.querySelectorAll('#results th')];
const column=heads.findIndex(head=>head.textContent==='objects');
const order=()=>[...document.querySelectorAll('#results tbody tr')].map(
 row=>row.cells[column].textContent).join(',');
heads[column].click();const down=order();heads[column].click();
parent.document.title=`${down} ${order()} ${document.documentElement.scrollWidth}`;
</script>"""


@pytest.mark.skipif(not shutil.which('chromium'), reason='no chromium to open the page in')
def test_in_a_browser_of_the_width_of_a_phone(html, tmp_path):
    """Sorting by objects works in both directions, and nothing is wider than 390 pixels."""
    page = tmp_path / 'report.html'
    # A window has at least 500 pixels.
    frame = f'<iframe style="width:390px;height:800px" srcdoc="{escape(html + PROBE)}"></iframe>'
    page.write_text(f'<!DOCTYPE html><title></title><style>iframe{{border:0}}</style>{frame}')
    command = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    command += [f'--user-data-dir={tmp_path / "browser"}', '--dump-dom', page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
    title = re.search(r'<title>(.*?)</title>', dom)[1]
    assert title == '6,3,2,1 1,2,3,6 390'
