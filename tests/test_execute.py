"""How notebooks are executed: several at once, each after those it builds on; and stopped."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import nbformat
import promise
import pytest
from source import lay
from tiny_project import printed, write

from course import execute, results, stamp
from handwriting import models, saving
from nbhelpers import data, sources

MEETS = """
import pathlib, time
pathlib.Path("here_{own}").touch()
for _ in range(600):
    if pathlib.Path("here_{other}").exists():
        break
    time.sleep(0.1)
else:
    raise SystemExit("the other notebook never began")
"""
LOOKS = """
import os, pathlib
executed = pathlib.Path("../build/smoke-cpu")
print(sorted(path.stem for path in executed.glob("*.ipynb")), os.environ.get("OMP_NUM_THREADS"))
"""


@pytest.fixture
def threads(monkeypatch):
    return lambda count: monkeypatch.setattr(execute.torch, "get_num_threads", lambda: count)


@promise.notebooks("Two notebooks run at once, each after those whose results it shows")
def test_two_at_once_in_the_right_order(project, threads):
    """The first, then those that others wait for; and the one that measures processes alone."""
    threads(4)
    before = dict(os.environ)
    first, second = (MEETS.format(own=a, other=b) for a, b in (("1", "5"), ("5", "1")))
    write(project, _00_begins=LOOKS, _01_meets=first, _02_after=LOOKS, _04_shows=LOOKS)
    write(project, _05_meets=second, _07_x="1", _11_alone=LOOKS, _12_x="1")
    assert execute.run([], jobs=2) == 0
    assert printed(project, "00_begins")[:2] == "[]" and "_meets" in printed(project, "04_shows")
    seen, shared = printed(project, "02_after").rsplit(" ", 1)
    assert "01_meets" in seen and "11_alone" not in seen and int(shared) == 2
    others = [path.stem for path in sorted((project / "notebooks").glob("*.ipynb"))]
    others.remove("11_alone")
    assert printed(project, "11_alone") == f"{others} None\n"
    assert "pathlib" in (project / "build" / "smoke-cpu" / "00_begins.html").read_text("utf-8")
    assert results.read(project / "build" / "smoke-cpu" / "together.json")["seconds"] > 0
    assert dict(os.environ) == before


def test_one_after_the_other_keeps_the_order_and_all_threads(project, threads, capfd):
    threads(1)
    write(project, _02_after=LOOKS, _03_first=LOOKS, _01_begin=LOOKS)
    assert execute.run([], jobs=8) == 0, "never more at once than threads"
    assert printed(project, "02_after") == "['01_begin'] None\n"
    assert printed(project, "03_first") == "['01_begin', '02_after'] None\n"
    capfd.readouterr()
    assert execute.run([], jobs=1) == 0
    assert capfd.readouterr().out.count("unchanged, not executed again") == 3


def test_a_run_of_some_or_with_errors_is_not_taken_for_one_of_all(project, capfd):
    write(project, _01_fine="1", _02_fails="1 / 0")
    together = project / "build" / "smoke-cpu" / "together.json"
    assert execute.run(["01"], jobs=1) == 0 and not together.exists()
    assert str(["--executed", str(together.parent)]) in capfd.readouterr().out, "the site ends it"
    assert execute.run([], force=True, jobs=1) == 1 and not together.exists()
    (project / "course" / "site" / "build.py").write_text("raise SystemExit(1)")
    assert execute.run(["01"]) == 1


def test_those_that_show_results_of_others_are_named():
    numbers = [path.name[:2] for path in execute.find(sources.project_folder() / "notebooks", [])]
    for number, earlier in execute.AFTER.items():
        assert number in numbers
        assert all(not name or (name in numbers and name < number) for name in earlier)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of Unix")
@promise.hostile("Ctrl-C ends a run, its kernels and nothing else; the run can go on")
def test_ctrl_c_ends_all_kernels(project):
    source = "import os, pathlib, time\npathlib.Path('pid_{}').write_text(str(os.getpid()))\n"
    write(project, _01_long=source.format(1) + "time.sleep(600)")
    write(project, _03_long=source.format(3) + "time.sleep(600)")
    program = (
        "import pathlib, sys, torch; torch.set_num_threads(2); from course import __main__, "
        f"execute; execute.project_folder = lambda: pathlib.Path({str(project)!r}); "
        "sys.exit(__main__.main(['run', '--jobs', '2']))"
    )
    files = [project / "notebooks" / f"pid_{number}" for number in (1, 3)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    # What a shell starts in the background ignores Ctrl-C, and so would what the tests start.
    pipes["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as running:
        while not all(path.exists() and path.read_text() for path in files):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        told, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.endswith("stopped; the same command goes on from here\n")
    assert "lack of memory" not in told
    for path in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    assert not list((project / "build").rglob("*.part*"))


def test_threads_are_shared_only_where_notebooks_run_at_once(project, threads):
    threads(2)
    write(project, _01_looks=LOOKS, _03_looks="1")
    for alone in ({"wanted": ["01"]}, {"wanted": [], "publish": True}):
        assert execute.run(**alone, force=True) == 0
        assert printed(project, "01_looks").endswith("None\n")


def test_a_notebook_runs_again_only_if_what_it_imports_has_changed(tmp_path):
    files = {
        "nbhelpers/__init__.py": "", "nbhelpers/near.py": "from nbhelpers.tamil import far",
        "nbhelpers/tamil/__init__.py": "", "nbhelpers/other.py": "",
        "nbhelpers/tamil/far.py": "def late():\n    import handwriting.pen\nFILE = 'sizes.toml'",
        "handwriting/__init__.py": "", "handwriting/pen.py": "PAGE = 'pen.js'",
        "handwriting/web/pen.js": "", "handwriting/web/other.js": "", "nbhelpers/sizes.toml": "",
        "course/execute.py": "", "data/words.csv": "", "data/other.csv": "",
        "notebooks/07_work.py": "from nbhelpers import script\nopen('words.csv')",
        "notebooks/08_work.py": "", "nbhelpers/script.py": "",
    }  # fmt: skip
    lay(tmp_path, files)
    write(tmp_path, _07_x=["%%time\n%pip list\nfrom nbhelpers import near", "%%bash\nls ("])
    notebook = tmp_path / "notebooks" / "07_x.ipynb"
    before = stamp.stamp(notebook, "smoke-cpu", tmp_path)
    found = []
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
        if stamp.stamp(notebook, "smoke-cpu", tmp_path) != before:
            found.append(name)
        (tmp_path / name).write_text(text, encoding="utf-8")
    others = ("other.py", "other.js", "other.csv", "execute.py", "08_work.py")
    assert set(found) == {name for name in files if not name.endswith(others)}
    assert stamp.stamp(notebook, "full-cpu", tmp_path) != before


def test_what_an_execution_missed_is_made_good(project, capfd, monkeypatch):
    kept = [project / place for place in ("artifacts", "data")]
    for name, folder in zip(("artifacts_root", "data_folder"), kept, strict=True):
        monkeypatch.setattr(execute, name, lambda folder=folder: folder)
    monkeypatch.delenv("NBHELPERS_SAMPLE", raising=False)
    write(project, _06_records="1", _10_shows="print('SAMPLE ' + 'DATA')")
    assert execute.run([]) == 0
    for come in ("artifacts/smoke-cpu/records/07_other.json", "data/downloads/mnist/x.gz"):
        assert execute.run([]) == 0 and capfd.readouterr().out.count("unchanged") == 2
        lay(project, {come: ""})
        assert execute.run(["10"]) == 0 and "unchanged" not in capfd.readouterr().out


def test_a_change_of_the_profiles_reaches_every_notebook_of_the_course():
    root = sources.project_folder()
    for path in execute.find(root / "notebooks", []):
        assert root / "nbhelpers" / "profiles.toml" in stamp.files(path, root), path.stem


@pytest.fixture
def full(project, monkeypatch):
    """A run at `full` that has trained a LeNet; what is published is listed."""
    monkeypatch.setenv("NB_PROFILE", "full")
    place = project / "artifacts" / "full-cpu"
    lay(place, {"lenet.safetensors": ""})
    digits = SimpleNamespace(source="full", validation="validation images")
    card = SimpleNamespace(form="mnist", proportions="kept")
    published = []
    monkeypatch.setattr(models, "load", lambda name, folder: (None, card))
    monkeypatch.setattr(saving, "publish", lambda *arguments: published.append(arguments))
    monkeypatch.setattr(data, "mnist", lambda run: digits)
    return SimpleNamespace(place=place, digits=digits, published=published)


def test_publishing_takes_the_course_s_own_models_along(project, full, monkeypatch):
    write(project, _05_trains="1", _06_other="1")
    assert execute.run([], publish=True) == 0
    assert full.published == [("lenet", full.place, "validation images")]
    full.digits.source = "sample"
    assert execute.run([], publish=True) == 0
    full.digits.source = "full"
    monkeypatch.setenv("NB_PROFILE", "quick")
    assert execute.run([], publish=True) == 0
    assert len(full.published) == 1, "only what `full` has trained on the real data"


def test_a_model_that_cannot_be_published_is_an_error_of_its_notebook(
    project, full, monkeypatch, capsys
):
    def refuse(*_):
        raise models.ModelError("lenet.safetensors: too much is lost")

    monkeypatch.setattr(saving, "publish", refuse)
    write(project, _05_trains="1", _06_other="1")
    before = (project / "notebooks" / "05_trains.ipynb").read_bytes()
    assert execute.run([], publish=True) == 1
    assert "too much is lost" in capsys.readouterr().out
    assert (project / "notebooks" / "05_trains.ipynb").read_bytes() == before
    other = nbformat.read(project / "notebooks" / "06_other.ipynb", as_version=4)
    assert other.cells[0].execution_count == 1, "the others go on"
