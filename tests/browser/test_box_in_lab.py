"""The box "Train it here" as a widget in JupyterLab: the page's own files, no network."""

import pytest
from drawing import PICTURES, headline, write

from handwriting import playground

CELL = """
import os
os.environ["NBHELPERS_SAMPLE"] = "always"
from course.site.widget import TrainBox

TrainBox({chapter})
""".strip()
WITHOUT = """
from pathlib import Path
from handwriting import pad, models, playground
playground.PACKAGES = Path("nowhere")
from course.site.widget import TrainBox
from IPython.display import display
display(TrainBox(1), pad.Pad(models.reader("digits")))
""".strip()


@pytest.mark.promise(
    "Site and playground", "The boxes train in JupyterLab, too, from the same files"
)
@pytest.mark.parametrize(
    ("chapter", "theme"), [(1, "JupyterLab Light"), (2, "JupyterLab Dark"), (5, "JupyterLab Light")]
)
def test_a_box_trains_in_jupyterlab(show, chapter, theme):
    if not (playground.PACKAGES / "onnxruntime-web").exists():
        pytest.skip("the runtime is not installed: `make site` with Node.js")
    page = show(theme=theme, cell=CELL.format(chapter=chapter))
    foreign = []
    home = page.url.split("/lab")[0]
    page.on("request", lambda r: r.url.startswith((home, "blob:", "data:")) or foreign.append(r.url))
    page.wait_for_selector(".train-buttons .first:enabled")
    page.locator(".train-buttons .first").press("Enter")
    page.wait_for_function(
        "parseFloat(document.querySelector('.train-state').textContent.split(' ')[1]) > 0.1"
    )
    page.get_by_role("button", name="Pause").click()
    page.locator(".train-buttons button:nth-child(2):enabled").wait_for()
    write(page, [[(80, 60), (200, 60), (130, 230)]])
    assert headline(page)
    page.get_by_label("Learning rate").press("x")  # cuts a cell, where a key reaches the notebook
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1 and not foreign
    page.locator("details.train").screenshot(path=PICTURES / f"lab_train_{chapter}.png")


def test_a_box_without_its_runtime_says_what_to_do(show):
    page = show(cell=WITHOUT)
    page.get_by_text("then run `make site` again").wait_for()
