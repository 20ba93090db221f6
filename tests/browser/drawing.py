"""How the tests in this folder run a cell, write on the pad and keep pictures of it."""

import base64
import contextlib
import functools
import http.server
import io
import re
import threading
from pathlib import Path

import numpy as np
import promise
from PIL import Image

from nbhelpers.tamil import alphabet

BY_HAND = promise.site("Pad and playground work by mouse, finger and keyboard, in light and dark")
SOUND = promise.site(
    "In a browser no page has an error, a foreign request or a serious barrier (axe)"
)

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "course" / "site" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = ROOT / "build" / "browser"
SIDE = 280  # of the paper, in its own units
SECONDS = 60  # for the slowest step on a busy machine
LINES = [[(60, 60), (220, 60)], [(140, 40), (140, 240)]]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(ConnectionError):  # a page that was left before all had come
            super().copyfile(source, outputfile)


@contextlib.contextmanager
def served(folder):
    """Serve a folder; give the address."""
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def watch(page, home, faults):
    """Note what the page complains of, and requests that fail or go elsewhere than to `home`."""

    def note(kind, text):
        faults.append(f"{page.url}: {kind}: {text}")

    ours = (home, "data:", "blob:")
    page.on("console", lambda m: m.type in ("error", "warning") and note(m.type, m.text))
    page.on("requestfailed", lambda r: "ABORTED" in r.failure or note("failed", r.url))
    page.on("response", lambda r: r.status >= 400 and note(str(r.status), r.url))
    page.on("request", lambda r: r.url.startswith(ours) or note("foreign", r.url))


def kernel_idle(page):
    """Wait until the kernel has nothing to do."""
    indicator = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first
    # A toolbar with little room hides the indicator behind its last button, but keeps it in step.
    indicator.wait_for(state="attached")


def run_cell(page):
    """Run the notebook's only cell, and wait for the pad."""
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    kernel_idle(page)
    page.keyboard.press("Control+Enter")
    page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for(state="detached")
    page.locator(".nbh-paper").wait_for()


def strokes_of(image):
    """Return how a pen might write an image: lists of (x, y) in units of the paper.

    The lines are one pixel thin (skeletonised) and followed from neighbour to neighbour; where the
    next pixel is farther away the pen is lifted.

    Args:
        image: uint8 `[28, 28]`, ink is 255.
    """
    from skimage.morphology import skeletonize
    from skimage.transform import resize

    large = resize(image.numpy() / 255.0, (SIDE, SIDE), order=3)
    left = [tuple(point) for point in np.argwhere(skeletonize(large > 0.4))]
    ends = [p for p in left if sum(abs(np.subtract(left, p)).max(1) == 1) == 1]
    strokes, at = [], (ends or left)[0]
    while left:
        strokes.append([])
        while True:
            left.remove(at)
            strokes[-1].append((int(at[1]), int(at[0])))
            if not left:
                break
            distance = np.hypot(*np.subtract(left, at).T)
            at = left[int(distance.argmin())]
            if distance.min() > 3:
                break
    return [stroke[::4] + stroke[-1:] for stroke in strokes if len(stroke) > 8]


def tamil_strokes(number):
    """Return how a pen writes a class, in units of the paper."""
    strokes = alphabet.pen_strokes()[number]
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    scale = 200 / (high - low).max()
    room = (SIDE - scale * (high - low)) / 2
    return [
        [(room[0] + scale * (x - low[0]), room[1] + scale * (high[1] - y)) for x, y in stroke]
        for stroke in strokes
    ]


def placed(page, strokes, within=""):
    """Return strokes in pixels of the page."""
    edge = page.locator(f"{within} .nbh-paper").bounding_box()
    scale = edge["width"] / SIDE
    return [[(edge["x"] + x * scale, edge["y"] + y * scale) for x, y in s] for s in strokes]


def write(page, strokes, within=""):
    """Write with the mouse, on the pad in that part of the page."""
    page.locator(f"{within} .nbh-paper").scroll_into_view_if_needed()
    for stroke in placed(page, strokes, within):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def finger(page, strokes):
    """Write with a finger."""
    touch = page.context.new_cdp_session(page)
    for stroke in placed(page, strokes):
        for i, (x, y) in enumerate(stroke):
            kind = "touchMove" if i else "touchStart"
            points = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            touch.send("Input.dispatchTouchEvent", points)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


class Hand:
    """A pen and touches, at once: `pen` and `touch` say what happens, points are of the paper."""

    def __init__(self, page):
        self.page, self.session = page, page.context.new_cdp_session(page)

    def _at(self, point):
        ((x, y),) = placed(self.page, [[point]])[0]
        return {"x": x, "y": y}

    def pen(self, kind, point):
        """Move, press or lift a pen: `Moved`, `Pressed`, `Released`."""
        button = {"button": "none"} if kind == "Moved" else {"button": "left", "clickCount": 1}
        about = {"type": f"mouse{kind}", "pointerType": "pen", "buttons": int(kind != "Released")}
        self.session.send("Input.dispatchMouseEvent", about | button | self._at(point))

    def touch(self, kind, *points):
        """Begin, move or end touches: `Start`, `Move`, `End`, `Cancel`."""
        about = {"type": f"touch{kind}", "touchPoints": [self._at(point) for point in points]}
        self.session.send("Input.dispatchTouchEvent", about)


def bring(page, content, how):
    """Paste or drop a file on the paper, as a browser would say it, or choose it."""
    if how == "choose":
        file = {"name": "photo.png", "mimeType": "image/png", "buffer": content}
        page.locator(".nbh-tools input[type=file]").set_input_files(file)
        return
    page.locator(".nbh-paper").evaluate(
        """(canvas, [text, how]) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "photo.png", { type: "image/png" }));
          const about = { bubbles: true, cancelable: true };
          canvas.focus();
          canvas.dispatchEvent(how === "paste"
            ? new ClipboardEvent("paste", { ...about, clipboardData: data })
            : new DragEvent("drop", { ...about, dataTransfer: data }));
        }""",
        [base64.b64encode(content).decode(), how],
    )


def shot_of(image):
    """Return a picture of a digit uint8 `[28, 28]` as a PNG file, three times as wide as high."""
    sheet = Image.new("L", (900, 300), 255)
    sheet.paste(Image.fromarray(255 - image.numpy()).resize((260, 260)), (500, 20))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def brings(page, easy):
    """Paste and drop pictures, one that cannot be opened too, and draw on."""
    for how, (text, image) in zip(("paste", "drop", "choose"), easy.items(), strict=False):
        bring(page, shot_of(image), how)
        assert text in headline(page)
        page.keyboard.press("Control+z")
        page.locator(".nbh-caption", has_text="Nothing drawn yet").wait_for()
        assert page.get_by_role("button", name="Undo").is_disabled()
    bring(page, shot_of(image), "paste")
    page.get_by_role("button", name="Undo", disabled=False).wait_for()
    bring(page, b"no picture", "drop")
    page.locator(".nbh-message", has_text="cannot be opened here").wait_for()
    bring(page, shot_of(image), "paste")
    assert text in headline(page)
    for key in ("Space", *["ArrowUp"] * 9, "Space"):  # a stroke takes its place
        page.keyboard.press(key)
    assert "1" in headline(page)


def shot(page, name):
    """Keep a picture of the pad to look at, under build/browser/."""
    page.wait_for_timeout(400)  # bars move
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def headline(page):
    """Return what the pad says it has read, once it has."""
    page.locator(".nbh-big").wait_for()
    page.wait_for_timeout(300)  # answers to earlier strokes are replaced
    return page.locator(".nbh-headline").inner_text()


def ink(page):
    """Return how many pixels of the paper are dark."""
    page.wait_for_timeout(100)  # it is painted with the next frame
    return page.locator(".nbh-paper").evaluate(
        """(canvas) => {
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let dark = 0;
          for (let i = 0; i < all.length; i += 4) dark += all[i] < 128;
          return dark;
        }"""
    )


def digits_by_mouse(page, easy, name):
    """Write digits, each read with four others and beside what the model sees; keep pictures."""
    shot(page, f"{name}_empty")
    for text, image in easy.items():
        write(page, strokes_of(image))
        said = headline(page)
        shot(page, f"{name}_{text}")
        assert re.search(rf"(Read as|Not sure between)\s+{text}\s", said), said
        rows = page.locator(".nbh-choices li")
        assert rows.count() == 5 and rows.first.inner_text().startswith(text)
        shares = rows.locator(".nbh-percent").all_inner_texts()
        shares = [float(re.sub(r"[^\d]", "", share)) for share in shares]
        assert shares == sorted(shares, reverse=True)
        seen = page.get_by_alt_text("What the model sees: your digit at 28 by 28 pixels")
        assert seen.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [28, 28]
        page.get_by_role("button", name="Clear").click()
    assert page.locator(".nbh-caption").inner_text() == "Nothing drawn yet"


def one_by_keyboard(page):
    """Draw a vertical stroke with the keyboard alone; it is read as a 1."""
    page.get_by_label("Pen width").focus()
    page.keyboard.press("Shift+Tab")  # past the buttons, which are disabled
    assert page.evaluate("document.activeElement.className") == "nbh-paper"
    for key, times in (("ArrowUp", 10), (" ", 1), ("ArrowDown", 20), (" ", 1)):
        for _ in range(times):
            page.keyboard.press(key)
    assert "1" in headline(page)
