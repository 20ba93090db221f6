"""`make slides`: each chapter's guesses, figures and recap as slides, which need no network."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
from jinja2 import FileSystemLoader
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell, new_notebook

from course.execute import find
from nbhelpers.sources import project_folder

PARTS = re.compile(r"^(?=## |\*\*(?:Your guess|Was your guess|What to see))", re.M)


def run(wanted: list[str]) -> int:
    """Write `build/slides/NN.html` from the committed notebooks, beside reveal.js; return 0."""
    course, folder = Path(__file__).parent, project_folder() / "build" / "slides"
    package = course / "site" / "node_modules" / "reveal.js"
    if not package.exists():
        raise FileNotFoundError(f"{package}: install npm (https://nodejs.org), which fetches it")
    shutil.copytree(package, folder / "reveal.js", dirs_exist_ok=True)
    where = {"reveal_url_prefix": "reveal.js", "reveal_theme": "white", "exclude_input": True}
    where |= {"extra_loaders": [FileSystemLoader(course)], "template_file": "slides.html.j2"}
    for path in find(project_folder() / "notebooks", wanted):
        slides = new_notebook(cells=[*_cells(nbformat.read(path, as_version=4))])
        page, _ = SlidesExporter(**where).from_notebook_node(slides)
        (folder / f"{path.name[:2]}.html").write_text(page, encoding="utf-8")
        print(folder / f"{path.name[:2]}.html")
    return 0


def _cells(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Yield the cells of the slides: title, guesses, figures with what to see in them, recap."""
    slide, below, same = ({"slideshow": {"slide_type": t}} for t in ("slide", "subslide", "-"))
    heading, figures = "", []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            figures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
            if figures:
                yield new_markdown_cell(heading, metadata=slide)
                yield nbformat.from_dict(cell | {"outputs": figures, "metadata": same})
            continue
        text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", cell.source)  # slides have no links
        for part in filter(None, PARTS.split(text)):
            if part.startswith("**What to see") and figures:
                yield new_markdown_cell(part.partition("\n\n")[0], metadata=below)
            elif re.match(r"# |## \S+ Recap|\*\*(Your|Was your) guess", part):
                yield new_markdown_cell(part, metadata=slide)
            figures = []
            if part.startswith("## "):
                heading = part.partition("\n")[0]
