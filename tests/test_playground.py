"""The playground: its JavaScript against the Python it repeats, in Node, and its files.

`tests/browser` tries the page itself, with ONNX Runtime and 500 test images of each data set.
"""

import json
import re
import shutil

import clean_pictures
import in_node
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from small_models import change_card, saved, trained

from handwriting import cards, ink, pad, playground, saving
from nbhelpers import data, profile, shapes
from nbhelpers.tamil import alphabet

AS_PYTHON = pytest.mark.promise(
    "Site and playground", "The playground prepares drawings, and refuses them, as Python does"
)

FORMS = {
    "mnist": {"form": "mnist", "side": 28, "proportions": "kept"},
    "tamil": {"form": "tamil", "side": 64, "proportions": "adapted"},
    "tamil, smaller": {"form": "tamil", "side": 48, "proportions": "adapted"},
}
IN_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { InkError, toForm } from "./ink.js";

const { cards, side } = JSON.parse(readFileSync("tasks.json"));
const pixels = readFileSync("pictures.bin");
const answers = cards.map((card, i) => {
  const data = pixels.subarray(4 * side * side * i, 4 * side * side * (i + 1));
  try {
    const { normalised, pen, doubt } = toForm({ width: side, height: side, data }, card);
    return { normalised: Array.from(normalised.data), pen, doubt };
  } catch (error) {
    if (!(error instanceof InkError)) throw error;
    return { error: error.message };
  }
});
writeFileSync("answers.json", JSON.stringify(answers));
"""


def read_in_node(pictures, cards, folder):
    """Return what ink.js makes of pictures uint8 `[560, 560, 3]`."""
    side = clean_pictures.SIDE
    (folder / "tasks.json").write_text(json.dumps({"cards": cards, "side": side}))
    with (folder / "pictures.bin").open("wb") as file:
        for picture in pictures:
            file.write(np.dstack([picture, np.full((side, side), 255, np.uint8)]).tobytes())
    in_node.run(folder, IN_NODE)
    return json.loads((folder / "answers.json").read_text())


def digit_pictures():
    """Return 20 digits of the embedded sample, and one written with each of four pens."""
    random = np.random.default_rng(0)
    digits = data.digits_sample(profile.Profile("quick", torch.device("cpu"), 0)).validation
    pictures = [clean_pictures.picture(image, random) for image in digits.images[:20]]
    return pictures + [drawn([pad._three()], pen) for pen in (12, 24, 40, 60)]


def letter_pictures():
    """Return 20 Tamil letters written with three pens."""
    all_strokes = alphabet.pen_strokes()[::8]
    return [
        drawn([(s * (1, -1)).tolist() for s in strokes], 12 + 24 * (i % 3))
        for i, strokes in enumerate(all_strokes)
    ]


def drawn(strokes, pen):
    grey = np.asarray(pad._written(strokes, clean_pictures.SIDE, pen))
    return np.dstack([grey] * 3)


@AS_PYTHON
@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("mnist", digit_pictures),
        ("tamil", letter_pictures),
        ("tamil, smaller", letter_pictures),
    ],
)
def test_a_drawing_is_prepared_as_in_python(form, make, tmp_path):
    pictures, card = make(), FORMS[form]
    found = read_in_node(pictures, [card] * len(pictures), tmp_path)
    same = 0
    for picture, answer in zip(pictures, found, strict=True):
        steps = ink.to_form(picture, **card)
        expected = steps.normalised.numpy().ravel().astype(int)
        difference = np.abs(np.array(answer["normalised"]) - expected)
        assert answer["pen"] == pytest.approx(steps.pen, abs=0.004)
        assert difference.mean() < 1, difference.reshape(card["side"], -1)
        same += difference.max() <= 2
        assert (answer["doubt"] < 0.5) == (steps.doubt < 0.5)
    assert same >= 0.95 * len(pictures)


@AS_PYTHON
def test_refuses_in_the_same_words(tmp_path):
    side = clean_pictures.SIDE
    empty = np.full((side, side, 3), 255, np.uint8)
    speck, marks, filled, clipped = (empty.copy() for _ in range(4))
    speck[300:302, 200:202] = 240
    for row in range(4):
        for column in range(5):
            marks[60 + 120 * row :, 60 + 100 * column :][:20, :20] = 20
    filled[100:400, 150:450] = 20
    clipped[:200, 240:320] = 20
    pictures = [empty, speck, marks, filled, clipped]
    found = read_in_node(pictures, [FORMS["mnist"]] * len(pictures), tmp_path)
    for picture, answer in zip(pictures[:4], found, strict=False):
        with pytest.raises(ink.InkError) as refused:
            ink.to_mnist(picture)
        assert answer == {"error": str(refused.value)}
    assert "normalised" in found[4] and ink.to_mnist(clipped)


def test_what_is_not_ported_is_never_sure(tmp_path):
    """Several digits in the same words; a neighbour cut off is dropped; else doubt, or refused."""
    one = drawn([pad._three()], 30)
    half = np.asarray(Image.fromarray(one).resize((280, 280)))
    beside, over, cut_off, framed, ruled, desk = (np.full_like(one, 255) for _ in range(6))
    beside[140:420, :280], beside[140:420, 280:] = half, half
    over[:280, 140:420], over[280:, 140:420] = half, half
    cut_off[140:420, 100:380], cut_off[140:420, 480:] = half, half[:, 60:140]
    framed[140:420, 140:420] = half
    for inner, value in ((60, 20), (66, 255)):
        framed[inner : 560 - inner, inner : 560 - inner] = value
    framed[140:420, 140:420] = half
    ruled[140:420, 140:420] = half
    ruled[20::60], ruled[21::60] = 90, 90
    desk[:] = (120, 80, 50)
    desk[120:440, 130:430] = 250
    desk[140:420, 140:420] = np.minimum(half, 250)
    pictures = [beside, over, cut_off, framed, ruled, desk]
    found = read_in_node(pictures, [FORMS["mnist"]] * len(pictures), tmp_path)
    for picture, answer in zip(pictures[:2], found, strict=False):
        with pytest.raises(ink.InkError, match="2 characters side by side") as refused:
            ink.to_mnist(picture)
        assert answer["error"].endswith(str(refused.value))
    expected = ink.to_mnist(cut_off).normalised.numpy().ravel().astype(int)
    assert np.abs(np.array(found[2]["normalised"]) - expected).mean() < 1
    assert found[2]["doubt"] < 0.5
    assert all("error" in answer or answer["doubt"] >= 0.5 for answer in found[3:]), found[3:]


# ---------------------------------------------------------------------------------- the words


def test_every_word_stands_in_both_languages():
    table = json.loads((playground.WEB / "words.json").read_text(encoding="utf-8"))
    for key, said in ((key, said) for part in table.values() for key, said in part.items()):
        assert list(said) == ["en", "ta"] and all(said.values()), key
        english, tamil_ = (sorted(re.findall(r"{(\w+)}", text)) for text in said.values())
        assert english == tamil_, key
        assert re.search("[\u0b80-\u0bff]", said["ta"]), key
    refusals = json.loads(shapes.TABLE.read_text(encoding="utf-8"))["refusals"]
    assert {key: said["en"] for key, said in table["refusals"].items()} == refusals


def test_no_words_stand_outside_the_table():
    site = playground.PACKAGES.parent
    scripts = {*playground.WEB.glob("*.js"), *site.glob("train/*.js"), site / "static" / "live.js"}
    for path in scripts - {playground.WEB / "ink.js"}:  # it refuses in the words of `shapes`
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"/\*[\s\S]*?\*/|(?<!:)//.*", "", text)
        text = re.sub(r'class: ".*?"|className = ".*?"|new Error\(.*?\)', "", text)
        strings = [part for found in re.findall(r'"(.*?)"|`(.*?)`', text) for part in found]
        prose = re.compile(r"^[A-Z][a-z]+( |$)|(^| )[a-z]{2,} [a-z]{2,}")
        said = {one for one in strings if prose.search(one)}
        guesses = {"Your guess", "Was your guess"}  # of chapters, which are in English
        assert said <= {"Escape", "English"} | guesses, path.name


# ---------------------------------------------------------------------------------- the files


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Node packages as far as the playground needs them."""
    runtime = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    runtime.mkdir(parents=True)
    for name in playground.RUNTIME:
        (runtime / name).write_text(name)
    monkeypatch.setattr(playground, "PACKAGES", tmp_path / "node_modules")
    return tmp_path / "node_modules"


@pytest.fixture(autouse=True)
def no_reference(tmp_path, monkeypatch):
    """Leave the course's own models out."""
    monkeypatch.setattr(cards, "REFERENCE", tmp_path / "none")


@pytest.fixture
def artifacts(tmp_path):
    """Both models, as `saving.save` has written one; the other's classes are called letters."""
    place = tmp_path / "artifacts" / "quick-cpu"
    shutil.copytree(saved()[0], place)
    letters = [text for text, _ in alphabet.class_table()[:10]]
    change_card(place, name="compact_cnn", form="tamil", classes=letters, threshold=0.9)
    for path in [*place.iterdir()]:
        path.rename(path.with_stem("compact_cnn"))
    shutil.copytree(saved()[0], place, dirs_exist_ok=True)
    return tmp_path / "artifacts"


def test_everything_that_the_page_loads_is_put_beside_it(tmp_path, packages, artifacts):
    out = tmp_path / "playground"
    assert playground.copy(out) is None
    here = {path.name for path in out.iterdir()}
    assert here >= {"pad.js", "pad.css", "start.js", "lenet.onnx", "compact_cnn.onnx"}
    assert not [name for name in here if name.endswith(".part")]
    for script in out.glob("*.js"):
        imported = re.findall(r'from "\./([^"]+)"', script.read_text(encoding="utf-8"))
        assert set(imported) <= here, script
    digits, tamil_ = (
        json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("lenet", "compact_cnn")
    )
    assert digits["card"]["classes"] == list("0123456789") and not any(digits["strokes"])
    assert digits["origin"] == "trained here (smoke run, sample data)"
    assert tamil_["card"]["threshold"] == 0.9
    assert tamil_["transliterations"][0] == "a" and len(tamil_["strokes"]) == 10
    assert all(len(point) == 2 for stroke in tamil_["strokes"][0] for point in stroke)


@pytest.mark.parametrize(("missing", "what"), [("packages", "make site"), ("models", "make run")])
def test_says_what_is_missing(missing, what, tmp_path, packages, artifacts):
    shutil.rmtree(packages if missing == "packages" else artifacts)
    out = tmp_path / "playground"
    said = playground.copy(out)
    assert what in said and said.startswith("the playground:")
    assert not out.exists()


@pytest.mark.promise(
    "Site and playground", "The playground can be built right after a clone, with nothing trained"
)
def test_the_course_s_own_models_will_do(tmp_path, packages, artifacts):
    for name in playground.MODELS:
        saving.publish(name, artifacts / "quick-cpu", trained()[1].validation)
    shutil.rmtree(artifacts)
    out = tmp_path / "playground"
    assert playground.copy(out) is None
    about = json.loads((out / "compact_cnn.json").read_text(encoding="utf-8"))
    assert about["origin"] == "the course's own (smoke run, sample data)"
    graph = onnx.load(out / "compact_cnn.onnx")
    assert json.loads(graph.metadata_props[0].value) == about["card"]


def test_a_damaged_model_is_named(tmp_path, packages, artifacts):
    (artifacts / "quick-cpu" / "lenet.onnx").write_bytes(b"no model")
    said = playground.copy(tmp_path / "playground")
    assert "lenet.onnx" in said and "Delete it" in said
