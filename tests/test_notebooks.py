"""The committed notebooks: executed, clean, readable, in step with the package; and exercises."""

import ast
import builtins
import json
import re

import nbformat
import promise
import pytest
import torch
from source import ROOT

from course import exercises

PATHS = sorted(ROOT.glob("notebooks/*.ipynb"))
MEGABYTES = 1.5
LONGEST_CELL = 30


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def shown_text(notebook):
    """All text that a reader sees in outputs; pictures are left out."""
    shown = []
    for output in outputs(notebook):
        data = {k: v for k, v in output.get("data", {}).items() if "image" not in k}
        shown.append({**output, "data": data})
    return json.dumps(shown, ensure_ascii=False)


def test_valid_small_and_of_short_cells(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size < MEGABYTES * 1e6
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= LONGEST_CELL


@promise.notebooks(
    "Committed notebooks ran in order, at `full`, on the real data, without a warning"
)
def test_it_ran_in_order_at_full_on_the_real_data_without_a_warning(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
    text = shown_text(notebook)
    assert not re.search(r"Warning\b", text)
    assert "full profile" in text and "SAMPLE DATA" not in text


@promise.notebooks("Committed notebooks hold no paths of a machine and no residue of widgets")
def test_no_path_of_a_machine_and_no_residue(notebook):
    text = shown_text(notebook) + prose(notebook)
    assert not re.search(r"/(home|root|tmp|Users|work|mnt|opt)/|[A-Z]:\\\\", text)
    assert not re.search(r"<progress|\d+%\||widget-view", text)
    assert "widgets" not in notebook.metadata
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata]


def test_one_title_numbered_sections_and_every_part(path, notebook):
    text = prose(notebook)
    assert " </details>" not in text, "a fold ends on a line of its own"
    told = "Your guess", "your guess right", "Recap", "Exercises", "<details>", "What to see"
    assert [part for part in told if part not in text] == []
    lines = re.sub(r"```.*?```", "", text, flags=re.S).splitlines()
    number = int(path.name[:2])
    titles = [line for line in lines if line.startswith("# ")]
    assert all(title.startswith(f"# {number} · ") for title in titles)
    sections = [line for line in lines if line.startswith("## ")]
    expected = [f"## {number}.{i + 1} " for i in range(len(sections))]
    assert [line[: len(start)] for line, start in zip(sections, expected, strict=True)] == expected


def test_every_helper_that_is_used_exists(notebook):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(notebook)))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if node.module.startswith("nbhelpers")]
    helpers = {}
    exec(compile(ast.Module(ours, []), "imports", "exec"), helpers)
    assert ours
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = helpers.get(node.value.id)
            if type(module) is type(ast):
                assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


def test_no_notebook_owns_an_epoch_count(notebook):
    for cell in code_cells(notebook):
        assert not re.search(r"\bepochs\s*=\s*\d|range\(\d+\):\s*# epochs?", cell.source)


def test_every_exercise_has_a_task_and_a_solution_that_is_not_shown(path):
    solutions, tasks = exercises.solutions(path), exercises.TASKS[path.name[:2]]
    notebook = exercises.exercise_notebook(path)
    nbformat.validate(notebook)
    shown = "\n".join(cell.source for cell in notebook.cells)
    assert "Solution" not in shown and not outputs(notebook)
    assert [*tasks] == [*solutions] == ["1", "2", "3"]
    for number, task in tasks.items():
        more = {"within", "needs", "slow"}
        assert {"ask", "value", "hint"} <= {*task} <= {"ask", "value", "hint", *more}
        assert f"answer = ...  # {task['ask']}\n\ncheck({number}, answer)" in shown
        names = {node.id for node in ast.walk(ast.parse(task["value"])) if hasattr(node, "id")}
        known = [shown, solutions[number], task.get("needs", ""), "last", *dir(builtins)]
        assert names <= {*re.findall(r"\w+", "\n".join(known))}, f"exercise {number}"


@pytest.mark.parametrize(
    ("exercise", "answer", "said"),
    [
        (1, ..., "no answer yet: it is this"),
        (1, torch.tensor(5.05), "right"),
        (1, 5.2, "not yet. It is this. Look."),
        (1, [5], "not yet. It is this. Look."),
        (2, (float("nan"), 6), "right"),
        (2, "six", "not yet. It is this. Look."),
        (3, " ink", "right"),
    ],
)
def test_an_answer_is_right_or_gets_one_hint(monkeypatch, capsys, exercise, answer, said):
    values = {"1": "total / 2", "2": "last", "3": "'Ink'"}
    more = {"ask": "this", "hint": "Look.", "within": 0.1}
    tasks = {number: {"value": value} | more for number, value in values.items()}
    code = {"1": "total += 4\nprint(total)", "2": "[float('nan'), total];", "3": "total"}
    monkeypatch.setitem(exercises.TASKS, "00", tasks)
    monkeypatch.setattr(exercises, "solutions", lambda path: code)
    exercises.checker("00", {"total": 6})(exercise, answer)
    assert capsys.readouterr().out == said + "\n"
