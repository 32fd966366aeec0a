"""Multi-layer perceptron of the box branch."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_channels: Width of the input.
        hidden_channels: Width of every layer but the last.
        out_channels: Width of the output.
        num_layers: Number of linear layers.

    Source: paper section 3.2 "prediction feed-forward networks".
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int
    ) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(
            nn.Linear(width, next_width) for width, next_width in pairwise(widths)
        )

    def start_at_zero(self) -> None:
        """Let the output be 0 at the start of the training."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_channels] -> [..., out_channels]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
