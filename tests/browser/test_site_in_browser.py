"""The built web site in Chromium: over a local server, and opened from files.

Screenshots of every chapter go to build/browser/site. Axe, which looks for barriers to readers with
disabilities, comes from npm (`make site`).
"""

import math
import re
import shutil
import time
from pathlib import Path

import drawing
import in_python
import promise
import pytest
from drawing import AXE, PICTURES, ROOT, SECONDS, SOUND, headline, served, write

SHOTS = PICTURES / "site"
WIDE, NARROW = 1280, 375
# Elements that stick out to the right and do not lie in a box that scrolls or hides.
STICKING_OUT = """() => {
  const clipped = (element) => {
    for (let box = element; (box = box.parentElement) && box !== document.body; ) {
      if (getComputedStyle(box).overflowX !== "visible") return true;
      if (getComputedStyle(box).position === "fixed") return true;
    }
    return false;
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && e.getClientRects().length)
    .filter((e) => !e.closest(".sidebar-drawer, .toc-drawer, svg, .visually-hidden"))
    .filter((e) => !clipped(e))
    .map((e) => `${e.localName}.${e.className} ${e.textContent.trim().slice(0, 40)}`);
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a freshly built site."""
    out = tmp_path_factory.mktemp("built") / "site"
    done = in_python.run(ROOT / "course" / "site" / "build.py", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    SHOTS.mkdir(parents=True, exist_ok=True)
    return out


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def chapters(site):
    """The path of each chapter in the site."""
    return [path.relative_to(site).as_posix() for path in sorted(site.glob("notebooks/*.html"))]


@pytest.fixture
def faults():
    """What `watch` has noticed; the test fails if it is anything."""
    seen = []
    yield seen
    assert not seen


@pytest.fixture
def watch(new_page, faults):
    """A function that opens a page which notes messages, failed requests and foreign ones."""

    def open_page(home, **options):
        page = new_page(**options)
        drawing.watch(page, home, faults)
        return page

    return open_page


def barriers(page, **options):
    """Return what axe, where it is installed, calls a serious or critical fault of the page."""
    if not AXE.exists():
        return []
    page.evaluate("'axe' in window") or page.add_script_tag(path=AXE)
    result = page.evaluate(
        "options => axe.run({ resultTypes: ['violations'], ...options })", options
    )
    return [
        f"{page.url}: {fault['id']}: {fault['nodes'][0]['html'][:200]}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


@SOUND
def test_every_page_is_sound(watch, address, site, faults):
    """No error or foreign request, nothing sticks out, no barrier: wide, narrow, light, dark."""
    page = watch(address, width=WIDE, height=800)
    contrast = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    for name in (path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))):
        page.set_viewport_size({"width": WIDE, "height": 800})
        page.emulate_media(color_scheme="light")
        page.goto(f"{address}/{name}")
        if not page.locator("h1").first.is_visible():
            faults.append(f"{name}: no heading is to be seen")
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": 800})
            faults += [f"{name}: at {width}: {what}" for what in page.evaluate(STICKING_OUT)]
            if page.evaluate("document.documentElement.scrollWidth") > width:
                faults.append(f"{name}: is wider than {width}")
            # Pages of highlighted sources differ in nothing but their text: one stands for all.
            if "_modules/nb" not in name or name.endswith("ink.html"):
                page.emulate_media(color_scheme="light")
                faults += barriers(page)
                page.emulate_media(color_scheme="dark")
                faults += barriers(page, **contrast)
    assert not faults, "\n".join(faults)
    if not AXE.exists():
        pytest.skip("all but axe: axe-core is not installed (`make site` with Node.js)")


@pytest.mark.parametrize("place", ["server", "file"])
def test_search_finds(watch, site, address, place):
    home = address if place == "server" else site.as_uri()
    page = watch(home, width=WIDE, height=900)
    page.goto(f"{home}/index.html")
    field = page.locator("input.sidebar-search")
    field.fill("learning rate finder")
    field.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    addresses = results.evaluate_all("links => links.map((a) => a.href)")
    assert any("06_fine_tuning_a_resnet" in found for found in addresses)
    if place == "server":
        page.locator("#search-results p.context").first.wait_for()
        page.screenshot(path=SHOTS / "search.png")
    results.first.click()
    page.locator("article h1").wait_for()


def test_menus_on_a_phone_open_with_the_keyboard(watch, address, chapters):
    page = watch(address, width=NARROW, height=700)
    page.goto(f"{address}/{chapters[1]}")
    menus = {"Chapters and pages": ".sidebar-drawer", "On this page": ".toc-drawer"}
    for words, drawer in menus.items():
        button = page.get_by_role("button", name=words).locator("visible=true").first
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "(name) => { const box = document.querySelector(name).getBoundingClientRect();"
            " return box.left >= -1 && box.right <= innerWidth + 1; }",
            arg=drawer,
        )
        page.screenshot(path=SHOTS / f"menu_{drawer[1:4]}.png")
        page.keyboard.press("Escape")
        page.wait_for_timeout(400)


def test_wide_content_scrolls_in_its_box_with_the_keyboard(watch, address, chapters):
    page = watch(address, width=NARROW, height=700)
    for name in chapters:
        page.goto(f"{address}/{name}")
        scrolling = page.evaluate(
            "[...document.querySelectorAll('pre, .figure-box, .text_html, .table-wrapper')]"
            ".filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.tabIndex)"
        )
        assert scrolling and set(scrolling) == {0}, name


def test_a_glossary_link_explains_its_term(watch, address, chapters):
    page = watch(address, width=WIDE, height=800)
    page.goto(f"{address}/{chapters[1]}")
    link = page.locator("article a:has(.glossary-term)").first
    assert len(link.get_attribute("title")) > 20
    link.click()
    assert "glossary.html#term-" in page.url
    page.locator("dt:target").wait_for()


def test_tamil_is_set_in_the_site_s_own_font(watch, address, site):
    if not (site / "_static" / "fonts.css").exists():
        pytest.skip("the site's npm packages are not installed: `make site` with Node.js")
    page = watch(address, width=WIDE, height=800)
    page.goto(f"{address}/notebooks/00_looking_at_the_data.html")
    page.evaluate("document.fonts.ready")
    loaded = "[...document.fonts].filter((f) => f.status == 'loaded').map((f) => f.family)"
    assert any("Course Tamil" in family for family in page.evaluate(loaded))


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_screenshots(watch, address, chapters, width, scheme):
    page = watch(address, width=width, height=900, color_scheme=scheme)
    some = ["index.html", "glossary.html", "teachers.html", "README.html", "api/ink.html"]
    for name in [*some, *chapters]:
        page.goto(f"{address}/{name}")
        page.evaluate("document.fonts.ready")
        page.screenshot(path=SHOTS / f"{Path(name).stem}_{width}_{scheme}.png", full_page=True)
        assert page.locator("article").bounding_box()["width"] <= width


@pytest.mark.parametrize("place", ["server", "file"])
def test_guesses_are_written_folded_and_counted(watch, site, address, chapters, place, faults):
    """Off by default; then kept and marked; printed pages show the answers as ever."""
    home = address if place == "server" else site.as_uri()
    page = watch(home, width=NARROW, height=800, color_scheme="dark")
    answer = page.get_by_text("Was your guess right?", exact=True)
    for name in chapters:
        page.goto(f"{home}/{name}")
        switch = page.get_by_label("Answer here")
        assert switch.is_checked() == (name != chapters[0]) and answer.last.is_visible() == (
            name == chapters[0]
        )
        if name == chapters[0]:
            switch.check()
        fields = page.locator(".guess-field")
        assert fields.count() >= 3 or name == chapters[1]
        fields.first.fill("About half")
        page.locator(".guess-answer > summary").press("Enter")
        page.get_by_label("near").check()
        assert answer.last.is_visible()
    page.screenshot(path=SHOTS / "guess_marks.png")
    faults += page.evaluate(STICKING_OUT)
    if place == "server":
        faults += barriers(page)
    page.goto(f"{home}/index.html")
    page.get_by_text(f"0 right, {len(chapters)} near, 0 off; 0 not marked").wait_for()
    page.goto(f"{home}/{name}")
    assert page.locator(".guess-field").first.input_value() == "About half"
    page.get_by_label("Answer here").uncheck()
    assert answer.is_visible() and not page.locator(".guess-field, .guess-answer").count()
    page.goto(f"{home}/index.html")
    page.get_by_role("button", name="Delete my guesses").click()
    assert page.evaluate("localStorage.getItem('course-guesses')") == '{"on":false}'


BOXES = ("01_one_linear_layer", "02_two_layers", "03_three_layers", "05_lenet")
SLOW = 6  # times, for a busy machine


@pytest.fixture
def train(watch, address, site):
    """A function that opens a chapter's box and gives the page, once it can train."""
    if not (site / "_static" / "train").exists():
        pytest.skip("the site's npm packages are not installed: `make site` with Node.js")

    def opened(chapter, rate=None, **options):
        page = watch(address, **{"width": WIDE, "height": 900} | options)
        page.goto(f"{address}/notebooks/{chapter}.html")
        page.locator("details.train > summary").press("Enter")
        page.wait_for_selector(".train-buttons .first:enabled")
        if rate is not None:
            page.get_by_label("Learning rate").fill(str(math.log10(rate)))
        return page

    return opened


def state(page):
    """Return epoch, loss and right validation digits, as the box says them."""
    text = page.locator(".train-state").inner_text().replace("–", "nan").replace(",", "")
    return [float(n) for n in re.findall(r"(?:Epoch|loss|·) (nan|[\d.]+)", text)]


def until(page, epochs):
    """Wait until so many epochs are over; return the seconds from now."""
    started = time.perf_counter()
    text = "parseFloat(document.querySelector('.train-state').textContent.split(' ')[1])"
    page.wait_for_function(f"{text} >= {epochs}", timeout=1000 * SECONDS * SLOW)
    return time.perf_counter() - started


@promise.site("Chapters 1, 2, 3 and 5 train their networks in the page, by mouse and keyboard")
@pytest.mark.parametrize(
    ("chapter", "rate", "epochs", "least", "seconds"),
    [(BOXES[0], 1, 10, 850, 1.5), (BOXES[1], 0.5, 15, 870, 2), (BOXES[2], 0.3, 10, 870, 4),
     (BOXES[3], 0.1, 3, 950, 15)],
)  # fmt: skip
def test_networks_learn_in_the_page(train, chapter, rate, epochs, least, seconds):
    page = train(chapter, rate)
    at_first = state(page)
    page.locator(".train-buttons .first").press("Enter")
    until(page, 0.01)
    took = until(page, 1)
    until(page, epochs)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Start").wait_for()
    _, loss, right = state(page)
    assert loss < 1.2 and right >= least and took < SLOW * seconds
    page.wait_for_timeout(500)
    assert state(page)[1:] == [loss, right]  # it rests
    write(page, [[(80, 60), (200, 60), (130, 230)]])
    assert "7" in headline(page)
    page.locator("details.train").screenshot(path=SHOTS / f"{chapter}_train.png")
    for name in ("Start", "Reset"):  # while it runs
        page.get_by_role("button", name=name).click()
    page.wait_for_function("document.querySelector('.train-state').textContent.includes(' 0.0 ')")
    assert state(page)[2] == at_first[2] and page.locator("path.earlier").count() == 2


def test_leaving_the_page_ends_the_work(train, address):
    page, other = train(BOXES[0]), train(BOXES[3])  # two at once
    for one in (page, other):
        one.locator(".train-buttons .first").click()
    until(other, 0.05)
    page.locator("details.train > summary").click()  # a closed box rests
    page.locator("details.train > summary").click()
    page.get_by_role("button", name="Start").wait_for()
    assert len(other.workers) == 1
    other.goto(f"{address}/index.html")
    assert not other.workers


@pytest.mark.parametrize("chapter", BOXES)
def test_boxes_fit_a_phone_in_the_dark(train, chapter, faults):
    tamil = {"locale": "ta-IN"} if chapter in BOXES[1::2] else {}
    page = train(chapter, width=NARROW, color_scheme="dark", **tamil)
    for _ in range(2):
        page.locator(".train-buttons button:nth-child(2)").click()
        page.wait_for_selector(".train-buttons button:nth-child(2):enabled")
    assert page.locator(".train-box").get_attribute("lang") == ("ta" if tamil else "en")
    faults += page.evaluate(STICKING_OUT)
    faults += barriers(page)
    page.locator("details.train").screenshot(path=SHOTS / f"{chapter}_train_phone.png")


def test_a_box_that_cannot_train_says_so(new_page, address, site):
    page = new_page()
    page.goto(f"{site.as_uri()}/notebooks/{BOXES[0]}.html")
    page.locator("details.train > summary").click()
    page.get_by_text("python -m http.server -d build/site").wait_for()
    page = new_page()
    page.route("**/runtime.lzma", lambda route: route.fulfill(status=404))
    page.goto(f"{address}/notebooks/{BOXES[0]}.html")
    page.locator("details.train > summary").click()
    page.get_by_text("This browser cannot train here").first.wait_for()


@pytest.mark.parametrize(
    ("chapter", "hidden", "batches", "times"),
    [(BOXES[0], 0, 600, 1), (BOXES[1], 30, 400, 1), (BOXES[2], 0, 60, 1), (BOXES[3], 0, 20, 5)],
)
def test_the_worker_outruns_plain_javascript(
    train, new_page, address, site, chapter, hidden, batches, times
):
    """So many times as fast on a calm machine, half of it on a busy one; with the same losses."""
    shutil.copy(Path(__file__).with_name("race.js"), site)
    about = (site / "_static" / "train" / "about.json").read_text(encoding="utf-8")
    about = about.replace('"every": ', '"every": 1000')  # validates after an epoch only
    (page := new_page()).route("**/about.json", lambda route: route.fulfill(body=about))
    page.goto(f"{address}/search.html")
    page.evaluate("import('/race.js').then(() => null)")
    ours, plain = (
        page.evaluate(f"(about) => race.{who}(...about)", [chapter, hidden, batches])
        for who in ("ours", "plain")
    )
    assert ours["losses"][:batches] == pytest.approx(plain["losses"], abs=1e-4)
    assert plain["ms"] / ours["ms"] > times / 2
