"""Letters as other people's pens leave them on paper, made from letters of the data set.

All of HPL Tamil was drawn with one pen on a tablet. A pen on paper runs wide or thin, skips, is
led over a line twice; small loops fill with ink, dots become rings, a scan blurs it all. Then
`ink` finds the middle of the strokes again, not without flaws. A model that is to read photos has
to meet such letters in training.
"""

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import remove_small_holes, skeletonize
from torch.nn import functional

from handwriting import ink, wild
from handwriting.parts import EIGHT, cut
from nbhelpers import shapes
from nbhelpers.augmentation import RandomWarp
from nbhelpers.tamil import archive, synthetic

OTHER_HANDS = RandomWarp(degrees=10, shear=0.3, stretch=0.5, bend=0.02)


def redrawn(images: torch.Tensor, seed: int) -> torch.Tensor:
    """Return letters in hands of other proportions, by other pens, prepared as `ink.to_tamil` does.

    The letters are uint8 `[n, 64, 64]`, 0 is paper, in and out, with `adapted` proportions.
    """
    with torch.random.fork_rng(devices=[]):  # others draw from it, too
        torch.manual_seed(seed)
        room = functional.pad(images, [16] * 4)[:, None]  # for those that grow
        warped = [OTHER_HANDS(part.float())[:, 0].numpy() for part in room.split(512)]
    letters = (letter for part in warped for letter in part)
    drawn = [_redrawn(letter, seed, i) for i, letter in enumerate(letters)]
    return torch.from_numpy(np.stack(drawn))


def strangers(writers: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return letters by synthetic writers, drawn likewise: each of them writes every letter twice.

    Images uint8 `[312 · writers, 64, 64]` with `adapted` proportions, and labels int64.
    """
    letters, labels = [], []
    for name, content in synthetic.pictures(writers, seed=seed):
        letters.append(archive.square(content, shapes.FORMS["tamil"].side, "adapted")[0])
        labels.append(int(name.split("/")[1][:3]))
    return redrawn(torch.from_numpy(np.stack(letters)), seed), torch.tensor(labels)


def _redrawn(letter: np.ndarray, *seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(*np.log((60, 200))))  # of the longer side, in a scan's pixels
    strokes = wild.enlarged(letter, "adapted", round(size)) > 0.5
    drawn = _drawn(_middle(strokes, size, random), size, random)
    return ink.tamil_form(cut(_scanned(drawn, size, random)))[0]


def _middle(strokes: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Return the way of the pen, bool `[h, w]`: with gaps, led twice, with rings for dots."""
    way = skeletonize(strokes)
    if random.random() < 0.35:
        parts, count = ndimage.label(strokes, EIGHT)
        for part, box in enumerate(ndimage.find_objects(parts), 1):
            if count > 1 and max(side.stop - side.start for side in box) < 0.16 * size:
                y, x = ((side.start + side.stop - 1) / 2 for side in box)
                down, right = np.ogrid[: len(way), : way.shape[1]]
                away = np.hypot(down - y, right - x) - size * random.uniform(0.035, 0.075)
                way = way & (parts != part) | (np.abs(away) < 0.6)
    if random.random() < 0.12:
        way = way | np.roll(way, random.integers(-3, 4, 2), (0, 1))
    if random.random() < 0.3:
        places = np.argwhere(way)
        gaps = np.ones_like(way)
        gaps[tuple(random.choice(places, random.integers(1, 4)).T)] = False
        broken = way & (ndimage.distance_transform_edt(gaps) > size * random.uniform(0.015, 0.04))
        way = broken if broken.any() else way
    return way


def _drawn(way: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Return ink along the way of a pen, float `[h, w]`, 0 to 1."""
    width = size * np.exp(random.uniform(*np.log((0.025, 0.11))))
    if random.random() < 0.5:  # uneven
        press = ndimage.gaussian_filter(random.standard_normal(way.shape), size / 8)
        width = width * np.exp(0.25 * press / press.std())
    drawn = np.clip(width / 2 + 0.5 - ndimage.distance_transform_edt(~way), 0, 1)
    if random.random() < 0.25:  # ink fills small loops
        most = int(np.ceil((0.14 * size) ** 2)) - 1
        inked = np.pad(drawn > 0.5, 1)  # what is outside is one piece, and large
        drawn[(remove_small_holes(inked, max_size=most) & ~inked)[1:-1, 1:-1]] = 1
    return drawn


def _scanned(drawn: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Return the ink as a scanner sees it, uint8 `[h, w]`: blurred, and often grainy, cut off."""
    seen = ndimage.gaussian_filter(drawn, random.uniform(0, 0.012) * size)
    if random.random() < 0.5:
        grain = ndimage.gaussian_filter(random.standard_normal(seen.shape), 0.8)
        seen = seen + random.uniform(0.02, 0.12) * grain / grain.std() * (seen > 0.02)
        seen = seen > random.uniform(0.3, 0.6)
    return (255 * np.clip(seen / seen.max(), 0, 1)).astype(np.uint8)
