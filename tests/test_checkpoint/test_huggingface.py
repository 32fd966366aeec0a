"""Against transformers itself, with random weights; skipped where it is not installed."""

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn

from mmdetr.apis import inference_detector, init_detector
from mmdetr.checkpoint import convert, load_checkpoint, read_checkpoint
from mmdetr.config.package_configs import find_config
from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS
from mmdetr.registry import MODELS
from tests.helpers.reference import facebook_state_dict, model_config, read_case

transformers = pytest.importorskip('transformers')
pytest.importorskip('safetensors')

SIZES = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    num_queries=9,
)
# No bottleneck in one, bottlenecks in the other.
BACKBONES = {
    18: dict(depths=[2, 2, 2, 2], layer_type='basic', hidden_sizes=[64, 128, 256, 512]),
    50: dict(depths=[3, 4, 6, 3], layer_type='bottleneck', hidden_sizes=[256, 512, 1024, 2048]),
}


def hf_model(depth: int, timm: bool, positions: str = 'sine', **changes) -> nn.Module:
    """transformers' DETR with random weights and statistics, in evaluation mode."""
    if timm:
        pytest.importorskip('timm')
        backbone = dict(use_timm_backbone=True, backbone=f'resnet{depth}')
    else:
        config = transformers.ResNetConfig(**BACKBONES[depth], out_features=['stage4'])
        backbone = dict(use_timm_backbone=False, backbone_config=config)
    model = transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            use_pretrained_backbone=False,
            position_embedding_type=positions,
            **(dict(SIZES, num_labels=91) | backbone | changes),
        )
    )
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    weights = facebook_state_dict(shapes, seed=depth)
    for name in shapes:
        if 'position_embedding' in name:
            weights[name] *= SIZES['d_model'] ** 0.5  # of the size of the features
        elif 'q_proj' in name:
            weights[name] *= 8  # attention that looks at something
    model.load_state_dict(weights)
    return model.eval()


def our_model(depth: int, positions: str = 'sine', **head) -> nn.Module:
    meta, _ = read_case('sine_post')
    meta['args'] |= dict(
        backbone=f'resnet{depth}',
        hidden_dim=SIZES['d_model'],
        enc_layers=SIZES['encoder_layers'],
        dec_layers=SIZES['decoder_layers'],
        dim_feedforward=SIZES['encoder_ffn_dim'],
        nheads=SIZES['encoder_attention_heads'],
        num_queries=SIZES['num_queries'],
        position_embedding=positions,
    )
    config = model_config(meta)
    config['bbox_head'].update(head)
    return MODELS.build(config).eval()


def padded_batch() -> tuple[Tensor, Tensor]:
    """Two images of different size, and where they are padded."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.zeros(2, 3, 96, 128)
    padding_mask = torch.ones(2, 96, 128, dtype=torch.bool)
    for i, (height, width) in enumerate([(96, 90), (70, 128)]):
        inputs[i, :, :height, :width] = torch.randn(3, height, width, generator=generator)
        padding_mask[i, :height, :width] = False
    return inputs, padding_mask


@torch.no_grad()
def assert_same_predictions(ours: nn.Module, theirs: nn.Module) -> None:
    """In double precision: the order of sums, which follows the threads, must not matter."""
    ours, theirs = ours.double(), theirs.double()
    inputs, padding_mask = padded_batch()
    inputs = inputs.double()
    prediction = ours(inputs, padding_mask)
    expected = theirs(pixel_values=inputs, pixel_mask=(~padding_mask).long())
    # Weights that matter: the queries and the images differ.
    assert expected.logits.std(dim=1).mean() > 0.05
    assert expected.logits.std(dim=0).mean() > 0.05
    torch.testing.assert_close(prediction.logits[-1], expected.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(prediction.bboxes[-1], expected.pred_boxes, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('depth', 'timm', 'positions', 'in_memory'),
    [
        (18, False, 'sine', False),
        (50, False, 'learned', True),
        (18, True, 'learned', True),
    ],
)
def test_their_file_gives_their_numbers(depth, timm, positions, in_memory, tmp_path):
    theirs = hf_model(depth, timm, positions)
    if in_memory:  # the names of this transformers' modules, as torch.save keeps them
        path = tmp_path / 'model.bin'
        torch.save(theirs.state_dict(), path)
    else:
        theirs.save_pretrained(tmp_path)
        path = tmp_path / 'model.safetensors'
    ours = our_model(depth, positions, num_classes=91)

    load_checkpoint(ours, path, strict=True)

    assert_same_predictions(ours, theirs)


def test_their_dc5(tmp_path):
    theirs = hf_model(50, timm=True, dilation=True)
    theirs.save_pretrained(tmp_path)
    source = read_checkpoint(tmp_path / 'model.safetensors')
    assert source.layout.architecture.traits(source)['DC5'] == 'yes'
    meta, _ = read_case('dc5')
    config = model_config(meta)
    ours = our_model(50, num_classes=91)
    ours.backbone = MODELS.build(config['backbone']).eval()
    load_checkpoint(ours, source.filename, strict=True)
    assert_same_predictions(ours, theirs)


def test_their_class_names(tmp_path):
    labels = {0: 'boat', 1: 'buoy'}
    theirs = hf_model(18, False, num_labels=2, id2label=labels, label2id={'boat': 0, 'buoy': 1})
    theirs.save_pretrained(tmp_path)
    ours = our_model(18, num_classes=2)

    load_checkpoint(ours, tmp_path / 'model.safetensors', classes=('buoy', 'boat'))

    rows = theirs.class_labels_classifier.weight[[1, 0, 2]]
    assert torch.equal(ours.bbox_head.cls_branch.weight, rows)


@pytest.mark.parametrize('positions', ['sine', 'learned'])
def test_they_load_our_file(positions, tmp_path):
    pytest.importorskip('timm')
    ours = our_model(18, positions, num_classes=80)
    for name, value in ours.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
    path = tmp_path / 'ours.pth'
    torch.save(dict(meta={}, state_dict=ours.state_dict()), path)
    convert(read_checkpoint(path), tmp_path / 'hf' / 'model.safetensors', 'huggingface')

    theirs, info = transformers.DetrForObjectDetection.from_pretrained(
        tmp_path / 'hf',
        output_loading_info=True,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    )

    assert not info['missing_keys']
    assert theirs.config.id2label[18] == 'dog'
    inputs, padding_mask = padded_batch()
    with torch.no_grad():
        prediction = ours(inputs, padding_mask)
        got = theirs.eval()(pixel_values=inputs, pixel_mask=(~padding_mask).long())
    logits = got.logits[..., [*COCO_CATEGORY_IDS, 91]]
    torch.testing.assert_close(logits, prediction.logits[-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(got.pred_boxes, prediction.bboxes[-1], atol=1e-4, rtol=0)


def test_their_pipeline_detects_with_our_file(tmp_path):
    """Folder in, boxes in pixels out: classes, sizes and normalisation are the config's."""
    pytest.importorskip('timm')
    config = Config.fromfile(find_config('detr_r50_8xb2-150e_coco'))
    config.merge_from_dict(
        {
            'model.backbone.depth': 18,
            'model.bbox_head.num_classes': 2,
            'model.bbox_head.num_queries': 9,
            'metainfo': dict(classes=('boat', 'buoy')),
        }
    )
    config.test_dataloader.dataset.pipeline[1].scale = (96, 150)
    config.test_dataloader.dataset.metainfo = dict(classes=('boat', 'buoy'))
    with pytest.warns(UserWarning, match='random'):
        ours = init_detector(config, device='cpu')
    shapes = {name: list(value.shape) for name, value in ours.state_dict().items()}
    ours.load_state_dict(facebook_state_dict(shapes, seed=5))
    meta = dict(
        mmdetr_version='0', cfg=config.pretty_text, dataset_meta=dict(classes=('boat', 'buoy'))
    )
    torch.save(dict(meta=meta, state_dict=ours.state_dict()), tmp_path / 'ours.pth')
    written = convert(
        read_checkpoint(tmp_path / 'ours.pth'), tmp_path / 'hf' / 'model.safetensors', 'huggingface'
    )
    assert [path.name for path in written[1:]] == ['config.json', 'preprocessor_config.json']
    image = Image.effect_noise((200, 150), 60).convert('RGB')
    detect = transformers.pipeline('object-detection', model=str(tmp_path / 'hf'), device='cpu')

    found = detect(image, threshold=0.0)
    expected = inference_detector(ours, image).pred_instances

    best = int(expected.scores.argmax())
    got = max(found, key=lambda each: each['score'])
    assert got['label'] == ('boat', 'buoy')[int(expected.labels[best])]
    assert got['score'] == pytest.approx(expected.scores[best].item(), abs=0.02)
    box = [got['box'][key] for key in ('xmin', 'ymin', 'xmax', 'ymax')]
    assert box == pytest.approx(expected.bboxes[best].tolist(), abs=4)
