"""Hygiene of the committed notebooks: executed, clean, readable, and in step with the package."""

import ast
import json
import re

import nbformat
import promise
import pytest
from source import ROOT

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
