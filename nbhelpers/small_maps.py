"""A faster convolution, on a CPU, for images that have shrunk to a few pixels."""

import functools

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

Pair = tuple[int, int]


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is computed as one matrix product where its output is at most 4×4.

    Images of 24 to 64 pixels shrink that far in a ResNet's last stages, and torch's own is slow
    there on a CPU. Depthwise ones are small products. On a GPU, and for few images, it is torch's.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return what `nn.Conv2d` would, up to rounding: `[b, out_channels, height, width]`."""
        (rows, columns), (top, left), (down, right) = self.kernel_size, self.padding, self.stride
        deep, wide = images.shape[2:]
        height = (deep + 2 * top - rows) // down + 1
        width = (wide + 2 * left - columns) // right + 1
        small = max(height, width) <= 4 and images.is_cpu and not torch.compiler.is_exporting()
        if not small or len(images) < 16:  # few images do not pay for moving the weights about
            return super().forward(images)
        if self.groups > 1:
            places = _places((deep, wide), self.kernel_size, self.stride, self.padding)
            matrices = self.weight.flatten(1) @ places.to(self.weight)
            seen = images.transpose(0, 1).flatten(2)
            result = seen @ matrices.unflatten(1, (seen.shape[2], -1))
            return result.unflatten(2, (height, width)).transpose(0, 1)
        kernel, last = self.weight.permute(0, 2, 3, 1), images.permute(0, 2, 3, 1)
        begin = [(top - y * down, left - x * right) for y in range(height) for x in range(width)]
        if all(0 <= y <= rows - deep and 0 <= x <= columns - wide for y, x in begin):
            # Each place sees the whole image; so the padding around it can be left out.
            kernel = kernel.to(images.dtype)  # once, where autocast would do it for each part
            parts = [kernel[:, y : y + deep, x : x + wide].flatten(1) for y, x in begin]
            bias = self.bias if self.bias is None else self.bias.repeat(len(begin))
            result = functional.linear(last.flatten(1), torch.cat(parts), bias)
            return result.unflatten(1, (height, width, -1)).permute(0, 3, 1, 2)
        padded = functional.pad(last, (0, 0, left, left, top, top))
        seen = _Patches.apply(padded, self.kernel_size, self.stride)
        return functional.linear(seen, kernel.flatten(1), self.bias).permute(0, 3, 1, 2)


@functools.cache
@torch.inference_mode(False)  # what is made in that mode cannot be trained with
def _places(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> torch.Tensor:
    """Return what makes a channel's kernel its matrix: `[numbers, inputs * outputs]` of 0 and 1."""
    one_pixel = torch.eye(size[0] * size[1]).view(-1, 1, *size)
    one_number = torch.eye(kernel[0] * kernel[1]).view(-1, 1, *kernel)
    found = functional.conv2d(one_pixel, one_number, stride=stride, padding=padding)
    return found.transpose(0, 1).flatten(1)


class _Patches(torch.autograd.Function):
    """What a kernel sees at each place, as `functional.unfold`, but for channels that lie last.

    The gradients of overlapping patches are added up in place: autograd would make a whole image
    for each of them, and `functional.fold`, torch's own way back, wants channels first.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, padded: torch.Tensor, kernel: Pair, stride: Pair) -> torch.Tensor:
        """Return `[b, height, width, rows * columns * c]` of `[b, h, w, c]`."""
        ctx.shape, ctx.kernel, ctx.stride = padded.shape, kernel, stride
        (rows, columns), (down, right) = kernel, stride
        seen = padded.unfold(1, rows, down).unfold(2, columns, right)
        return seen.permute(0, 1, 2, 4, 5, 3).flatten(3)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
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
    """Let each plain or depthwise convolution of `model` be a `SmallMapConv2d`; return `model`.

    Its parameters stay the ones they are, under the names they have. Depthwise ones with a bias,
    other groups, dilation and padding by anything but a number of zeros stay torch's.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and not isinstance(module.padding, str):
            depthwise = module.weight.shape[:2] == (module.groups, 1) and module.bias is None
            ours = depthwise or module.groups == 1
            if ours and module.dilation == (1, 1) and module.padding_mode == "zeros":
                module.__class__ = SmallMapConv2d
    return model
