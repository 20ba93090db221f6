"""The networks of the notebooks by name, so that saved weights find a network to go into.

Notebooks 1 to 5 and 7 write them out and explain them; these are the same, down to the names of
their parameters. Each takes float32 `[b, 1, side, side]` and gives logits `[b, classes]`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.autograd.function import once_differentiable
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
    first = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)]
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


def resnet18(classes: int, ps: float = 0.2) -> nn.Sequential:
    """Return the ResNet-18 that fastai's `vision_learner` builds for grey images.

    Args:
        classes: how many.
        ps: dropout in the head, more than 0; it counts in training only.
    """
    return _resnet("resnet18", classes, ps)


def resnet34(classes: int, ps: float = 0.2) -> nn.Sequential:
    """Return the ResNet-34 that fastai's `vision_learner` builds for grey images.

    Args:
        classes: how many.
        ps: dropout in the head, more than 0; it counts in training only.
    """
    return _resnet("resnet34", classes, ps)


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is computed as one matrix product where its output is at most 4×4.

    Images of 24 to 64 pixels shrink that far in a ResNet's last stages, and there torch's own
    convolution is slow on a CPU, most of all in bfloat16. On a GPU it is left alone.

    Raises:
        RuntimeError: the images have other channels than `in_channels`, as from `nn.Conv2d`.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return what `nn.Conv2d` would, up to rounding.

        Args:
            images: floating point `[b, in_channels, h, w]`, of the dtype of the weights.

        Returns:
            `[b, out_channels, height, width]`, of the same dtype, or autocast's.
        """
        (rows, columns), (top, left) = self.kernel_size, self.padding
        down, right = self.stride
        height = (images.shape[2] + 2 * top - rows) // down + 1
        width = (images.shape[3] + 2 * left - columns) // right + 1
        if not images.is_cpu or max(height, width) > 4 or torch.compiler.is_exporting():
            return super().forward(images)
        if images.shape[2:] == (1, 1):  # all else of the kernel meets padding
            return functional.linear(images.flatten(1), self.weight[:, :, top, left], self.bias)[
                :, :, None, None
            ]
        padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        seen = _Patches.apply(padded, self.kernel_size, self.stride)
        return functional.linear(seen, kernel, self.bias).permute(0, 3, 1, 2)


class _Patches(torch.autograd.Function):
    """What a kernel sees at each place, as `functional.unfold`, but for channels that lie last.

    The gradients of overlapping patches are added up in place: autograd would make a whole image
    for each of them, and `functional.fold`, torch's own way back, wants channels first.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        padded: torch.Tensor,
        kernel: tuple[int, int],
        stride: tuple[int, int],
    ) -> torch.Tensor:
        """Return `[b, height, width, rows * columns * c]` of `[b, h, w, c]`."""
        ctx.shape, ctx.kernel, ctx.stride = padded.shape, kernel, stride
        (rows, columns), (down, right) = kernel, stride
        seen = padded.unfold(1, rows, down).unfold(2, columns, right)
        return seen.permute(0, 1, 2, 4, 5, 3).flatten(3)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of `padded`."""
        (rows, columns), (down, right) = ctx.kernel, ctx.stride
        height, width = gradient.shape[1:3]
        patches = gradient.unflatten(3, (rows, columns, -1))
        summed = gradient.new_zeros(ctx.shape)
        for y in range(rows):
            for x in range(columns):
                there = summed[:, y : y + height * down : down, x : x + width * right : right]
                there += patches[:, :, :, y, x]
        return summed, None, None


def fast_on_small_maps(model: nn.Module) -> nn.Module:
    """Let each plain convolution of `model` work as `SmallMapConv2d`; return `model`.

    Its parameters stay the ones they are, under the names they have. Convolutions with groups,
    dilation or padding by anything but a number of zeros stay torch's.
    """
    for module in model.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == 1
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = SmallMapConv2d
    return model


def _resnet(name: str, classes: int, ps: float) -> nn.Sequential:
    import torchvision

    from nbhelpers import vision  # noqa: F401  imports fastai without its warnings

    # isort: split
    from fastai.vision.learner import create_vision_model

    architecture = getattr(torchvision.models, name)
    model = create_vision_model(architecture, classes, pretrained=False, n_in=1, ps=ps)
    return fast_on_small_maps(model)


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "linear": linear,
    "two_layers": two_layers,
    "three_layers": three_layers,
    "small_cnn": small_cnn,
    "lenet": lenet,
    "compact_cnn": compact_cnn,
    "resnet18": resnet18,
    "resnet34": resnet34,
}
