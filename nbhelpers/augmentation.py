"""Change a batch of training images at random, each in its own way, so that no two epochs match.

torchvision's transforms draw one change for a whole batch; these draw one for each image, on the
batch as a whole, so that augmenting costs little beside training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, scale, slant and shift each image of a batch a little.

    Attributes:
        degrees: largest rotation, either way.
        scale: largest change of size, as a share: 0.1 is from 90 % to 110 %.
        shear: largest slant, as a share of the height.
        shift: largest shift in either direction, as a share of the side.
    """

    degrees: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float `[b, c, height, width]` changed; what comes in from outside is the paper.

        Paper is taken to be the smallest value of the batch.
        """

        def draw(largest: float) -> torch.Tensor:
            return (torch.rand(len(inputs)) * 2 - 1) * largest

        angle, size = draw(math.radians(self.degrees)), 1 + draw(self.scale)
        slant, right, down = draw(self.shear), draw(2 * self.shift), draw(2 * self.shift)
        cosine, sine = angle.cos() * size, angle.sin() * size
        across = torch.stack([cosine, slant - sine, right], dim=1)
        matrices = torch.stack([across, torch.stack([sine, cosine, down], dim=1)], dim=1)
        matrices = matrices.to(inputs.device)
        grid = functional.affine_grid(matrices, list(inputs.shape), align_corners=False)
        paper = inputs.amin()
        # grid_sample fills with 0 from outside, so 0 must mean paper
        return functional.grid_sample(inputs - paper, grid, align_corners=False) + paper
