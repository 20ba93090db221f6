"""Pictures as the drawing pad exports them: one character, dark on plain white paper."""

import numpy as np

from handwriting import wild

SIDE = 560
PEN = (20, 22, 26)
LONGER = (150, 380)  # of the character, in pixels: small ones are looked at from closer
SCRIBBLE = [(270 + 80 * (i % 2), 140 + 8 * i) for i in range(11)]  # there and back, down,
SCRIBBLE += [(y + 130, x - 140) for x, y in SCRIBBLE]  # then up and down, across


def picture(image, random, proportions="kept"):
    """Return an image of a data set, enlarged smoothly: uint8 `[560, 560, 3]`.

    Args:
        image: uint8 `[h, w]`, ink is 255.
        random: NumPy's generator, of the size and the place.
        proportions: of the image, as given to `tamil.tamil`.
    """
    ink = wild.enlarged(np.asarray(image), proportions, round(random.uniform(*LONGER)))
    top, left = (random.integers(0, SIDE - side + 1) for side in ink.shape)
    sheet = np.zeros((SIDE, SIDE), np.float32)
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return wild.painted(sheet, pen=PEN).round().astype(np.uint8)
