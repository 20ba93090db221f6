"""The playground as a visitor has it: a file server, a browser, and no Python behind it."""

import base64
import io
import re
import zipfile

import clean_pictures
import numpy as np
import promise
import pytest
from drawing import (
    AXE,
    BY_HAND,
    LINES,
    PICTURES,
    ROOT,
    SOUND,
    bring,
    brings,
    digits_by_mouse,
    finger,
    headline,
    one_by_keyboard,
    served,
    shot,
    strokes_of,
    tamil_strokes,
    watch,
    write,
)
from PIL import Image

from handwriting import ink, mine, playground, scenes

IMAGES = 500  # of each data set
AGREEMENT = 0.995
FIRST_SECONDS, LATER_SECONDS = 3, 0.05  # wanted
SLOW = 4  # times, for a busy machine
PAGE = """<!DOCTYPE html>
<html lang="en"{theme}>
<head>
<meta charset="utf-8"><title>Playground</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  :root {{ color-scheme: light dark; }}
  [data-theme="light"] {{ color-scheme: light; }}
  [data-theme="dark"] {{ color-scheme: dark; }}
  body {{ max-width: 760px; margin: 1rem auto; padding: 0 1rem; font-family: system-ui; }}
</style>
</head>
<body><main><section id="playground"><h1>Playground</h1>{body}</section></main></body>
</html>
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with the page, and the address that serves it."""
    folder = tmp_path_factory.mktemp("site")
    if said := playground.copy(folder / "playground"):
        pytest.skip(said)
    text = (ROOT / "course" / "site" / "playground.md").read_text(encoding="utf-8")
    body = "\n".join(re.findall(r"```\{raw\} html\n(.*?)```", text, re.DOTALL))
    for name, theme in (("playground", ""), ("dark", ' data-theme="dark"')):
        (folder / f"{name}.html").write_text(PAGE.format(theme=theme, body=body), encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with served(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def visit(new_page, site):
    """A function that opens the page; no error and no request to elsewhere may come of it."""
    wrong = []

    def opened(name="playground", **options):
        page = new_page(**options)
        watch(page, site[1], wrong)
        page.goto(f"{site[1]}/{name}.html", wait_until="commit")
        page.locator(".nbh-paper").wait_for()
        return page

    yield opened
    assert not wrong


@pytest.fixture(scope="module")
def desk(visit):
    """A page that several tests draw on, one after the other."""
    return visit(width=1280)


@pytest.fixture
def page(desk):
    """The same, with nothing drawn and digits chosen."""
    desk.locator(".nbh-switch").get_by_text("Digits").click()
    if desk.get_by_role("button", name="Clear").is_enabled():
        desk.get_by_role("button", name="Clear").click()
    return desk


@promise.site("The playground answers 500 test images as Python does, 99.5 % of them at least")
@pytest.mark.parametrize("key", ["digits", "tamil"])
def test_answers_are_those_of_python(key, page, site, readers, data_sets):
    """500 test images, as the pad would export them."""
    reader, test = readers[key], data_sets[key].test
    card = reader.card
    random = np.random.default_rng(0)
    rows = random.choice(len(test), min(IMAGES, len(test)), replace=False)
    folder = site[0] / "pictures" / key
    folder.mkdir(parents=True)
    expected = []
    for number, row in enumerate(rows):
        picture = clean_pictures.picture(test.images[row], random, card.proportions)
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG", compress_level=1)
        (folder / f"{number}.png").write_bytes(content.getvalue())
        try:
            expected.append(reader.read(picture))
        except ink.InkError:
            expected.append(None)
    answers = page.evaluate(
        """async ([name, folder, count]) => {
          const { reader } = await import("/playground/reader.js");
          const { card, probabilities } = await reader(name);
          const { toForm, InkError } = await import("/playground/ink.js");
          const canvas = document.createElement("canvas");
          const pencil = canvas.getContext("2d", { willReadFrequently: true });
          const answers = [];
          for (let i = 0; i < count; i++) {
            const blob = await (await fetch(`${folder}/${i}.png`)).blob();
            const bitmap = await createImageBitmap(blob);
            [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
            pencil.drawImage(bitmap, 0, 0);
            const picture = pencil.getImageData(0, 0, canvas.width, canvas.height);
            try {
              const { normalised } = toForm(picture, card);
              const answer = Array.from(await probabilities(normalised));
              answers.push([btoa(String.fromCharCode(...normalised.data)), answer]);
            } catch (error) {
              if (!(error instanceof InkError)) throw error;
              answers.push(null);
            }
          }
          return answers;
        }""",
        [card.name, f"/pictures/{key}", len(rows)],
    )
    same, differences = 0, []
    for ours, theirs in zip(expected, answers, strict=True):
        if ours is None or theirs is None:  # refused
            same += ours is theirs
            continue
        image = np.frombuffer(base64.b64decode(theirs[0]), np.uint8)
        differences.append(np.abs(image - ours.steps.form.ravel().astype(int)))
        same += ours.choices[0].text == card.classes[int(np.argmax(theirs[1]))]
    assert same >= AGREEMENT * len(rows), f"{same} of {len(rows)} answers are Python's"
    assert np.mean(differences) < 0.5


@BY_HAND
def test_digits_are_read_as_the_mouse_writes_them(page, easy):
    digits_by_mouse(page, easy, "playground")


def test_tamil_letters_are_read_and_drawn_without_a_font(page, readers):
    page.locator(".nbh-switch").get_by_text("Tamil letters").click()
    reader, read = readers["tamil"], []
    for number in range(0, 156, 13):
        write(page, tamil_strokes(number))
        headline(page)
        glyphs = page.locator(".nbh-choices svg")
        assert glyphs.count() == 5
        first = glyphs.first.get_attribute("aria-label").split(", ")[0]
        read.append(first == reader.card.classes[number])
        assert first in reader.card.classes
        if number == 0:
            shot(page, "playground_tamil")
        page.get_by_role("button", name="Clear").click()
    if reader.card.data["source"] == "full":
        assert sum(read) >= 0.6 * len(read)


@BY_HAND
def test_keyboard_alone(page):
    one_by_keyboard(page)
    shot(page, "playground_keyboard")


def test_a_picture_is_pasted_dropped_or_chosen(page, easy):
    brings(page, easy)
    page.get_by_role("button", name="Clear").click()
    bring(page, scenes.pair((easy["2"], easy["7"]), 0), "choose")
    assert re.search(r"2 characters, read one by one\s+2\s+(\?\s+)?7", headline(page))
    shot(page, "playground_two")


@BY_HAND
def test_a_finger_draws_on_a_phone(visit, easy):
    page = visit("dark", width=375, height=812, has_touch=True)
    text, image = next(iter(easy.items()))
    finger(page, strokes_of(image))
    assert text in headline(page)
    shot(page, "playground_phone_dark")
    wide, room = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= room


@BY_HAND
def test_light_and_dark_follow_the_page(visit, easy):
    page = visit(width=1280, color_scheme="dark")
    write(page, strokes_of(easy["3"]))
    headline(page)
    back = "getComputedStyle(document.querySelector('.nbh-inner')).backgroundColor"
    assert page.evaluate(back) == "rgb(25, 28, 33)"
    shot(page, "playground_dark")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_function(f"{back} === 'rgb(255, 255, 255)'")
    shot(page, "playground_light_in_dark")


def test_a_tamil_reader_is_spoken_to_in_tamil(visit, easy):
    page = visit(width=375, locale="ta-IN")
    pad = page.locator(".nbh-pad")
    write(page, strokes_of(easy["3"]))
    assert "3" in headline(page) and "படித்தது" in pad.inner_text()
    assert pad.get_attribute("lang") == "ta" and page.locator("html").get_attribute("lang") == "en"
    assert not re.search("[A-Za-z]{2}", pad.inner_text())
    assert page.locator(".language a").get_attribute("href").endswith("/CONTRIBUTING.html")
    page.get_by_role("button", name="English").click()
    assert "Read as" in pad.inner_text() and pad.get_attribute("lang") == "en"
    page.reload()
    pad.wait_for()
    assert pad.get_attribute("lang") == "en"  # what was chosen is remembered


def test_a_letter_is_watched_traced_and_written_alone(visit):
    page = visit("dark", width=375, reduced_motion="reduce")
    page.locator("#learn-here > summary").press("Enter")
    part, guide = page.locator("#learn-here"), page.locator("#learn-here .nbh-guide")
    part.get_by_text("not from teachers").wait_for()
    part.locator(".hand-buttons select").select_option("2")
    assert guide.get_attribute("aria-label") == "The letter இ in 1 strokes"
    for stage in ("Trace", "Write alone"):
        part.get_by_role("button", name=stage).press("Enter")
        write(page, tamil_strokes(2), "#learn-here")
        part.get_by_role("button", name="Check").click()
        part.get_by_text("Right: read as").wait_for()
        shot(page, f"playground_learn_{stage[:5].lower()}")
        part.get_by_role("button", name="Clear").click()
    assert guide.count() == 0 and "1 of 1 right so far" in part.inner_text()
    part.get_by_role("button", name="Next letter").click()
    assert guide.get_attribute("class").startswith("learn-watch")


def test_a_hand_of_your_own_is_learned_kept_and_exported(visit, readers, tmp_path):
    page = visit(width=375)
    page.locator("#hand-here > summary").press("Enter")
    part, texts = page.locator("#hand-here"), readers["tamil"].card.classes
    train = part.get_by_role("button", name="Train")
    for count in range(12):
        assert train.is_disabled()
        asked = part.locator(".nbh-wanted svg").get_attribute("aria-label").split(",")[0]
        write(page, tamil_strokes(texts.index(asked)), "#hand-here")
        part.get_by_role("button", name="Keep", exact=True).click()
        part.get_by_text(f"{count + 1} of 30").wait_for()
    train.click()
    table = part.locator("table")
    table.wait_for(timeout=300_000)
    before, alone, mixed = (
        int(cell.split()[0]) for cell in table.locator("td").all_inner_texts()[4:]
    )
    assert alone < before and mixed > alone and "of 12 (" in table.inner_text()
    shot(page, "playground_hand")
    with page.expect_download() as saved:
        part.get_by_role("button", name="Download").click()
    with zipfile.ZipFile(saved.value.path()) as packed:
        packed.extractall(tmp_path)
    own = mine.load("tamil", texts, tmp_path / "mine")
    assert len(own) == 12 and own.labels.bincount().max() == 2
    page.reload()
    page.locator("#hand-here > summary").press("Enter")
    part.get_by_role("button", name="Delete", exact=False).first.press("Enter")
    part.get_by_text("11 of 30").wait_for()
    part.get_by_role("button", name="Delete all").click()
    part.get_by_text("0 of 30").wait_for()
    assert page.evaluate("localStorage.getItem('course-hand')") is None


@promise.speed("The playground answers a stroke within 0.2 seconds")
def test_answers_come_at_once(visit, easy):
    page = visit(width=1280)
    page.evaluate(
        """() => {
          window.times = [];
          let lifted;
          addEventListener("pointerup", () => { lifted = performance.now(); }, true);
          new MutationObserver(() => {
            if (!document.querySelector(".nbh-big")) return;
            requestAnimationFrame(() => setTimeout(() => {
              times.push({ opened: performance.now(), shown: performance.now() - lifted });
            }));
          }).observe(document.querySelector(".nbh-headline"), { childList: true });
        }"""
    )
    write(page, LINES[:1])
    headline(page)
    assert page.evaluate("times[0].opened") < 1000 * SLOW * FIRST_SECONDS
    page.get_by_role("button", name="Clear").click()
    for name in ("Digits", "Tamil letters"):
        page.locator(".nbh-switch").get_by_text(name).click()
        page.evaluate("times.length = 0")
        for image in easy.values():
            write(page, strokes_of(image)[:1])
            headline(page)
            page.get_by_role("button", name="Clear").click()
        shown = np.median(page.evaluate("times.map((one) => one.shown)"))
        assert shown < 1000 * SLOW * LATER_SECONDS, f"{name}: {shown:.0f} ms"


def test_a_page_opened_as_a_file_says_how_to_open_it(site, new_page):
    page = new_page()
    page.goto((site[0] / "playground.html").as_uri())
    note = page.locator(".playground-note")
    page.get_by_text("python -m http.server -d build/site").wait_for()
    assert "http://localhost:8000/playground.html" in note.inner_text()
    shot(page, "playground_file")


def test_a_missing_model_is_told(site, new_page):
    page = new_page()
    page.route("**/lenet.onnx", lambda route: route.fulfill(status=404))
    page.goto(f"{site[1]}/playground.html")
    page.get_by_text("lenet.onnx: HTTP status 404").wait_for()


@SOUND
def test_axe_finds_no_fault(visit, easy):
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `make site` with Node.js")
    for name in ("playground", "dark"):
        page = visit(name, width=1280)
        for step in (None, easy["3"], "folded parts"):
            if step == "folded parts":
                for part in page.locator("details > summary").all():
                    part.click()
                page.locator("#hand-here .nbh-paper").wait_for()
            elif step is not None:
                write(page, strokes_of(step))
                headline(page)
            page.add_script_tag(path=AXE)
            faults = page.evaluate("axe.run().then((found) => found.violations)")
            assert not faults, [(f["id"], [n["html"] for n in f["nodes"]]) for f in faults]
