"""What holds for DETR holds for its successors: one small model of each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdetr.apis import optimize_for_inference
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from tests.helpers.ranks import run_ranks

CONFIGS = Path(__file__).parents[2] / 'configs'
FAMILY = ['conditional_detr', 'dab_detr', 'dn_detr', 'deformable_detr', 'dino']
# DINO has the parts of all the others but conditional attention.
QUICK = [
    name if name in ('dn_detr', 'dino') else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILY
]
# And Conditional, whose decoder is its own; those of DAB and Deformable are in DN and DINO.
KINDS = ['conditional_detr', *QUICK[1:]]


def build(name: str) -> nn.Module:
    """A small model in training whose queries differ, with fixed batch norms and noise."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(CONFIGS / f'{name}_tiny_1xb32-12e_shapes.py').model
    cfg.backbone.norm_frozen = True
    cfg.neck.out_channels = 32
    cfg.bbox_head.transformer.feedforward_channels = 32
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    for key, value in model.named_parameters():
        if 'branch' in key or 'sampling_offsets' in key:
            nn.init.normal_(value, std=0.2)
    for key, value in model.backbone.named_buffers():
        if key.endswith(('weight', 'running_var')):
            nn.init.uniform_(value, 0.4, 0.9)
    if getattr(model.bbox_head, 'denoising', None) is not None:
        fix_noise(model.bbox_head.denoising)
    return model.train()


def fix_noise(denoising: Any) -> None:
    """Let every image of every batch get the same noise."""
    draw = denoising.draw

    def draw_once(bboxes: Tensor) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            noise = draw(bboxes[:1])
        return type(noise)(
            *(each.expand(len(bboxes), *each.shape[1:]) if each.numel() else each for each in noise)
        )

    denoising.draw = draw_once


def batch(counts: tuple[int, ...]) -> dict[str, Any]:
    """Images with so many objects; image i is the same in every batch."""
    inputs, samples = [], []
    for i, number in enumerate(counts):
        inputs.append(torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(i)))
        sample = DetDataSample(metainfo=dict(img_id=i, img_shape=(64, 64), ori_shape=(64, 64)))
        bboxes = torch.tensor([[5.0, 5, 30, 40 + i], [20 + i, 10, 60, 60]])[:number]
        sample.gt_instances = InstanceData(bboxes=bboxes, labels=torch.tensor([0, 2])[:number])
        samples.append(sample)
    return dict(inputs=torch.stack(inputs), data_samples=samples)


def part(whole: dict[str, Any], images: slice) -> dict[str, Any]:
    return {key: value[images] for key, value in whole.items()}


def loss(model: nn.Module, data: dict[str, Any]) -> Tensor:
    losses = model(**data, mode='loss')
    return torch.stack([value for key, value in losses.items() if 'loss' in key]).sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.grad for key, value in model.named_parameters() if value.requires_grad}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[key], value, atol=1e-3 * scale + 1e-6, rtol=1e-3, msg=key)


@pytest.mark.parametrize('name', QUICK)
def test_accumulated_gradients_are_those_of_a_large_batch(name: str) -> None:
    """Where the parts have equally many objects."""
    data, weights = batch((2, 1, 2, 1)), []
    for parts in (1, 2):
        model = build(name)
        wrapper = OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.01), accumulative_counts=parts
        )
        wrapper.initialize_count_status(model, 0, parts)
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        for i in range(parts):
            size = 4 // parts
            wrapper.update_params(loss(model, part(data, slice(i * size, (i + 1) * size))))
        after = {key: value.detach() for key, value in model.named_parameters()}
        weights.append({key: value - before[key] for key, value in after.items()})
    assert sum(float(step.abs().sum()) for step in weights[0].values()) > 0
    assert_close(weights[1], weights[0])


def _train_half(rank: int, name: str, folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    model = MMDistributedDataParallel(build(name), broadcast_buffers=False)
    data = part(batch((2, 1, 2, 2)), slice(2 * rank, 2 * rank + 2))
    loss(model, data).backward()
    if rank == 0:
        torch.save(gradients(model.module), folder / 'gradients.pth')


@pytest.mark.parametrize('name', QUICK)
def test_two_ranks_have_the_gradients_of_one(name: str, tmp_path: Path) -> None:
    model = build(name)
    loss(model, batch((2, 1, 2, 2))).backward()
    run_ranks(2, _train_half, name, tmp_path)
    assert_close(torch.load(tmp_path / 'gradients.pth', weights_only=True), gradients(model))


@pytest.mark.parametrize('name', KINDS)
def test_optimised_average_predicts_as_plain_mean_weights(name: str) -> None:
    """The moving average of two states of a model, then made ready to serve."""
    model, inputs = build(name), batch((1, 1))['inputs']
    average = ExponentialMovingAverage(model, momentum=0.25)
    average.update_parameters(model)
    first = {key: value.detach().clone() for key, value in model.named_parameters()}
    torch.manual_seed(7)
    for value in model.parameters():
        value.data += 0.02 * torch.randn_like(value)
    average.update_parameters(model)
    with torch.no_grad():
        changed = model.eval()(inputs)
        for key, value in model.named_parameters():
            value.copy_(0.75 * first[key] + 0.25 * value)
        expected = model(inputs)
        found = average.module.eval()(inputs)
        optimised = optimize_for_inference(average.module)(inputs)
    assert (changed.logits - expected.logits).abs().max() > 1e-2
    for prediction, atol in ((found, 1e-5), (optimised, 2e-4)):
        torch.testing.assert_close(prediction.logits, expected.logits, atol=10 * atol, rtol=0)
        torch.testing.assert_close(prediction.bboxes, expected.bboxes, atol=atol, rtol=0)


@pytest.mark.parametrize('name', QUICK)
def test_mixed_precision_is_near_float32(name: str) -> None:
    model, data = build(name), batch((2, 1))
    full = loss(model, data)
    with torch.autocast('cpu', torch.bfloat16):
        half = loss(model, data)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.1, atol=0)
    half.backward()
    assert all(value.isfinite().all() for value in gradients(model).values())


@pytest.mark.parametrize('name', KINDS)
def test_checkpointed_activations_change_no_gradient(name: str) -> None:
    """Nor is any missing, with objects and in a batch without."""
    for counts in ((2, 1), (0, 0)):
        model, data = build(name), batch(counts)
        loss(model, data).backward()
        expected = {key: value.clone() for key, value in gradients(model).items()}
        model.zero_grad()
        model.backbone.with_cp = True
        for module in model.bbox_head.transformer.children():
            module.with_cp = True
        loss(model, data).backward()
        assert_close(gradients(model), expected)


@pytest.mark.parametrize('name', FAMILY)
def test_every_decoder_layer_predicts(name: str) -> None:
    """What tools/analysis/decoder_layers.py scores: the last layer is the model's prediction."""
    model, data = build(name).eval(), batch((2, 1))
    with torch.no_grad():
        maps = model.backbone(data['inputs'])
        every = model.bbox_head(model.neck(maps), None, backbone_features=maps, all_layers=True)
        expected = model(**data, mode='predict')
        found = [
            model.bbox_head.predict(every.layer(i), batch((2, 1))['data_samples']) for i in range(3)
        ]
    assert every.num_layers == 3
    for image in range(2):
        layers = [sample[image].pred_instances for sample in found]
        last = expected[image].pred_instances
        torch.testing.assert_close(layers[2].bboxes, last.bboxes)
        torch.testing.assert_close(layers[2].scores, last.scores)
        assert not any(torch.allclose(layers[i].scores, last.scores) for i in (0, 1))
