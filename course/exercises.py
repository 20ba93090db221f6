"""Exercises that check themselves: `make exercises` writes one notebook a chapter, for its reader.

It holds the chapter's cells, folded, and room for answers. `check(3, answer)` executes the folded
solution of exercise 3 with what the chapter's cells have left, so under the same profile and on the
same data, and compares. `exercises.toml` says what each exercise asks for.
"""

import ast
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
from nbformat import v4

from nbhelpers.sources import project_folder

TASKS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
OPENING = """\
# {title}: exercises

Run all cells up to the first exercise: they are the chapter's own, folded, and take as long as
there. Then put your answer where the three dots are and run `check`. It executes the solution,
which may take a while where that trains, and says that you are right, or gives one hint."""


def run(wanted: list[str]) -> int:
    """Write those notebooks of exercises that `build/exercises/` does not have yet; return 0.

    `build/solved/` gets copies of the chapters that compute the right answers at the end: a test's.
    """
    from course.execute import find

    folder, tests = (project_folder() / "build" / name for name in ("exercises", "solved"))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(tests, ignore_errors=True)
    kept = shutil.ignore_patterns(".*")  # what JupyterLab leaves
    shutil.copytree(project_folder() / "notebooks", tests, ignore=kept, dirs_exist_ok=True)
    for path in find(project_folder() / "notebooks", wanted):
        number, chapter = path.name[:2], nbformat.read(path, as_version=4)
        if not (folder / f"{number}.ipynb").exists():  # else it may hold answers
            nbformat.write(exercise_notebook(path), folder / f"{number}.ipynb")
        code = "from course import exercises\n\nnames = dict(globals())\n"
        tried = [int(e) for e, task in TASKS[number].items() if not task.get("slow")]
        code += f"[exercises.value({number!r}, exercise, names) for exercise in {tried}];"
        chapter.cells.append(v4.new_code_cell(code))
        nbformat.write(chapter, tests / path.name)
    print(f"{folder}: open them with .venv/bin/jupyter lab {folder}")
    return 0


def exercise_notebook(path: Path) -> dict:
    """Return a notebook with the chapter's cells, without results, and room for its answers."""
    from course.site import texts

    chapter, cells = texts.chapter(path), nbformat.read(path, as_version=4).cells
    codes = [f"%cd -q {path.parent}\nfrom course import exercises"]
    codes += [cell.source for cell in cells if cell.cell_type == "code"]
    codes += [f'check = exercises.checker("{path.name[:2]}", globals())']
    cells = [v4.new_markdown_cell(OPENING.format(title=chapter.title))]
    cells += [v4.new_code_cell(c, metadata={"jupyter": {"source_hidden": True}}) for c in codes]
    for exercise, (stars, sentence, ask) in enumerate(chapter.exercises, 1):
        cells += [v4.new_markdown_cell(f"## Exercise {exercise} {stars}\n\n{sentence}")]
        cells += [v4.new_code_cell(f"answer = ...  # {ask}\n\ncheck({exercise}, answer)")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def solutions(path: Path) -> dict[str, str]:
    """Return the code of each folded solution of a notebook, by its number."""
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    return dict(re.findall(r"Solution (\d)</summary>\s+```python\n(.+?)```", prose, re.S))


def checker(number: str, names: dict) -> Callable[[int, object], None]:
    """Return what checks answers to the exercises of a chapter, such as `05`.

    `names` are what its cells have left; later changes of names do not reach the solutions.
    """
    names, known = dict(names), {}

    def check(exercise: int, answer: object) -> None:
        task = TASKS[number][str(exercise)]
        if answer is ...:
            return print(f"no answer yet: it is {task['ask']}")
        if exercise not in known:
            known[exercise] = value(number, exercise, names)
        right = _agree(answer, known[exercise], task.get("within", 0))
        print("right" if right else f"not yet. It is {task['ask']}. {task['hint']}")

    return check


def value(number: str, exercise: int, names: dict) -> object:
    """Return the right answer: executes the solution, of which nothing is shown."""
    import torch
    from IPython.utils.capture import capture_output

    names, task = dict(names), TASKS[number][str(exercise)]
    (path,) = (project_folder() / "notebooks").glob(f"{number}_*.ipynb")
    code = ast.parse(f"{task.get('needs', '')}\n{solutions(path)[str(exercise)]}")
    if isinstance(code.body[-1], ast.Expr):  # named, for the task's `value`
        code.body[-1] = ast.parse(f"last = {ast.unparse(code.body[-1])}").body[0]
    with capture_output(), torch.random.fork_rng():
        exec(compile(code, f"solution {exercise}", "exec"), names)
    return eval(task["value"], names)


def _agree(answer: object, value: object, within: float) -> bool:
    """Return if numbers, or lists of them, are near enough, and words the same."""
    if isinstance(value, str):
        return str(answer).strip().lower() == value.lower()
    answer, value = (x.detach().cpu() if hasattr(x, "detach") else x for x in (answer, value))
    try:
        ours, theirs = np.asarray(value, float), np.asarray(answer, float)
    except (TypeError, ValueError):
        return False
    return ours.shape == theirs.shape and np.allclose(theirs, ours, 0, within, equal_nan=True)
