"""The networks of the notebooks by name, so that saved weights find a network to go into.

Notebooks 1 to 5 and 7 write them out and explain them; these are the same, down to the names of
their parameters. Each takes float32 `[b, 1, side, side]` and gives logits `[b, classes]`.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


def linear(classes: int = 10, side: int = 28) -> nn.Sequential:
    """Return the linear layer of notebook 1."""
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes))


def two_layers(classes: int = 10, side: int = 28) -> nn.Sequential:
    """Return the network of notebook 2, with 30 hidden units."""
    first = [nn.Flatten(), nn.Linear(side * side, 30), nn.ReLU()]
    return nn.Sequential(*first, nn.Linear(30, classes))


def three_layers(classes: int = 10, side: int = 28) -> nn.Sequential:
    """Return the network of notebook 3, with 300 and 50 hidden units."""
    first = [nn.Flatten(), nn.Linear(side * side, 300), nn.ReLU()]
    return nn.Sequential(*first, nn.Linear(300, 50), nn.ReLU(), nn.Linear(50, classes))


def small_cnn(classes: int = 10) -> nn.Sequential:
    """Return the small CNN of notebook 4, for images of 28×28."""
    look = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 5), nn.ReLU()]
    decide = [nn.Flatten(), nn.Linear(7744, 128), nn.ReLU(), nn.Linear(128, classes)]
    return nn.Sequential(*look, *decide)


def lenet(classes: int = 10, side: int = 28) -> nn.Sequential:
    """Return the LeNet of notebook 5."""
    first = [nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()]
    second = [nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU()]
    left = ((side - 4) // 2 - 4) // 2  # each convolution costs 4 pixels, then half are pooled away
    decide = [nn.Flatten(), nn.Linear(50 * left * left, 500), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*first, *second, *decide, nn.Linear(500, classes))


class Block(nn.Module):
    """Two convolutions whose output is added to the input, as a correction of it.

    Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2015.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Make a block from `inputs` to `outputs` channels that shrinks images by `stride`."""
        super().__init__()
        self.correction = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same_shape = inputs == outputs and stride == 1
        convert = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        pool = nn.AvgPool2d(stride, ceil_mode=True)  # as many pixels as the stride leaves
        self.around = nn.Identity() if same_shape else nn.Sequential(pool, *convert)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float32 `[b, outputs, h / stride, w / stride]`."""
        return functional.relu(self.around(x) + self.correction(x))


def compact_cnn(classes: int = 156) -> nn.Sequential:
    """Return the compact CNN of notebook 7, for images of about 64×64."""
    begin = [nn.Conv2d(1, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2), Block(128, 256, 2)]
    decide = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, classes)]
    return nn.Sequential(*begin, *blocks, *decide)


_ALL = (linear, two_layers, three_layers, small_cnn, lenet, compact_cnn)
ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {make.__name__: make for make in _ALL}
