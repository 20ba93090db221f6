import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from nbhelpers.ink import InkError, to_mnist


def drawn(mode="RGB", paper="white", ink="black", box=(60, 20, 80, 120), size=(150, 140)):
    picture = Image.new(mode, size, paper)
    ImageDraw.Draw(picture).rectangle(box, fill=ink)
    return picture


def test_form_is_that_of_mnist():
    digit = to_mnist(drawn()).normalised
    assert digit.dtype == torch.uint8 and digit.shape == (28, 28)
    rows = digit.amax(1).nonzero()[:, 0]
    assert rows[-1] - rows[0] + 1 == 20  # the box
    mass = digit.float()
    assert abs((mass.sum(1) * torch.arange(28)).sum() / mass.sum() - 13.5) <= 0.5


@pytest.mark.parametrize(
    "other",
    [
        drawn(paper="black", ink="white"),
        drawn(paper="#fff3d0", ink="#203080"),
        drawn("L"), drawn("1"), drawn("RGBA", paper=(0, 0, 0, 0)), drawn("CMYK", paper=0, ink=255),
        drawn(box=(100, 10, 120, 110), size=(300, 200)),
    ],
)  # fmt: skip
def test_the_same_stroke_comes_out_the_same(other):
    difference = to_mnist(other).normalised.int() - to_mnist(drawn()).normalised.int()
    assert difference.abs().max() <= 16


def test_file_and_open_picture_are_the_same(tmp_path):
    drawn().save(tmp_path / "a.png")
    assert torch.equal(to_mnist(tmp_path / "a.png").normalised, to_mnist(drawn()).normalised)


def test_nothing_drawn():
    with pytest.raises(InkError, match="nothing is drawn"):
        to_mnist(Image.new("L", (40, 40), 200))


def test_a_faint_texture_is_nothing_drawn():
    noise = np.random.default_rng(0).integers(240, 256, (40, 40), dtype=np.uint8)
    with pytest.raises(InkError, match="nothing is drawn"):
        to_mnist(Image.fromarray(noise))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InkError, match=r"none\.png: no such file"):
        to_mnist(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InkError, match=r"text\.png: not a picture"):
        to_mnist(tmp_path / "text.png")
    drawn().save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InkError, match=r"cut\.png: not a picture, or a damaged one"):
        to_mnist(tmp_path / "cut.png")
