"""RT-DETRv2 in transformers: its files, and its numbers as a second oracle."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmdetr.checkpoint import convert, from_mmdetr, load_checkpoint, read_checkpoint
from mmdetr.registry import MODELS
from tests.helpers.realtime_cases import rtdetr_config
from tests.helpers.successor_cases import read_case


@pytest.fixture(scope='module')
def theirs():
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type='basic',
        out_features=['stage2', 'stage3', 'stage4'],
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
        num_queries=12,
        num_labels=80,
    )
    model = transformers.RTDetrV2ForObjectDetection(config).eval()
    for module in model.modules():
        if 'BatchNorm' in type(module).__name__:
            module.weight.data.uniform_(0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    return model


def ours(**head):
    init_default_scope('mmdetr')
    config = rtdetr_config(read_case('rtdetrv2')[0])
    config['backbone']['norm_frozen'] = True
    return MODELS.build(config).eval()


def test_their_file_gives_their_numbers(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    model = ours()
    load_checkpoint(model, tmp_path / 'model.safetensors', strict=True)
    # Their position encoding is not transposed; a coarsest map of one pixel does not show it.
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, found = theirs(x), model(x)
    number = found.logits.shape[2]
    torch.testing.assert_close(found.logits[0], expected.logits[:, :number], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found.bboxes[0], expected.pred_boxes[:, :number], atol=1e-5, rtol=1e-4
    )


def test_there_and_back(theirs, tmp_path):
    from safetensors.torch import load_file

    theirs.save_pretrained(tmp_path)
    file = load_file(tmp_path / 'model.safetensors')
    model = ours()
    load_checkpoint(model, tmp_path / 'model.safetensors', strict=True)
    back = from_mmdetr(model.state_dict(), 'huggingface')
    wanted = {name for name in file if not name.endswith('num_batches_tracked')}
    assert back.keys() == wanted
    for name in wanted:
        torch.testing.assert_close(back[name], file[name])


def test_what_convert_writes_is_a_model_of_theirs(theirs, tmp_path):
    transformers = pytest.importorskip('transformers')
    torch.save(dict(state_dict=ours().state_dict()), tmp_path / 'ours.pth')
    source = read_checkpoint(str(tmp_path / 'ours.pth'))
    convert(source, tmp_path / 'model.safetensors', 'huggingface')
    model, info = transformers.RTDetrV2ForObjectDetection.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not [name for name in info['missing_keys'] if not name.endswith('batches_tracked')]
    assert not info['unexpected_keys']
    assert not info['mismatched_keys']
    assert model.config.hidden_expansion == theirs.config.hidden_expansion
