"""torch.export takes RT-DETR and D-FINE with any number and any size of images."""

import pytest
import torch
from torch import Tensor, nn

from mmdetr.models.fast import fold_batch_norms
from tests.test_models.test_rtdetr_head import build, small_config

VARIANTS = {
    'rtdetrv2': {},
    'v1': dict(num_points=[4, 4]),
    'discrete': dict(decoder=dict(type='RTDETRDecoder', sampling='discrete')),
    'dfine': {},
}


class Network(nn.Module):
    """Images in, class logits and boxes of the last layer out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.model.network(images)
        return prediction.logits[-1], prediction.bboxes[-1]


@pytest.mark.parametrize(
    'variant', ['rtdetrv2', pytest.param('v1', marks=pytest.mark.slow), 'discrete', 'dfine']
)
def test_the_exported_network_takes_other_batches_and_sizes(variant):
    config = small_config('dfine' if variant == 'dfine' else 'rtdetrv2')
    config['bbox_head']['transformer'].update(num_layers=2, **VARIANTS[variant])
    model = build(config).eval()
    # Winograd's form is for torch alone.
    fold_batch_norms(model, winograd=False)
    network = Network(model)
    steps = [torch.export.Dim(name, min=2, max=40) for name in ('height', 'width')]
    shapes = {0: torch.export.Dim.DYNAMIC, 2: 32 * steps[0], 3: 32 * steps[1]}
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        exported = torch.export.export(network, (images,), dynamic_shapes=(shapes,))
    called = {str(node.target) for node in exported.graph.nodes if node.op == 'call_function'}
    # grid_sample or gather: ONNX Runtime and OpenVINO have both.
    assert any('grid_sampler' in name for name in called) == (variant != 'discrete')
    assert not any('embedding_bag' in name or 'mmdetr' in name for name in called)
    others = torch.randn(3, 3, 64, 160)
    with torch.no_grad():
        for expected, found in zip(network(others), exported.module()(others), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
