"""The boxes' worker against the same networks in plain JavaScript, in one Chromium."""

import shutil
import sys
from pathlib import Path

import pytest
from drawing import served

from course.site import training
from handwriting import playground

CASES = [  # hidden units, batches, and how many times as fast ours is on a calm machine
    ("01_one_linear_layer", 0, 100, 1),
    ("02_two_layers", 30, 100, 1),
    ("03_three_layers", 0, 30, 1),
    ("05_lenet", 0, 12, 5),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory, data_sets):
    """Where the scripts of a site and `race.js` are served, without its pages."""
    out = tmp_path_factory.mktemp("race")
    left_out = playground.copy(out / "playground") or training.copy(
        out / "_static" / "train", training.sources.project_folder()
    )
    if left_out:
        pytest.skip(left_out)
    shutil.copy(Path(__file__).with_name("race.js"), out)
    (out / "index.html").write_text("<!doctype html><title>Race</title>")
    with served(out) as address:
        yield address


@pytest.fixture
def page(new_page, address):
    """A page that can race; nothing is validated before an epoch is over."""

    def without_validation(route):
        about = route.fetch().json()
        for box in about["boxes"].values():
            box["every"] = 10**6
        route.fulfill(json=about)

    page = new_page()
    page.route("**/about.json", without_validation)
    page.goto(f"{address}/index.html")
    page.evaluate("import('/race.js').then(() => null)")
    return page


@pytest.mark.parametrize(("chapter", "hidden", "batches", "times"), CASES)
def test_the_worker_is_faster_than_plain_javascript(page, chapter, hidden, batches, times):
    """The losses are the same; a busy machine may halve what is gained."""
    about = [chapter, hidden, batches]
    ours = page.evaluate("(about) => race.ours(...about)", about)
    plain = page.evaluate("(about) => race.plain(...about)", about)
    name = page.context.browser.version
    print(
        f"\n{chapter}: {plain['ms']:.2f} ms a batch in plain JavaScript, {ours['ms']:.2f} ms in "
        f"the worker, {plain['ms'] / ours['ms']:.1f} times as fast (Chromium {name})",
        file=sys.stderr,
    )
    assert ours["losses"][:batches] == pytest.approx(plain["losses"], abs=1e-4)
    assert plain["ms"] / ours["ms"] > times / 2
