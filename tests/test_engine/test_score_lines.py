"""The table of a validation, by literal cases."""

from mmdetr.engine.score_lines import by_class, has_columns, head, main_metric, rows

BOXES = {
    'coco/bbox_mAP': 0.4123,
    'coco/bbox_mAP_50': 0.7,
    'coco/bbox_mAP_75': 0.25,
    'coco/bbox_mAP_s': -1.0,
    'coco/bbox_mAP_m': 0.5,
    'coco/bbox_mAP_l': float('nan'),
    'coco/bbox_AR@100': 0.6,
    'coco/bbox_mAP/cat': 0.1,
    'coco/bbox_mAP/a/b': 0.2,
}
PANOPTIC = {'coco_panoptic/PQ': 0.5, 'coco_panoptic/SQ': 0.25}


def test_boxes_masks_and_panoptic_quality() -> None:
    segm = {key.replace('bbox', 'segm'): value / 2 for key, value in BOXES.items()}
    assert head(['epoch', 'loss']) == (
        '  epoch   loss  of       AP   AP50   AP75    APs    APm    APl'
    )
    assert rows({**BOXES, **segm, **PANOPTIC}, ['3', '1.5']) == [
        '      3    1.5  bbox  0.412  0.700  0.250      -  0.500      -',
        '                segm  0.206  0.350  0.125 -0.500  0.250      -',
        '  coco_panoptic: PQ 0.500  SQ 0.250',
    ]


def test_other_numbers() -> None:
    assert rows({'toy/score': -0.5, 'text': 'no number'}, ['3']) == ['      3  toy: score -0.500']
    assert rows({'loss': 12345.6}, ['3']) == ['      3  loss 1.235e+04']
    assert rows({}, ['3']) == []
    assert not has_columns(PANOPTIC)
    assert has_columns(BOXES)


def test_classes() -> None:
    assert by_class(BOXES) == ['  AP      0.100  cat', '  AP      0.200  a/b']


def test_main_metric() -> None:
    assert main_metric(BOXES, 'coco/bbox_mAP_50') == 'coco/bbox_mAP_50'
    assert main_metric(PANOPTIC, 'coco/bbox_mAP') == 'coco_panoptic/PQ'
    assert main_metric({}, None) is None
