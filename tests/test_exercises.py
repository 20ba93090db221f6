"""Exercises that check themselves: every one has a task, and a right answer counts as right."""

import ast
import builtins
import re

import nbformat
import pytest
import torch

from course import exercises
from course.execute import find

PATHS = find(exercises.project_folder() / "notebooks", [])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_exercise_has_a_task_and_a_solution_that_is_not_shown(path):
    solutions, tasks = exercises.solutions(path), exercises.TASKS[path.name[:2]]
    notebook = exercises.exercise_notebook(path)
    nbformat.validate(notebook)
    shown = "\n".join(cell.source for cell in notebook.cells)
    assert "Solution" not in shown and not any(cell.get("outputs") for cell in notebook.cells)
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
