"""Averaged weights that warm up."""

import math

import pytest
import torch
from torch import nn

from mmdetr.models import ExpMomentumEMA


def test_the_average_is_the_authors():
    model = nn.Linear(1, 1, bias=False)
    average = ExpMomentumEMA(model, momentum=0.1, gamma=5)
    expected = 0.0
    for n in range(1, 12):
        nn.init.constant_(model.weight, float(n))
        average.update_parameters(model)
        decay = 0.9 * (1 - math.exp(-n / 5))
        expected = float(n) if n == 1 else decay * expected + (1 - decay) * n
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_running_statistics_are_averaged_too():
    model = nn.BatchNorm2d(1)
    average = ExpMomentumEMA(model, momentum=0.5, gamma=1, update_buffers=True)
    average.update_parameters(model)
    model.running_mean.fill_(4.0)
    average.update_parameters(model)
    kept = 0.5 * (1 - math.exp(-2))
    torch.testing.assert_close(average.module.running_mean, torch.tensor([4.0 * (1 - kept)]))
