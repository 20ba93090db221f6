"""The playground: its JavaScript against the Python it repeats, in Node, and its files.

`tests/browser` tries the page itself, with ONNX Runtime and 500 test images of each data set.
"""

import functools
import json
import re
import shutil

import clean_pictures
import in_node
import numpy as np
import onnx
import promise
import pytest
from PIL import Image, ImageDraw, ImageFont
from small_models import change_card, digits, saved, trained
from source import lay

from handwriting import ink, pad, playground, saving, scenes
from handwriting.pictures import opened
from nbhelpers import shapes
from nbhelpers.tamil import alphabet

pytestmark = pytest.mark.usefixtures("reference")

FORMS = {
    "mnist": {"form": "mnist", "side": 28, "proportions": "kept"},
    "tamil": {"form": "tamil", "side": 64, "proportions": "adapted"},
    "tamil, smaller": {"form": "tamil", "side": 48, "proportions": "adapted"},
}
PICTURES = """
import { readFileSync, writeFileSync } from "node:fs";

const { card, sizes } = JSON.parse(readFileSync("tasks.json"));
const pixels = readFileSync("pictures.bin");
let at = 0;
const pictures = sizes.map(([height, width]) => (
  { width, height, data: pixels.subarray(at, (at += 4 * width * height)) }
));
"""
IN_NODE = """
import { InkError, toForm } from "./ink.js";

const answers = pictures.map((picture) => {
  try {
    const { normalised, pen, doubt } = toForm(picture, card);
    return { normalised: Array.from(normalised.data), pen, doubt };
  } catch (error) {
    if (!(error instanceof InkError)) throw error;
    return { error: error.message };
  }
});
writeFileSync("answers.json", JSON.stringify(answers));
"""


def read_in_node(pictures, card, folder, script=IN_NODE, **others):
    """Return what the playground's scripts make of pictures uint8 `[h, w, 3]`."""
    task = {"card": card, "sizes": [picture.shape[:2] for picture in pictures]}
    opaque = (np.pad(one, ((0, 0), (0, 0), (0, 1)), constant_values=255) for one in pictures)
    pixels = b"".join(one.tobytes() for one in opaque)
    lay(folder, {"tasks.json": task, "pictures.bin": pixels})
    in_node.run(folder, PICTURES + script, **others)
    return json.loads((folder / "answers.json").read_text())


def digit_pictures():
    """Return 20 digits of the embedded sample, and one written with each of four pens."""
    random = np.random.default_rng(0)
    images = digits().validation.images[:20]
    pictures = [clean_pictures.picture(image, random) for image in images]
    return pictures + [drawn([pad._three()], pen) for pen in (12, 24, 40, 60)]


def letter_pictures():
    """Return 20 Tamil letters written with three pens, ஃ among them."""
    all_strokes = alphabet.pen_strokes()[3::8]
    return [
        drawn([(s * (1, -1)).tolist() for s in strokes], 12 + 24 * (i % 3))
        for i, strokes in enumerate(all_strokes)
    ]


def drawn(strokes, pen):
    grey = np.asarray(pad._written(strokes, clean_pictures.SIDE, pen))
    return np.dstack([grey] * 3)


@functools.cache
def photos():
    """Return a digit in each scene, beside a stamp, boxed, hollow, twice; and what shows none."""
    images = digits().validation.images
    files = [scenes.picture(images[i], scene, 3) for i, scene in enumerate(scenes.SCENES)]
    files += [scenes.pair((images[1], images[2]), 0, below) for below in (False, True)]
    boxed = Image.fromarray(drawn([pad._three()], 30)).resize((280, 280))
    plain = boxed.resize((140, 140))
    ImageDraw.Draw(boxed).rectangle((30, 20, 250, 260), outline="black", width=5)
    hollow, noise = Image.new("L", (300, 360), 255), np.random.default_rng(0)
    seven = [(60, 60), (240, 60), (240, 100), (140, 310), (90, 310), (180, 105), (60, 105)]
    ImageDraw.Draw(hollow).line([*seven, *seven[:2]], 0, 6, joint="curve")
    sheets = [np.full((560, 560), 255, np.uint8) for _ in range(6)]
    speck, marks, filled, clipped, dash, _ = sheets  # the last stays empty
    dash[270:300, 80:480] = 20  # wider than a digit
    speck[300:302, 200:202], filled[100:400, 150:450], clipped[:200, 240:320] = 240, 20, 20
    for top, left in np.ndindex(4, 5):
        marks[60 + 120 * top :, 60 + 100 * left :][:20, :20] = 20
    stamped, hatch = Image.new("L", (500, 300), 255), Image.new("L", (300, 300), 255)
    stamped.paste(plain, (20, 140))
    ImageDraw.Draw(stamped).rectangle((430, 20, 470, 60), 0)
    for step in (90, 150, 210):
        ImageDraw.Draw(hatch).line((step, 40, step - 20, 260), 0, 9)
        ImageDraw.Draw(hatch).line((40, step, 260, step), 0, 9)
    beside = [Image.new("L", (400, 400), 255) for _ in range(3)]
    for sheet in beside:
        sheet.paste(plain, (90, 120))
    bracketed, printed, crossed_out = map(ImageDraw.Draw, beside)
    bracketed.text((50, 80), "(      )", 0, ImageFont.load_default(160))
    printed.text((20, 300), "\n".join(["print, seen from afar" * 3] * 6), 0)
    crossed_out.line(clean_pictures.SCRIBBLE, 0, 5)
    files += [noise.integers(0, 256, (90, 120), np.uint8), *sheets, stamped, hatch, *beside]
    return [np.asarray(opened(file)[0]) for file in (*files, boxed, hollow)]


@promise.site("The playground prepares drawings, and refuses them, as Python does")
@pytest.mark.parametrize(
    ("form", "make"),
    [("mnist", digit_pictures), ("tamil", letter_pictures), ("tamil, smaller", letter_pictures),
     ("mnist", photos)],
)  # fmt: skip
def test_a_picture_is_prepared_or_refused_as_in_python(form, make, tmp_path):
    card, pictures, drawings = FORMS[form], make(), []
    for picture, answer in zip(pictures, read_in_node(pictures, card, tmp_path), strict=True):
        try:
            steps = ink.to_form(picture, **card)
        except ink.InkError as refused:
            assert answer == {"error": str(refused)} and make is photos  # in the same words
            continue
        difference = np.abs(np.array(answer["normalised"]) - steps.form.ravel().astype(int))
        assert difference.mean() < 1, difference.reshape(card["side"], -1)
        assert answer["doubt"] == pytest.approx(steps.doubt, abs=0.02)
        if make is not photos:
            assert answer["pen"] == pytest.approx(steps.pen, abs=0.004)
            drawings.append(difference.max() <= 2)
    assert sum(drawings) >= 0.95 * len(drawings)


READ_IN_NODE = """
import { reader } from "./reader.js";

const { read, readAll } = await reader("lenet");
const [one, outline, two] = pictures;
const sure = [(await read(one)).sure, (await read(outline)).sure];
const all = (await readAll(two)).map(({ choices }) => choices[0].text);
writeFileSync("answers.json", JSON.stringify([...sure, all]));
"""
RUNTIME = """
export class Tensor {}
const about = { card: CARD, transliterations: [], strokes: [] };
export const fetched = async () => ({ arrayBuffer: async () => null, json: async () => about });
const found = { probabilities: { data: [0.3, 0.7] }, strangeness: { data: [0.4] } };
export const session = async () => ({ run: async () => found });
"""


@pytest.mark.parametrize(("threshold", "strangest"), [(0.6, 0.5), (0.8, 1.0), (0.6, 0.3)])
def test_an_answer_is_sure_as_the_card_and_the_doubt_say(threshold, strangest, tmp_path):
    pictures = [photos()[i] for i in (8, -1, len(scenes.SCENES))]
    card = FORMS["mnist"] | {"classes": ["0", "1"], "threshold": threshold, "strangest": strangest}
    runtime = RUNTIME.replace("CARD", json.dumps(card))
    sure, outline, both = read_in_node(pictures, card, tmp_path, READ_IN_NODE, runtime=runtime)
    assert sure == (threshold < 0.7 and strangest > 0.4)
    assert not outline and both == ["1", "1"]


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
    for path in scripts - {
        playground.WEB / f"{name}.js" for name in ("ink", "paper")
    }:  # refuse by `shapes`
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"/\*[\s\S]*?\*/|(?<!:)//.*", "", text)
        text = re.sub(r'class: ".*?"|className = ".*?"|new Error\(.*?\)', "", text)
        strings = [part for found in re.findall(r'"(.*?)"|`(.*?)`', text) for part in found]
        prose = re.compile(r"^[A-Z][a-z]+( |$)|(^| )[a-z]{2,} [a-z]{2,}")
        said = {one for one in strings if prose.search(one)}
        guesses = {"Your guess", "Was your guess"}  # of chapters, which are in English
        assert said <= {"Escape", "English"} | guesses, path.name


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Node packages as far as the playground needs them."""
    packages = tmp_path / "node_modules"
    lay(packages / "onnxruntime-web" / "dist", dict.fromkeys(playground.RUNTIME, "stand-in"))
    monkeypatch.setattr(playground, "PACKAGES", packages)
    return packages


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
    lenet, tamil_ = (
        json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("lenet", "compact_cnn")
    )
    assert lenet["card"]["classes"] == list("0123456789") and not any(lenet["strokes"])
    assert lenet["origin"] == "trained here (smoke run, sample data)"
    assert tamil_["card"]["threshold"] == 0.9
    assert tamil_["transliterations"][0] == "a" and len(tamil_["strokes"]) == 10
    assert all(len(point) == 2 for stroke in tamil_["strokes"][0] for point in stroke)


def test_says_what_is_damaged_or_missing(tmp_path, packages, artifacts):
    (artifacts / "quick-cpu" / "lenet.onnx").write_bytes(b"no model")
    out = tmp_path / "playground"
    assert re.match(r"the playground: .*lenet\.onnx.*Delete it", playground.copy(out))
    shutil.rmtree(artifacts)
    assert re.match(r"the playground: .*make run", playground.copy(out))
    shutil.rmtree(packages)
    assert re.match(r"the playground: .*make site", playground.copy(out))
    assert not out.exists()


@promise.site("The playground can be built right after a clone, with nothing trained")
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
