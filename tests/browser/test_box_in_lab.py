"""The box "Train it here" as a widget in JupyterLab: the page's own files, no network."""

import promise
import pytest
from drawing import PICTURES, headline, write

from handwriting import playground

CELL = """
%env NBHELPERS_SAMPLE=always
from handwriting import models, pad, playground
from course.site.widget import TrainBox
{before}
display(TrainBox({chapter}){after})
""".strip()


@promise.site("The boxes train in JupyterLab, too, from the same files")
@pytest.mark.parametrize("chapter", [1, 2, 3, 5])
def test_a_box_trains_in_jupyterlab(show, chapter):
    if not (playground.PACKAGES / "onnxruntime-web").exists():
        pytest.skip("the runtime is not installed: `make site` with Node.js")
    cell = CELL.format(chapter=chapter, before="", after="")
    page, foreign = show(theme=f"JupyterLab {'Light' if chapter != 2 else 'Dark'}", cell=cell), []
    ours = (page.url.split("/lab")[0], "blob:", "data:")
    page.on("request", lambda request: request.url.startswith(ours) or foreign.append(request.url))
    page.locator(".train-buttons .first:enabled").press("Enter")
    page.wait_for_function("document.querySelector('.train-state').textContent.split(' ')[1] > 0.1")
    page.get_by_role("button", name="Pause").click()
    page.locator(".train-buttons button:nth-child(2):enabled").wait_for()
    write(page, [[(80, 60), (200, 60), (130, 230)]])
    assert headline(page)
    page.get_by_label("Learning rate").press("x")  # cuts a cell, where a key reaches the notebook
    page.locator("details.train").screenshot(path=PICTURES / f"lab_train_{chapter}.png")
    assert not foreign


def test_a_box_without_its_runtime_says_what_to_do(show):
    after = ', pad.Pad(models.reader("digits"))'  # a pad is what `show` waits for
    show(
        cell=CELL.format(chapter=1, before="playground.PACKAGES = models.Path()", after=after)
    ).get_by_text("then run `make site` again").wait_for()
