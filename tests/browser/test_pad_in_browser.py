"""The drawing pad as a learner has it: JupyterLab, a kernel, a mouse, a finger, a keyboard."""

import pytest
from drawing import (
    BY_HAND,
    LINES,
    Hand,
    bring,
    brings,
    digits_by_mouse,
    finger,
    headline,
    ink,
    kernel_idle,
    one_by_keyboard,
    run_cell,
    shot,
    shot_of,
    strokes_of,
    tamil_strokes,
    write,
)
from PIL import Image


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


@BY_HAND
def test_reads_what_the_mouse_writes(page, easy):
    digits_by_mouse(page, easy, "mouse")


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


@BY_HAND
def test_keyboard_alone(page):
    one_by_keyboard(page)
    shot(page, "keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Clear"
    page.keyboard.press("Enter")
    assert ink(page) == 0
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1  # no key reached the notebook
    assert page.locator(".jp-mod-editMode").count() == 0


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
        assert kept.size == (560, 560)
    shot(page, "kept")


def test_a_picture_is_pasted_or_dropped(page, easy):
    brings(page, easy)
    bring(page, shot_of(easy["3"]), "drop")
    headline(page)
    assert ink(page) > 0
    said = page.locator(".nbh-paper").get_attribute("aria-description")
    assert "pasted with Ctrl+V" in said
    shot(page, "pasted")


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


@BY_HAND
def test_a_finger_draws_in_the_dark_theme(show, easy):
    page = show(theme="JupyterLab Dark", has_touch=True, color_scheme="dark")
    text, image = next(iter(easy.items()))
    before = page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollTop")
    finger(page, strokes_of(image))
    assert text in headline(page)
    after = page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollTop")
    assert after == before  # the finger drew and did not scroll
    shot(page, "finger_dark")
    page.keyboard.press("Control+b")  # JupyterLab's side bar; the pad lets such keys pass
    page.locator(".jp-FileBrowser").wait_for(state="hidden")
    page.set_viewport_size({"width": 375, "height": 900})
    page.locator(".nbh-tools").scroll_into_view_if_needed()
    edges = page.locator(".nbh-pad").evaluate("pad => [pad.scrollWidth, pad.clientWidth]")
    assert edges[0] <= edges[1]
    shot(page, "phone_dark")


@BY_HAND
def test_only_the_pen_draws_where_a_hand_rests(show):
    page = show(has_touch=True)
    page.locator(".nbh-paper").scroll_into_view_if_needed()
    hand = Hand(page)
    hand.touch("Start", (250, 250))  # the palm comes first, and stays
    hand.touch("Move", (250, 240))
    hand.pen("Pressed", (140, 60))
    for y in range(70, 221, 10):
        hand.pen("Moved", (140, y))
    hand.touch("Move", (240, 230))
    hand.pen("Released", (140, 220))
    assert "1" in headline(page)
    pen_alone = ink(page)
    hand.touch("End")
    hand.touch("Start", (60, 250))  # the hand again, shortly after the pen
    hand.touch("Move", (60, 200))
    hand.touch("End")
    assert ink(page) == pen_alone
    page.wait_for_timeout(1200)  # a finger may draw now
    finger(page, LINES[:1])
    assert ink(page) > pen_alone


def test_a_cancelled_touch_leaves_nothing(show):
    page = show(has_touch=True)
    page.locator(".nbh-paper").scroll_into_view_if_needed()
    hand = Hand(page)
    hand.touch("Start", (60, 60))
    hand.touch("Move", (200, 60))
    assert ink(page) > 0
    hand.touch("Cancel")  # the browser has taken it for a palm or a gesture
    assert ink(page) == 0 and page.get_by_role("button", name="Undo").is_disabled()
    finger(page, LINES[1:])  # and the next one draws
    assert "1" in headline(page)


def test_practice_counts_the_first_check_of_each_digit(show, easy):
    page = show(f"Practice(reader, letters={sorted(easy)!r}, seed=1)")
    score = page.locator(".nbh-score")
    asked = page.locator(".nbh-wanted .nbh-glyph").inner_text()
    shot(page, "practice")
    write(page, strokes_of(easy[asked]))
    assert page.locator(".nbh-big").count() == 0  # not before it is asked for
    page.get_by_role("button", name="Check", exact=True).click()
    assert headline(page).startswith("Right: read as")
    assert score.inner_text() == "1 of 1 right so far"
    shot(page, "practice_right")
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
    page.locator(".nbh-message", has_text="No answer from the kernel").wait_for(timeout=10_000)
    assert page.locator(".nbh-caption").inner_text() == "No answer"
    shot(page, "restarted")
    run_cell(page)
    write(page, strokes_of(image))
    assert text in headline(page)


def test_tamil(show):
    page = show(model="tamil")
    write(page, tamil_strokes(0))
    headline(page)
    assert page.locator(".nbh-choices svg").first.get_attribute("aria-label") == "அ, a"
    shot(page, "tamil")
