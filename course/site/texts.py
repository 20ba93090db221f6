"""What the notebooks, the README and the package say about themselves: read, never executed."""

import ast
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import nbformat

from course.exercises import TASKS

WORDS_A_MINUTE = 200  # a usual estimate for prose that explains something
SECONDS_A_LINE = 2  # of code
SECONDS_A_FIGURE = 10
LONG = 8  # lines; a shorter cell is not worth folding
DRAWING_SHARE = 0.85  # of the lines of a cell that "only draws"


@dataclass(frozen=True)
class Chapter:
    """What a page or a list of chapters says about one notebook; texts are Markdown."""

    name: str  # of the file, without `.ipynb`
    number: str  # such as `1`
    title: str  # in a list of chapters, such as `One linear layer`
    learned: str  # what one learns
    minutes: int  # that reading takes
    executed: str  # on the profile and the data, or nothing if the outputs do not say it
    duration: str  # how long executing takes, in the notebook's own words
    exercises: tuple[tuple[str, str, str], ...]  # stars and text of each, and what is checked


def chapters(paths: list[Path], readme: str) -> list[Chapter]:
    """Return what notebooks say about themselves, with the titles that they have in the README."""
    row = re.compile(r"^\| \d+ \| \[([^]]+)\]\(notebooks/(\w+)\.ipynb\) \| ([^|]+) \|", re.M)
    listed = {name: {"title": title, "learned": it} for title, name, it in row.findall(readme)}
    return [replace(chapter(path), **listed.get(path.stem, {})) for path in paths]


def chapter(path: Path) -> Chapter:
    """Return what the notebook in `path` says about itself.

    Raises:
        ValueError: it is no notebook, or has no title.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat and json have many ways to refuse
        raise ValueError(f"{path}: expected a Jupyter notebook, version 4 ({error})") from error
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)$", prose, re.M)
    if not title:
        raise ValueError(f"{path}: expected a title, a line that begins with '# ', and found none")
    number, _, title = title[1].strip().partition(" · ")
    duration = re.search(r"\bIt\s+takes\s+(.+?)(?:,?\s+and uses\b|\.\s)", prose, re.S)
    return Chapter(
        name=path.stem,
        number=number,
        title=title,
        learned="",
        minutes=_minutes(notebook, prose),
        executed=_executed(notebook),
        duration=" ".join(duration[1].split()) if duration else "",
        exercises=_exercises(prose, path.name[:2]),
    )


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in _code(notebook) for output in cell.outputs]


def _minutes(notebook: nbformat.NotebookNode, prose: str) -> int:
    words = len(re.sub(r"<details>.*?</details>", "", prose, flags=re.S).split())
    lines = sum(len(cell.source.splitlines()) for cell in _code(notebook))
    figures = sum("image/png" in output.get("data", {}) for output in _outputs(notebook))
    seconds = 60 * words / WORDS_A_MINUTE + SECONDS_A_LINE * lines + SECONDS_A_FIGURE * figures
    return max(5, 5 * round(seconds / 300))


def _executed(notebook: nbformat.NotebookNode) -> str:
    shown = "\n".join(
        output.get("text", "") + "".join(output.get("data", {}).get("text/html", ""))
        for output in _outputs(notebook)
    )
    found = re.search(r"\b(smoke|quick|full) profile on the (\w+)", shown)
    if not found:
        return ""
    on_sample = "SAMPLE DATA" in shown
    data = "sample data, not the real set: its numbers say nothing" if on_sample else "real data"
    return f"Executed under the {found[1]} profile on a {found[2]}, on {data}."


def _exercises(prose: str, chapter: str) -> tuple[tuple[str, str, str], ...]:
    found = re.findall(r"^(\d+)\. (★+) (.+?)(?=^\d+\. ★|^<details>|\Z)", prose, re.M | re.S)
    asks = {number: task["ask"] for number, task in TASKS.get(chapter, {}).items()}
    return tuple((stars, " ".join(text.split()), asks.get(n, "")) for n, stars, text in found)


def fold(notebook: nbformat.NotebookNode) -> None:
    """Mark the cells whose code a reader may skip: the set-up, and what only draws.

    MyST-NB folds a cell with the tag `hide-input`.
    """
    for number, cell in enumerate(_code(notebook)):
        if number == 0 and "import " in cell.source:
            what = "the set-up"
        elif only_draws(cell):
            what = "the code that draws this figure"
        else:
            continue
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": f"Show {what}"}


def only_draws(cell: nbformat.NotebookNode) -> bool:
    """Return whether nearly all lines of a long cell draw, and its output is a figure."""
    if len(cell.source.splitlines()) < LONG:
        return False
    if not cell.outputs or not all("image/png" in out.get("data", {}) for out in cell.outputs):
        return False
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError:  # such as a line for the shell
        return False
    drawing, lines, drawn = {"plt"}, 0, 0
    for statement in statements:
        names = {node.id: node.ctx for node in ast.walk(statement) if isinstance(node, ast.Name)}
        if isinstance(statement, ast.Assign) and "plt" in names:  # figure, axes = plt.subplots()
            drawing |= {name for name, use in names.items() if isinstance(use, ast.Store)}
        length = statement.end_lineno - statement.lineno + 1
        lines += length
        if drawing & names.keys() and not isinstance(statement, ast.FunctionDef):
            drawn += length
    return drawn >= DRAWING_SHARE * lines


def alternative_texts(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Return the alternative text of each picture in the outputs, by its SHA-256, as of MyST-NB."""
    return {
        sha256(b64decode(output.data["image/png"])).hexdigest(): alt
        for output in _outputs(notebook)
        if (alt := output.get("metadata", {}).get("image/png", {}).get("alt"))
    }


def glossary(text: str) -> dict[str, str]:
    """Return the definitions in a page with a `glossary` directive, as plain text, by term."""
    inside = re.search(r"^```\{glossary\}\n(.*?)^```", text, re.M | re.S)
    if not inside:
        raise ValueError("glossary.md: expected a block that begins with ```{glossary}")
    entries = re.findall(r"^([^\s:].*)\n((?:[ \t]+.*\n|\n)+)", inside[1], re.M)
    return {term.strip(): " ".join(re.sub(r"[*`]", "", words).split()) for term, words in entries}


def modules(root: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the first sentence of each module's docstring, by the module's dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).glob("[!_]*.py")):
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            name = f"{package.replace('/', '.')}.{path.stem}"
            found[name] = " ".join(words.split("\n\n")[0].split())
    return found
