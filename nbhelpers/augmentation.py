"""Change a batch of training images at random, each in its own way, so that no two epochs match.

torchvision's transforms draw one change for a whole batch; these draw one for each image, on the
batch as a whole, so that augmenting costs little beside training.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn import functional


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, scale, slant and shift each image of a batch a little."""

    degrees: float = 0.0  # largest rotation, either way
    scale: float = 0.0  # largest change of size, as a share: 0.1 is from 1 / 1.1 to 1 / 0.9
    shear: float = 0.0  # largest slant, as a share of the height
    shift: float = 0.0  # largest shift in either direction, as a share of the side

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float `[b, c, height, width]` changed; what comes in from outside is the paper."""
        paper = inputs.amin()  # the smallest value of the batch
        # grid_sample fills with 0 from outside, so 0 must mean paper
        moved = functional.grid_sample(inputs - paper, self.grid(inputs), align_corners=False)
        return moved + paper

    def grid(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return where each pixel comes from: float `[b, height, width, 2]` of x and y, −1 to 1."""
        n = len(inputs)
        angle, size = _draw(n, math.radians(self.degrees)), 1 + _draw(n, self.scale)
        slant, right, down = (_draw(n, m) for m in (self.shear, 2 * self.shift, 2 * self.shift))
        cosine, sine = angle.cos() * size, angle.sin() * size
        across = torch.stack([cosine, slant - sine, right], dim=1)
        matrices = torch.stack([across, torch.stack([sine, cosine, down], dim=1)], dim=1)
        matrices = matrices.to(inputs.device)
        return functional.affine_grid(matrices, list(inputs.shape), align_corners=False)


@dataclass(frozen=True)
class RandomWarp(RandomAffine):
    """Also stretch and bend each image, as the hands of different writers do.

    Points of a coarse grid are moved at random; the pixels between them follow smoothly.

    Source: P. Y. Simard, D. Steinkraus, J. C. Platt, Best Practices for Convolutional Neural
    Networks Applied to Visual Document Analysis, 2003 (elastic distortions).
    """

    stretch: float = 0.0  # largest change of width against height, as a share
    bend: float = 0.0  # standard deviation of the points' moves, as a share of the side
    cells: int = 5  # points along each side

    def grid(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return where each pixel comes from: float `[b, height, width, 2]` of x and y, −1 to 1."""
        n, (height, width) = len(inputs), inputs.shape[-2:]
        grid = super().grid(inputs)
        if self.stretch:
            wider = (1 + _draw(n, self.stretch)).sqrt()
            grid = grid * torch.stack([wider, 1 / wider], dim=1)[:, None, None].to(grid.device)
        if self.bend:
            moves = torch.randn(n, 2, self.cells, self.cells).to(grid.device) * 2 * self.bend
            down, across = (_between(self.cells, side).to(grid.device) for side in (height, width))
            grid = grid + (down @ moves @ across.T).permute(0, 2, 3, 1)
        return grid


@lru_cache
def _between(points: int, side: int) -> torch.Tensor:
    """Return `[side, points]`: what each of `points` adds to each pixel between them (bicubic).

    As two small matrix products the same smooth moves take a fraction of `interpolate`'s time.
    """
    row = torch.eye(points)[:, None, None].expand(-1, 1, points, -1)
    smooth = functional.interpolate(row, (points, side), mode="bicubic", align_corners=True)
    return smooth[:, 0, 0].T.contiguous()


def _draw(count: int, largest: float) -> torch.Tensor:
    return (torch.rand(count) * 2 - 1) * largest
