"""Turn a picture of one character into what the MNIST models were trained on.

MNIST's own recipe: scale the ink to fit a box of 20×20 with its proportions kept, then place it
by its centre of mass in 28×28. Notebooks 04 and 05 show what happens without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from nbhelpers.data import place_by_centre_of_mass


class InkError(ValueError):
    """A picture cannot be read, or no character is in it."""


@dataclass(frozen=True)
class Steps:
    """What `to_mnist` did, step by step; uint8, 0 is paper and 255 is ink.

    Attributes:
        ink: `[height, width]`, the whole picture as ink on paper.
        crop: `[h, w]`, only the part with ink.
        normalised: `[28, 28]`, what a model gets.
    """

    ink: torch.Tensor
    crop: torch.Tensor
    normalised: torch.Tensor


def to_mnist(picture: Path | str | Image.Image) -> Steps:
    """Bring a picture of one digit to MNIST's form.

    Dark on light and light on dark are told apart by the border, which is taken to be paper.
    Transparent parts count as white paper.

    Args:
        picture: a file, or an open PIL picture.

    Raises:
        InkError: the file is missing, is no picture or is damaged, or nothing is drawn on it.
    """
    grey = _grey(picture)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    strength = np.abs(grey - np.median(border))
    if strength.max() < 32:
        raise InkError(f"{_name(picture)}: nothing is drawn on it: it has one shade throughout.")
    ink = (strength / strength.max() * 255).round().astype(np.uint8)
    rows, columns = (np.flatnonzero((ink > 64).any(axis)) for axis in (1, 0))
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(crop.shape)
    width, height = (max(1, round(side * scale)) for side in crop.shape[::-1])
    small = Image.fromarray(crop).resize((width, height), Image.Resampling.BOX)
    small = torch.from_numpy(np.array(small))
    return Steps(
        torch.from_numpy(ink), torch.from_numpy(crop), place_by_centre_of_mass(small[None], 28)[0]
    )


def _grey(picture: Path | str | Image.Image) -> np.ndarray:
    """Return int16 `[height, width]`, 0 black to 255 white."""
    try:
        if not isinstance(picture, Image.Image):
            picture = Image.open(picture)
        colour = picture.convert("RGBA")
    except FileNotFoundError:
        raise InkError(f"{picture}: no such file.") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InkError(
            f"{_name(picture)}: not a picture, or a damaged one ({error}). "
            "Expected a PNG, JPEG or another format that Pillow reads."
        ) from None
    paper = Image.new("RGBA", colour.size, "white")
    return np.asarray(Image.alpha_composite(paper, colour).convert("L"), dtype=np.int16)


def _name(picture: Path | str | Image.Image) -> str:
    if isinstance(picture, Image.Image):
        return getattr(picture, "filename", "") or "the picture"
    return str(picture)
