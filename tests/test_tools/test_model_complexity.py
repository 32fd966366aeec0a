"""Parameters and MACs against those of the authors' code (91 classes, 800 x 1066)."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/analysis/model_complexity.py'))


@pytest.mark.parametrize(
    ('depth', 'dilation', 'parameters', 'gmacs'),
    [
        (50, False, 41_524_768, 81.2),
        (50, True, 41_524_768, 173.3),
        (101, False, 60_464_672, 144.7),
        (101, True, 60_464_672, 236.7),
    ],
)
def test_equals_the_authors_code(depth, dilation, parameters, gmacs):
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/detr_r50.py')
    cfg.model.backbone.update(depth=depth, dilation=dilation)
    cfg.model.bbox_head.num_classes = 91
    model = TOOL['build'](cfg)
    assert TOOL['count_parameters'](model)[0] == parameters
    assert TOOL['count_parameters'](model.bbox_head.transformer)[0] == 17_363_456
    macs = TOOL['count_macs'](model.requires_grad_(False), (800, 1066))
    assert macs[''] / 1e9 == pytest.approx(gmacs, rel=2e-3)
    parts = TOOL['components'](model)
    assert sum(macs.get(name, 0) for name in parts) == macs['']
    assert sum(TOOL['count_parameters'](part)[0] for part in parts.values()) == parameters
    if (depth, dilation) == (50, False):
        # By hand: 850 pixels, 100 queries, 256 channels, 2048 hidden units, 6 layers each.
        s, n, d, f = 850, 100, 256, 2048
        encoder = 6 * (4 * s * d * d + 2 * s * s * d + 2 * s * d * f)
        cross = 2 * n * d * d + 2 * s * d * d + 2 * n * s * d
        decoder = 6 * (4 * n * d * d + 2 * n * n * d + cross + 2 * n * d * f)
        assert macs['bbox_head.transformer.encoder'] == encoder
        assert macs['bbox_head.transformer.decoder'] == decoder


def test_report_shows_components_and_the_papers_figures():
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/detr_r50.py')
    lines = TOOL['report'](cfg, (256, 320)).splitlines()
    assert lines[1].split()[:3] == ['total', '41,521,941', '41,299,541']
    names = [line.split()[0] for line in lines[2:-2]]
    assert names == [
        'backbone',
        'neck',
        'bbox_head.query_embedding',
        'bbox_head.transformer.encoder',
        'bbox_head.transformer.decoder',
        'bbox_head.cls_branch',
        'bbox_head.reg_branch',
    ]
    assert '86 GMAC' in lines[-1]
