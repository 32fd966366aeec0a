"""D-FINE in transformers: its files, and its numbers as a second oracle."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdetr.checkpoint import convert, load_checkpoint, read_checkpoint
from mmdetr.registry import MODELS


@pytest.fixture(scope='module')
def ours():
    init_default_scope('mmdetr')
    config = Config.fromfile('configs/dfine_n_8xb16-160e_coco.py').model
    config.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith('layers.2.weight'):  # branches that start at zero hide mistakes
            tensor.normal_(0, 0.05)
        elif name.endswith('running_mean') or 'scale' in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


@pytest.fixture(scope='module')
def folder(ours, tmp_path_factory):
    path = tmp_path_factory.mktemp('dfine')
    torch.save(dict(state_dict=ours.state_dict()), path / 'ours.pth')
    source = read_checkpoint(str(path / 'ours.pth'))
    written = convert(source, path / 'model.safetensors', 'huggingface')
    names = ['model.safetensors', 'config.json', 'preprocessor_config.json']
    assert [each.name for each in written] == names
    return path


def test_there_and_back(ours, folder):
    back = read_checkpoint(str(folder / 'model.safetensors'))
    wanted = {k: v for k, v in ours.state_dict().items() if not k.endswith('batches_tracked')}
    assert back.state_dict.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(back.state_dict[name], value), name
    config = json.loads((folder / 'config.json').read_text())
    assert (config['model_type'], config['decoder_n_points']) == ('d_fine', [6, 6])


def test_transformers_computes_our_numbers(ours, folder):
    transformers = pytest.importorskip('transformers')
    theirs, info = transformers.DFineForObjectDetection.from_pretrained(
        folder, output_loading_info=True, num_queries=5
    )
    missing = [name for name in info['missing_keys'] if not name.endswith('batches_tracked')]
    assert not missing
    assert not info['unexpected_keys']
    # Their position encoding is not transposed; a coarsest map of one pixel does not show it.
    # Both maps have 5 pixels then, of which ours takes as many as there are.
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, found = theirs.eval()(x), ours(x)
    number = found.logits.shape[2]
    torch.testing.assert_close(found.logits[0], expected.logits[:, :number], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found.bboxes[0], expected.pred_boxes[:, :number], atol=1e-5, rtol=1e-4
    )


def test_their_own_files_load(ours, folder, tmp_path):
    transformers = pytest.importorskip('transformers')
    transformers.DFineForObjectDetection.from_pretrained(folder).save_pretrained(tmp_path)
    back = read_checkpoint(str(tmp_path / 'model.safetensors'))
    for name, value in back.state_dict.items():
        assert torch.equal(value, ours.state_dict()[name]), name
    load_checkpoint(ours, str(tmp_path / 'model.safetensors'), strict=True)
