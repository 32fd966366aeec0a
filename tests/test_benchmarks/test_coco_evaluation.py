import json

import numpy as np
import pytest
from _coco_data import objects_and_detections

pytest.importorskip('faster_coco_eval')


def test_tiny_run(run_benchmark, tmp_path, capsys):
    run_benchmark('coco_evaluation.py', '--images', 20, '--repeats', 2)
    content = json.loads(next(tmp_path.glob('coco_evaluation_*.json')).read_text())
    assert content['images'] == 20
    assert content['detections'] == 2000
    assert len(content['numbers']) == 12
    assert 0.1 < content['numbers']['bbox_mAP'] < 0.9
    for part in ('whole', 'compute_metrics'):
        seconds = content[part]['seconds']
        assert {name: len(each) for name, each in seconds.items()} == dict(
            pycocotools=2, faster_coco_eval=2
        )
        reference, ours = seconds['pycocotools'], seconds['faster_coco_eval']
        # Seconds are written to the millisecond.
        expected = sorted(theirs / own for theirs, own in zip(reference, ours, strict=True))
        assert content[part]['ratio'][1:] == pytest.approx(expected, rel=0.1)
    assert 'x pycocotools' in capsys.readouterr().out


def test_data_are_like_cocos():
    file, samples = objects_and_detections(300)
    areas = np.array([each['bbox'][2] * each['bbox'][3] for each in file.annotations])
    assert len(areas) / 300 == pytest.approx(7.36, rel=0.1)
    assert (areas < 32**2).mean() == pytest.approx(0.41, abs=0.06)
    assert (areas > 96**2).mean() == pytest.approx(0.25, abs=0.06)
    assert any(each['iscrowd'] for each in file.annotations)
    assert {len(each['pred_instances']['scores']) for each in samples} == {100}
    for each in samples:
        boxes = each['pred_instances']['bboxes']
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_different_numbers_end_the_run(run_benchmark, monkeypatch):
    from mmdetr.evaluation import CocoMetric

    compute = CocoMetric.compute_metrics

    def off(self, results):
        numbers = compute(self, results)
        if self.backend == 'faster_coco_eval':
            numbers['bbox_AR_l@100'] += 1e-9
        return numbers

    monkeypatch.setattr(CocoMetric, 'compute_metrics', off)
    with pytest.raises(SystemExit, match=r'error: bbox_AR_l@100: pycocotools gives'):
        run_benchmark('coco_evaluation.py', '--images', 5, '--repeats', 1)
