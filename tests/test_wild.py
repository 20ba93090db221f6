import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import promise
import pytest
import torch
from as_files import encoded
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from small_models import saved

from handwriting import ink, scenes, wild
from handwriting.__main__ import main
from nbhelpers import data, profile


@pytest.fixture(scope="module")
def digits():
    return data.digits_sample(profile.current()).validation


def reader(answer):
    """A model of digits that answers so to images."""
    return SimpleNamespace(
        card=SimpleNamespace(form="mnist", side=28, proportions="kept", threshold=0.5),
        probabilities=answer,
        judged=lambda images: (answer(images), np.zeros(len(images), bool)),
    )


def opened(content):
    return Image.open(io.BytesIO(content))


def alike(found, image):
    both = torch.stack([found.flatten().float(), image.flatten().float()])
    return torch.corrcoef(both)[0, 1].item()


@pytest.mark.parametrize("condition", wild.CONDITIONS)
def test_pictures_come_from_the_seed_alone_and_the_digit_can_be_found(condition, digits):
    first, second = digits.images[:2]
    content = wild.picture(first, condition, 5)
    assert content == wild.picture(first.numpy(), condition, 5)
    assert content != wild.picture(first, condition, 6)
    assert content != wild.picture(first, condition, 5, index=1)
    assert content != wild.picture(second, condition, 5)
    assert opened(content).format in ("PNG", "JPEG")
    found = [
        alike(ink.to_mnist(wild.picture(image, condition, 0, index)).normalised, image)
        for index, image in enumerate(digits.images[:4])
    ]
    assert np.median(found) > (0.5 if "pen" in condition or "rotated" in condition else 0.8)


@promise.results("Noise, text, filled shapes and blank pages are never taken for a character")
@pytest.mark.parametrize("condition", wild.CONDITIONS)
@pytest.mark.parametrize("prepare", [ink.to_mnist, ink.to_tamil])
def test_a_blank_page_is_never_a_character(condition, prepare):
    for index in range(12 if condition == "lined paper" else 3):
        content = wild.picture(np.zeros((28, 28), np.uint8), condition, 1, index)
        with pytest.raises(ink.InkError, match=r"nothing is drawn|separate marks"):
            prepare(content)


def test_conditions_are_what_they_say(digits):
    def values(condition):
        content = wild.picture(digits.images[0], condition, 3)
        return np.asarray(opened(content).convert("RGB"), float)

    assert np.median(values("as it is")) > 250 > 50 > np.median(values("inverted"))
    assert opened(wild.picture(digits.images[0], "transparent PNG", 3)).mode == "RGBA"
    dark = {name: (values(name) < 128).mean() for name in ("thin pen", "as it is", "thick pen")}
    share = dark["as it is"]
    assert 0.3 * share < dark["thin pen"] < 0.8 * share < 1.2 * share < dark["thick pen"]
    sizes = [
        max(opened(wild.picture(digits.images[0], "56 to 2,000 pixels", 3, i)).size)
        for i in range(30)
    ]
    assert 56 <= min(sizes) < 150 and 800 < max(sizes) <= 2000


def test_proportions_are_given_back():
    wide = np.zeros((64, 64), np.uint8)
    wide[11:53, 2:62] = 255  # 42 rows for 60 columns: three times as wide as high, adapted
    sides = []
    for proportions in ("kept", "adapted"):
        grey = opened(wild.picture(wide, "as it is", 0, proportions=proportions)).convert("L")
        left, top, right, bottom = Image.eval(grey, lambda value: 255 - value).getbbox()
        sides.append((right - left) / (bottom - top))
    assert abs(sides[0] - 60 / 42) < 0.1 and abs(sides[1] - 3) < 0.3


def test_published_way_squeezes():
    picture = Image.new("L", (300, 100), 255)
    picture.paste(0, (0, 0, 150, 100))
    square = wild.published_way(encoded(picture), 28)
    assert square.dtype == np.uint8 and square.shape == (28, 28)
    assert (square[:, :13] == 255).all() and (square[:, 15:] == 0).all()


def test_accuracies(digits, monkeypatch):
    templates = torch.stack([digits.images[digits.labels == i].float().mean(0) for i in range(10)])
    templates = templates.flatten(1) / templates.flatten(1).norm(dim=1, keepdim=True)

    def read(images):
        return (torch.from_numpy(images).flatten(1).float() @ templates.T).numpy()

    some = {name: wild.CONDITIONS[name] for name in ("as it is", "off-centre")}
    monkeypatch.setattr(wild, "CONDITIONS", some)
    measured = wild.accuracies(reader(read), digits, 16)
    assert measured == wild.accuracies(reader(read), digits, 16) and list(measured) == list(some)
    assert all(measured[condition]["ours"] > 0.6 for condition in some)
    assert measured["off-centre"]["published_way"] < measured["off-centre"]["ours"] - 0.2


def test_a_refused_picture_counts_as_wrong(digits, monkeypatch):
    monkeypatch.setattr(wild, "CONDITIONS", {"as it is": wild.CONDITIONS["as it is"]})
    empty = data.Split(torch.zeros_like(digits.images), torch.zeros_like(digits.labels), ("0",))
    zero = reader(lambda images: np.ones((len(images), 1)))
    (found,) = wild.accuracies(zero, empty, 5).values()
    assert found == {"published_way": 1.0, "ours": 0.0, "sure_and_wrong": 0.0}


def test_a_sure_and_wrong_answer_is_counted_under_the_scenes_that_are_named(digits):
    always = reader(lambda images: np.eye(10)[np.full(len(images), 3)])
    names = ("tight crop", "drawn box")
    found = wild.accuracies(always, digits, 12, 0, scenes.picture, names)
    threes = float((digits.labels[wild.drawn(digits, 12, 0)] == 3).double().mean())
    assert list(found) == list(names)
    for shares in found.values():
        assert shares["ours"] <= threes and 0 < shares["sure_and_wrong"] <= 1 - threes


EVERYDAY = promise.results(
    "A sheet on a desk, a boxed digit, a note, a whole page: the character is found"
)


@EVERYDAY
@pytest.mark.parametrize("scene", scenes.SCENES)
def test_the_digit_is_found_in_a_scene(scene, digits):
    found = []
    for index, image in enumerate(digits.images[:2]):
        content = scenes.picture(image, scene, 0, index)
        assert content == scenes.picture(image.numpy(), scene, 0, index)
        found.append(alike(ink.to_mnist(content).normalised, image))
    assert np.mean(found) > 0.6, found


@pytest.mark.parametrize("below", [False, True])
def test_two_digits_are_never_one(below, digits):
    for index in range(2):
        content = scenes.pair((digits.images[index], digits.images[index + 9]), index, below)
        try:
            assert ink.to_mnist(content).doubt >= 0.5
        except ink.InkError as error:
            said = "the picture: 2 characters side by side or one above the other"
            assert str(error).startswith(said)


@promise.results("Every digit on a page is found, in reading order, and says where it stands")
@pytest.mark.parametrize("count", [2, 5, 12])
def test_a_page_is_read_in_order(count, digits):
    images = [image.numpy() for image in digits.images[:count]]
    steps = ink.all_to_form(scenes.page(images, count), "mnist", 28)
    assert len(steps) == count
    pairs = zip(steps, digits.images, strict=False)
    assert np.mean([alike(one.normalised, image) for one, image in pairs]) > 0.8
    assert all(one.doubt < 0.5 for one in steps)
    for one in steps:
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert (right - left) * (bottom - top) < 0.6 / count


@pytest.mark.parametrize("place", [0.3, 0.45, 0.6])
def test_a_shadow_with_a_soft_edge_is_not_the_character(place):
    picture = Image.new("L", (900, 960), 240)
    five = [(600, 280), (360, 270), (340, 460), (560, 450), (640, 600), (540, 740), (320, 700)]
    ImageDraw.Draw(picture).line(five, 30, 50, joint="curve")
    small = picture.resize((300, 320), Image.Resampling.BOX)
    light = 1 - 0.5 / (1 + np.exp(-(np.arange(300) / 300 - place) * 40))
    shaded = (np.asarray(small) * light).astype(np.uint8)
    plain, found = ink.to_mnist(small), ink.to_mnist(shaded)
    assert alike(found.normalised, plain.normalised) > 0.9 and found.doubt < 0.4


def test_pictures_of_eight_pixels():
    kept = []
    for array in load_digits().images[:20]:
        with contextlib.suppress(ink.InkError):  # a few fall apart
            first, second = (ink.to_mnist(array.astype(kind)) for kind in (float, np.uint8))
            assert torch.equal(first.normalised, second.normalised)
            wide = ink.to_mnist(np.kron(np.pad(array, 2), np.ones((12, 12))) / 16)
            kept.append(alike(first.normalised, wide.normalised))
    assert len(kept) >= 16 and np.median(kept) > 0.85


def test_one_of_four_boxes_has_a_digit_in_it(digits):
    strokes = wild.enlarged(digits.images[2].numpy(), "kept", 100)
    for which in range(4):
        sheet = np.zeros((220, 700), np.float32)
        left = 70 + 160 * which
        sheet[60 : 60 + len(strokes), left : left + strokes.shape[1]] = strokes
        picture = Image.fromarray(wild.painted(sheet).astype(np.uint8))
        for x in range(30, 600, 160):
            ImageDraw.Draw(picture).rectangle((x, 30, x + 150, 190), outline="black", width=3)
        assert alike(ink.to_mnist(picture).normalised, digits.images[2]) > 0.8


def test_boxes_lie_in_the_picture_not_on_its_sheet():
    picture = Image.new("RGB", (400, 300), "#604020")
    sheet = Image.new("RGB", (240, 160), "white")
    for x in (50, 140):
        ImageDraw.Draw(sheet).line((x, 40, x, 120), "black", 8)
    picture.paste(sheet, (120, 100))
    boxes = np.array([one.box for one in ink.all_to_form(picture, "mnist", 28)])
    wanted = np.array([(167, 140, 174, 221), (257, 140, 264, 221)]) / (400, 300, 400, 300)
    assert boxes.shape == (2, 4) and np.abs(boxes - wanted).max() < 0.02


def test_parts_of_one_character_stay_together():
    picture = Image.new("L", (500, 200), 255)
    draw = ImageDraw.Draw(picture)
    for x in (40, 180, 320):
        draw.line((x, 150, x + 60, 150, x + 60, 70), 0, 8)  # a broken stroke, a dot
        draw.line((x, 138, x, 66), 0, 8)
        draw.ellipse((x + 25, 40, x + 36, 51), 0)
    steps = ink.all_to_form(picture, "tamil", 64)
    assert [one.crop.shape for one in steps] == [steps[0].crop.shape] * 3
    assert steps[0].crop.shape[0] > 105


def test_the_command_reads_a_page(digits, tmp_path, capsys):
    page = tmp_path / "page.jpg"
    page.write_bytes(scenes.page([image.numpy() for image in digits.images[:5]], 3))
    (tmp_path / "blank.png").write_bytes(wild.encoded(np.full((80, 80, 3), 255)))
    where = ["--models", str(saved()[0])]
    assert main(["--all", str(page), *where]) in (0, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith(f"{page}: ") for line in lines)
    assert main(["--all", "--json", str(page), str(tmp_path / "blank.png"), *where]) == 1
    *read, blank = json.loads(capsys.readouterr().out)
    assert len(read) == 5 and blank["box"] is None and blank["error"]
    assert read[0].keys() == blank.keys() and all(len(one["box"]) == 4 for one in read)
    assert read[0]["answer"] in read[0]["choices"][0].values() and read[0]["error"] is None


def test_a_hollow_digit_is_read_as_strokes_but_never_surely(digits):
    outline = Image.new("L", (300, 360), 255)
    pen = ImageDraw.Draw(outline)
    seven = [(60, 60), (240, 60), (240, 100), (140, 310), (90, 310), (180, 105), (60, 105)]
    pen.line([*seven, *seven[:2]], 0, 6, joint="curve")
    found = ink.to_mnist(outline)
    filled = Image.new("L", outline.size, 255)
    ImageDraw.Draw(filled).polygon(seven, 0)
    assert alike(found.normalised, ink.to_mnist(filled).normalised) > 0.8
    assert found.doubt >= 0.35
