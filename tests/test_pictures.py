"""Files and arrays as programs and phones write them; `test_ink` tries what is drawn on them."""

import itertools
import os
import sys

import in_python
import numpy as np
import pytest
import torch
from as_files import encoded
from PIL import Image, ImageDraw

from handwriting import pictures

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes([77]) * 64
STAND_IN = """
from PIL import Image

def photo(file, name):
    if len(file.read()) < 64:
        raise SyntaxError("cut off")
    return Image.new("L", (8, 8), 77)

def register_heif_opener():
    Image.register_open("HEIF", photo, lambda start: start[4:12] == b"ftypheic")
"""


def drawn(mode="L", side=40):
    """A vertical stroke, dark on light."""
    picture = Image.new("L", (side, side), 250)
    ImageDraw.Draw(picture).rectangle((18, 5, 22, 35), 10)
    return picture.convert(mode)


def values_of(picture):
    return np.asarray(pictures.opened(picture)[0].convert("L")).astype(int)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_of_0_everywhere_hides_nothing(mode):
    clear = drawn(mode)
    clear.putalpha(0)
    assert np.array_equal(values_of(encoded(clear)), values_of(drawn()))
    clear.putpixel((3, 3), (*clear.getpixel((3, 3))[:-1], 255))  # transparent after all
    assert np.sum(values_of(encoded(clear)) > 200) == 1  # one light pixel: dark paper


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        *itertools.product(["u1", "i4", "i8", "f2", "f4", "f8"], [1, 16, 255]),
        *itertools.product(["u2", "i8", "f8"], [1023, 4095, 65_535]),
    ],
)
def test_arrays_are_scaled_by_their_own_range(kind, most):
    array = np.zeros((8, 8), kind)
    array[2:6, 3:5], array[2, 3] = most, most // 2
    expected = (array.astype(float) * 255 / most).round()
    assert np.abs(values_of(array) - expected).max() <= 1


@pytest.mark.parametrize(
    "shaped",
    [
        lambda grey: grey[None],
        lambda grey: grey[:, :, None],
        lambda grey: np.stack([grey] * 3),
        lambda grey: np.stack([grey] * 3, 2),
        lambda grey: np.stack([grey, grey, grey, np.full_like(grey, 255)], 2),
        lambda grey: np.stack([grey * 0, grey * 0, grey * 0, 255 - grey], 2),
        lambda grey: torch.from_numpy(grey)[None],
    ],
)
def test_colours_may_come_first_or_last(shaped):
    grey = np.array(drawn(side=28))
    assert np.array_equal(values_of(shaped(grey)), grey)


def test_a_photo_of_50_megapixels_is_opened_smaller_and_no_strip_of_one():
    content = encoded(Image.new("L", (8192, 6144), 200), "JPEG")
    picture, _ = pictures.opened(content)
    assert max(picture.size) <= pictures.LARGE and picture.width * 6144 == picture.height * 8192
    with pytest.raises(pictures.InkError, match="more than 50 million"):
        pictures.opened(encoded(Image.new("1", (8192, 6144)), "PNG"))
    with pytest.raises(pictures.InkError, match="at least 8 a side"):
        pictures.from_bytes(encoded(Image.new("L", (20_000, 9)), "JPEG"), "strip")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEIC, r"a HEIC photo\. Export it as a JPEG, or run: pip install pillow-heif$"),
        (HEIC.replace(b"heic", b"isom"), r"a damaged HEIC or AVIF photo, or a film\. Export it"),
    ],
)
def test_what_to_do_without_a_decoder(content, says, monkeypatch):
    monkeypatch.setattr(pictures, "FORMATS", ("PNG", "JPEG"))
    with pytest.raises(pictures.InkError, match=says):
        pictures.opened(content)


def test_pillow_heif_is_used_where_it_is_installed(tmp_path):
    (tmp_path / "pillow_heif.py").write_text(STAND_IN)
    program = (
        "import sys; from handwriting import pictures\n"
        f"print(pictures.opened({HEIC!r})[0].getpixel((0, 0)))\n"
        f"try: pictures.opened({HEIC[:30]!r})\n"
        "except pictures.InkError as error: print(error)"
    )
    places = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    answer = in_python.run("-c", program, PYTHONPATH=places)
    assert answer.returncode == 0, answer.stderr
    photo, damaged = answer.stdout.splitlines()
    assert photo == "(77, 77, 77)"
    assert damaged == "the picture: a damaged HEIC or AVIF photo, or a film. Export it as a JPEG."


def test_what_is_left_of_an_animation_is_a_picture_or_an_error():
    noise = np.random.default_rng(1).integers(0, 255, (3, 16, 16), np.uint8)
    first, *others = map(Image.fromarray, noise)
    whole = encoded(first, "GIF", save_all=True, append_images=others)
    for kept in range(40, 400, 7):
        try:
            pictures.opened(whole[:kept])
        except pictures.InkError as error:
            assert str(error).startswith("the picture: ")


def test_floats_that_enlarging_has_left_above_1():
    grey = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    beyond = grey * 1.25 - 0.1
    seen = [np.asarray(pictures.opened(x)[0]) for x in (beyond, beyond.clip(0, 1))]
    assert np.array_equal(*seen) and seen[0].max() == 255
