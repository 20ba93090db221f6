"""A project in a folder of its own, with tiny notebooks, for tests of what runs and compares."""

import nbformat
from nbformat import v4

from course import compare, execute, verify

SITE = "import sys; print(sys.argv[1:])"  # the real one takes a minute, and has tests of its own


def make(folder, monkeypatch):
    """Let runs take place in `folder`, at the smoke profile on a CPU."""
    for name, value in (("NB_PROFILE", "smoke"), ("NB_DEVICE", "cpu")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for module in (compare, execute, verify):
        monkeypatch.setattr(module, "project_folder", lambda: folder)
    for name in ("course/site", "notebooks"):
        (folder / name).mkdir(parents=True)
    (folder / "course" / "site" / "build.py").write_text(SITE, encoding="utf-8")
    return folder


def write(folder, **notebooks):
    """Write notebooks by name, with an underscore before it: a source, or several and cells."""
    for name, cells in notebooks.items():
        cells = [cells] if isinstance(cells, str) else cells
        made = [v4.new_code_cell(one) if isinstance(one, str) else one for one in cells]
        content = v4.new_notebook(cells=made)
        nbformat.write(content, folder / "notebooks" / f"{name[1:]}.ipynb")


def printed(folder, name, place="smoke-cpu"):
    """Return what the last cell of an executed copy has printed."""
    executed = nbformat.read(folder / "build" / place / f"{name}.ipynb", as_version=4)
    return "".join(output.text for output in executed.cells[-1].outputs)
