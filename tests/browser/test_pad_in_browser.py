"""The drawing pad as a learner has it: JupyterLab, a kernel, a mouse, a finger, a keyboard."""

import re

import pytest
from drawing import (
    headline,
    ink,
    kernel_idle,
    one_by_keyboard,
    picture,
    placed,
    run_cell,
    strokes_of,
    write,
)
from PIL import Image

from handwriting import models
from nbhelpers import sources
from nbhelpers.tamil import alphabet

LINES = [[(60, 60), (220, 60)], [(140, 40), (140, 240)]]
SILENT = "No answer from the kernel"


@pytest.fixture(scope="module")
def desk(show):
    """A pad that several tests draw on, one after the other."""
    return show("Pad({'Digits': reader, 'Other digits': reader})")


@pytest.fixture
def page(desk):
    """The same, with nothing drawn."""
    if desk.get_by_role("button", name="Clear").is_enabled():
        desk.get_by_role("button", name="Clear").click()
    return desk


@pytest.fixture(scope="module")
def easy(lenet):
    """Held-out images of four digits that the small LeNet is sure about, by their text."""
    folder, held = lenet
    reader = models.reader("lenet", folder=folder)
    chosen = {}
    for image, label in zip(held.images, held.labels.tolist(), strict=True):
        text = held.classes[label]
        if text in "2367" and text not in chosen:
            answer = reader.read(255 - image.numpy())
            if answer.sure and answer.choices[0].text == text:
                chosen[text] = image
    assert len(chosen) == 4
    return chosen


@pytest.mark.promise(
    "Site and playground",
    "Pad and playground work by mouse, finger and keyboard, in light and dark",
)
def test_reads_what_the_mouse_writes(page, easy):
    picture(page, "empty")
    for text, image in easy.items():
        write(page, strokes_of(image))
        said = headline(page)
        picture(page, f"mouse_{text}")
        assert re.search(rf"(Read as|Not sure between)\s+{text}\s", said), said
        rows = page.locator(".nbh-choices li")
        assert rows.count() == 5 and rows.first.inner_text().startswith(text)
        shares = [
            float(re.sub(r"[^\d]", "", t)) for t in rows.locator(".nbh-percent").all_inner_texts()
        ]
        assert shares == sorted(shares, reverse=True)
        seen = page.get_by_alt_text("What the model sees: your digit at 28 by 28 pixels")
        assert seen.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [28, 28]
        page.get_by_role("button", name="Clear").click()
    assert page.locator(".nbh-caption").inner_text() == "Nothing drawn yet"


def test_undo_clear_and_pen_width(page):
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    assert undo.is_disabled() and clear.is_disabled()
    write(page, LINES[:1])
    first = ink(page)
    write(page, LINES[1:])
    both = ink(page)
    assert both > first > 0
    undo.click()
    assert ink(page) == first
    page.locator(".nbh-paper").focus()
    page.keyboard.press("Control+z")
    assert ink(page) == 0 and undo.is_disabled()
    width = page.get_by_label("Pen width")
    before = width.input_value()
    width.fill("30")
    write(page, LINES)
    assert ink(page) > 1.3 * both
    clear.click()
    assert ink(page) == 0
    width.fill(before)


@pytest.mark.promise(
    "Site and playground",
    "Pad and playground work by mouse, finger and keyboard, in light and dark",
)
def test_keyboard_alone(page):
    one_by_keyboard(page)
    picture(page, "keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Clear"
    page.keyboard.press("Enter")
    assert ink(page) == 0
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1  # no key reached the notebook
    assert page.locator(".jp-mod-editMode").count() == 0


def test_choosing_another_reader_reads_again(page, easy):
    write(page, strokes_of(next(iter(easy.values()))))
    said = headline(page)
    page.locator(".nbh-switch").get_by_text("Other digits").click()
    assert headline(page) == said
    page.locator(".nbh-switch").get_by_text("Digits", exact=True).click()


def test_a_drawing_is_kept_once(page, lab):
    folder = lab[1] / "data" / "mine" / "mnist" / "4"
    write(page, LINES)
    headline(page)
    page.get_by_label("Keep as").select_option("4")
    keep = page.get_by_role("button", name="Keep")
    keep.click()
    page.locator(".nbh-kept", has_text="Kept as").wait_for()
    assert keep.is_disabled()
    (path,) = folder.glob("*.png")
    with Image.open(path) as kept:
        assert kept.text["Label"] == "4" and kept.size == (560, 560)
    picture(page, "kept")


def test_what_is_read_goes_to_a_screen_reader(page, easy):
    status = page.get_by_role("status").filter(has=page.locator(".nbh-headline"))
    write(page, strokes_of(next(iter(easy.values()))))
    assert headline(page) in status.inner_text()
    paper = page.get_by_role("application", name="Paper to draw on")
    assert "arrow keys" in paper.get_attribute("aria-description")
    names = page.locator(".nbh-pad :is(button, input, select)").evaluate_all(
        "all => all.map(e => e.textContent || e.ariaLabel || e.labels[0]?.textContent)"
    )
    assert all(names)


@pytest.mark.promise(
    "Site and playground",
    "Pad and playground work by mouse, finger and keyboard, in light and dark",
)
def test_a_finger_draws_in_the_dark_theme(show, easy):
    page = show(theme="JupyterLab Dark", has_touch=True, color_scheme="dark")
    touch = page.context.new_cdp_session(page)
    text, image = next(iter(easy.items()))
    before = page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollTop")
    for stroke in placed(page, strokes_of(image)):
        for i, (x, y) in enumerate(stroke):
            kind = "touchMove" if i else "touchStart"
            touch.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            )
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert text in headline(page)
    after = page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollTop")
    assert after == before  # the finger drew and did not scroll
    picture(page, "finger_dark")
    page.keyboard.press("Control+b")  # JupyterLab's side bar; the pad lets such keys pass
    page.locator(".jp-FileBrowser").wait_for(state="hidden")
    page.set_viewport_size({"width": 375, "height": 900})
    page.locator(".nbh-tools").scroll_into_view_if_needed()
    edges = page.locator(".nbh-pad").evaluate("pad => [pad.scrollWidth, pad.clientWidth]")
    assert edges[0] <= edges[1]
    picture(page, "phone_dark")


def test_practice_counts_the_first_check_of_each_digit(show, easy):
    page = show(f"Practice(reader, letters={sorted(easy)!r}, seed=1)")
    score = page.locator(".nbh-score")
    asked = page.locator(".nbh-wanted .nbh-glyph").inner_text()
    picture(page, "practice")
    write(page, strokes_of(easy[asked]))
    assert page.locator(".nbh-big").count() == 0  # not before it is asked for
    page.get_by_role("button", name="Check", exact=True).click()
    assert headline(page).startswith("Right: read as")
    assert score.inner_text() == "1 of 1 right so far"
    picture(page, "practice_right")
    page.get_by_role("button", name="Next digit").click()
    page.locator(".nbh-caption", has_text="Not checked yet").wait_for()
    page.wait_for_timeout(500)
    now = page.locator(".nbh-wanted .nbh-glyph").inner_text()
    assert now != asked and ink(page) == 0
    for _ in range(2):  # the second check of the same digit does not count
        write(page, strokes_of(easy[asked]))
        page.get_by_role("button", name="Check", exact=True).click()
        assert headline(page).startswith("Read as")
        assert score.inner_text() == "1 of 2 right so far"
        page.get_by_role("button", name="Clear").click()


def test_reload_and_restart(show, easy):
    page = show()
    text, image = next(iter(easy.items()))
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    page.reload(wait_until="domcontentloaded")
    page.locator(".nbh-paper").wait_for()
    write(page, strokes_of(image))
    assert text in headline(page)  # the kernel goes on, and so does the pad

    page.get_by_text("Kernel", exact=True).first.click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    kernel_idle(page)
    page.wait_for_timeout(1000)
    write(page, LINES[:1])
    page.locator(".nbh-message", has_text=SILENT).wait_for(timeout=10_000)
    assert page.locator(".nbh-caption").inner_text() == "No answer"
    picture(page, "restarted")
    run_cell(page)
    write(page, strokes_of(image))
    assert text in headline(page)


def test_serves_a_page_without_a_kernel(new_page):
    """The same file in a plain page: the page gets pictures and answers by itself."""
    page = new_page(width=375, height=900)
    static = sources.project_folder() / "handwriting" / "web"
    css, js = ((static / f"pad.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    strokes = [[[int(x), int(-y)] for x, y in s] for s in alphabet.pen_strokes()[0]]
    page.set_content(
        f"<style>{css}</style><div id=root></div><script type=module>{js}\n"
        "window.createPad = createPad;</script>"
    )
    page.wait_for_function("() => Boolean(window.createPad)")
    page.evaluate(
        """(strokes) => {
          const sources = [{ name: "Tamil", noun: "letter", labels: [["அ", "a"], ["ஆ", "ā"]] }];
          window.pad = createPad(document.getElementById("root"), {
            sources, patience: 200, silence: "Still waiting.",
            onPicture: (blob, about) => { window.got = { type: blob.type, ...about }; },
          });
          window.answer = () => pad.show({
            number: got.number, sure: true, choices: [
              { text: "அ", transliteration: "a", probability: 0.9, strokes },
              { text: "ஆ", transliteration: "ā", probability: 0.1 },
            ],
          });
        }""",
        strokes,
    )
    write(page, LINES)
    page.get_by_text("Still waiting.").wait_for()
    assert page.evaluate("window.got.type") == "image/png"
    page.evaluate("window.answer()")
    assert page.get_by_role("img", name="அ, a").count() == 2  # drawn, so no font is needed
    assert page.get_by_text("Still waiting.").count() == 0
    late = page.evaluate("window.got.number")
    write(page, LINES[:1])
    page.evaluate("n => pad.show({ number: n, error: 'late' })", late)
    assert page.get_by_text("late").count() == 0  # an answer to an earlier picture is dropped
    assert page.get_by_role("button", name="Keep").count() == 0
    picture(page, "plain_page")
    page.evaluate("pad.destroy()")
    assert page.locator("#root").inner_html() == ""


def test_tamil(show, monkeypatch):
    monkeypatch.delenv("NBHELPERS_ARTIFACTS")  # a model of this project is only read here
    try:
        models.reader("tamil")
    except (sources.Unavailable, models.ModelError) as error:
        pytest.skip(f"no Tamil model here: {error}")
    page = show(more='reader = models.reader("tamil")')
    strokes = alphabet.pen_strokes()[0]
    points = [p for stroke in strokes for p in stroke.tolist()]
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    scale = 200 / max(right - left, high - low)
    write(
        page,
        [[(40 + scale * (x - left), 60 + scale * (high - y)) for x, y in s] for s in strokes],
    )
    headline(page)
    assert page.locator(".nbh-choices svg").first.get_attribute("aria-label") == "அ, a"
    picture(page, "tamil")
