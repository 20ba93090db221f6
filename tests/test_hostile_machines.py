"""Machines that are too small, kernels that are killed, images that are damaged, unsafe code."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import in_python
import nbformat
import numpy as np
import promise
import pytest
import torch
import yaml
from as_files import mirror_letters
from small_models import noise
from source import IN_GIT, PACKAGES, ROOT, modules
from tiny_project import write
from torch import nn

from course import execute, results
from course.__main__ import main
from nbhelpers import data, profile, sources, tamil, training, vision
from nbhelpers.data import DataError
from nbhelpers.tamil import synthetic


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a word of Unix")
@promise.hostile("A notebook whose kernel is killed is named, and the others go on")
def test_killed_kernel_is_named_and_the_others_go_on(project, capfd):
    shown = nbformat.v4.new_output("stream", text="from an earlier day")
    never = nbformat.v4.new_code_cell("1 + 1", outputs=[shown])
    write(project, _01_killed=["import os", "os.kill(os.getpid(), 9)", never], _02_fine="'fine'")
    path = project / "notebooks" / "01_killed.ipynb"
    committed = path.read_bytes()

    assert execute.run([], publish=True) == 1
    said = capfd.readouterr().out.splitlines()
    (line,) = [line for line in said if line.startswith("01_killed.ipynb: ")]
    assert line.startswith("01_killed.ipynb: its kernel was killed, perhaps for lack of memory.")
    assert path.read_bytes() == committed
    build = project / "build" / "smoke-cpu"
    assert not (build / "01_killed.json").exists(), "it counts as not executed"
    assert "earlier" not in (build / "01_killed.ipynb").read_text(encoding="utf-8")
    assert results.read(build / "02_fine.json")["seconds"] > 0
    assert not list(project.rglob("*.part"))


LITTLE_MEMORY = """
import re, resource, sys
from pathlib import Path
import torch
from nbhelpers import vision
from small_models import noise

torch.set_num_threads(1)
dataset = noise(28, 3, 512)
weights = vision.scratch(dataset.train)


def make(size):
    dls = vision.dataloaders(dataset, 24, size, statistics=weights.statistics)
    return vision.learner(dls, "squeezenet1_1", weights, Path(sys.argv[1]), quiet=True)


vision.batch_size_that_fits(make, 2)  # what is allocated once, whatever the batch
status = Path("/proc/self/status").read_text()
used = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
learn = make(vision.batch_size_that_fits(make, 512))
learn.fit(1)
print("trained on", learn.dls.train.batch_size, "images at a time")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory like so")
@promise.hostile("Where memory is short the batch shrinks, says so, and training goes on")
def test_batch_shrinks_where_memory_is_short(tmp_path):
    places = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    settings = {"NB_HEADLESS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    for setting in ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD"):  # whatever `make` has set
        settings[f"MALLOC_{setting}_"] = "131072"  # what a try frees, the next can have
    ran = in_python.run("-W", "ignore", "-c", LITTLE_MEMORY, tmp_path, folder=ROOT, **settings)
    assert ran.returncode == 0, ran.stderr
    said = re.fullmatch(
        r"Batch size 2: fits in memory\.\n"
        r"Batch size (\d+): (\d+) images do not fit in memory\.\ntrained on (\d+) .*\n",
        ran.stdout,
    )
    assert said, ran.stdout
    size, too_many, used = map(int, said.groups())
    assert 16 <= size == used == too_many // 2 < 512


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@promise.hostile("Where memory is short the batch shrinks, says so, and training goes on")
def test_batch_shrinks_on_a_full_gpu(tmp_path, capfd):
    dataset = noise(28, 3, 4096)

    def make(size):
        weights = vision.scratch(dataset.train)
        dls = vision.dataloaders(dataset, 28, size, statistics=weights.statistics, device="cuda")
        return vision.learner(dls, "resnet18", weights, tmp_path, quiet=True)

    vision.batch_size_that_fits(make, 2)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(free - 800 * 2**20, dtype=torch.uint8, device="cuda")
    size = vision.batch_size_that_fits(make, 4096)
    assert 1 < size < 4096
    assert f"{2 * size} images do not fit in memory" in capfd.readouterr().out
    learn = make(size)
    learn.fit(1)
    del ballast


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@promise.hostile("Without a GPU everything runs on the CPU; asking for one is a clear error")
def test_without_a_gpu(monkeypatch, capfd):
    assert profile.current().device == torch.device("cpu")
    monkeypatch.setenv("NB_DEVICE", "cuda")
    monkeypatch.setenv("NB_PROFILE", "smoke")
    assert main(["run", "01"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: NB_DEVICE is 'cuda', which this machine cannot use: ")
    assert "Traceback" not in err and err.count("\n") < 4


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A mirror with 400 letters by synthetic writers to learn from, of which 100 are damaged."""
    random, parts = np.random.default_rng(0), {}
    for part, writers in (("TRAIN", 5), ("TEST", 1)):
        letters = synthetic.pictures(writers=writers, trials=2, classes=40)
        files = {f"{part}/{name}": content for name, content in letters}
        if part == "TRAIN":
            chosen = random.choice(sorted(files), 100, replace=False).tolist()
            files |= {name: files[name][: len(files[name]) // 2] for name in chosen}
        parts[part] = files
    mirror_letters(tmp_path / "mirror", monkeypatch, **parts)
    monkeypatch.setenv("NBHELPERS_SAMPLE", "never")
    return chosen


@promise.hostile(
    "Damaged images are counted and named, and training goes on without them only if told to"
)
def test_a_hundred_damaged_images(damaged, monkeypatch, capsys):
    with pytest.raises(DataError) as caught:
        tamil.tamil(profile.current(), side=32)
    first, *named, last_but_one, last = str(caught.value).splitlines()
    assert first.startswith("100 of the 400 images in ") and "TRAIN.tar.gz" in first
    assert len(named) == 10 and last_but_one == "  and 90 more"
    assert {line.split(": ")[0].strip() for line in named} < set(damaged)
    assert "set NBHELPERS_DAMAGED=skip to go on without them" in last
    capsys.readouterr()

    monkeypatch.setenv("NBHELPERS_DAMAGED", "skip")
    letters = tamil.tamil(profile.current(), side=32)
    assert len(letters.train) + len(letters.validation) == 300 and len(letters.test) == 80
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "TRAIN" in line]
    assert said.startswith("100 of the 400 images") and "are left out" in said
    names = Path(said.rpartition(" ")[2]).read_text(encoding="utf-8").splitlines()
    assert {name.split(": ")[0] for name in names} == set(damaged) and len(names) == 100
    model = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 156))
    batches = [data.Batches(part, 64) for part in (letters.train, letters.validation)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = training.fit(model, *batches, optimizer=optimizer, epochs=2)
    assert history.train_loss[1] < history.train_loss[0]

    monkeypatch.setenv("NBHELPERS_DAMAGED", "stop")
    with pytest.raises(DataError, match="100 of the 400"):  # what is kept does not hide them
        tamil.tamil(profile.current(), side=32)
    monkeypatch.setenv("NBHELPERS_DAMAGED", "ignore")
    with pytest.raises(sources.SourceError, match=r"'ignore'\. Expected stop or skip"):
        tamil.tamil(profile.current(), side=32)


def python_files():
    """Yield name and text of the packages' modules and of the notebooks' code."""
    yield from modules(*PACKAGES).items()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        code = [c.source for c in cells if c.cell_type == "code" and not c.source.startswith("%%")]
        plain = (re.sub(r"(?m)^([ \t]*)[%!].*", r"\1pass", source) for source in code)
        yield f"notebooks/{path.name}", "\n".join(plain)


MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FUNCTIONS = {"load_learner", "read_pickle", "eval", "exec"}


def unsafe(text):
    """Yield what in a module's text can run a program that a data file holds."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from {name.partition(".")[0] for name in names} & MODULES
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        for option in ("allow_pickle", "shell"):
            if given.get(option, "False") != "False":
                yield option
        if called.rpartition(".")[2] in FUNCTIONS and (node.args or "eval" not in called):
            yield called  # model.eval() has no arguments


@promise.hostile("No data file, model or checkpoint can run a program when it is opened")
def test_nothing_is_loaded_that_could_run_a_program():
    found = {(name, what) for name, text in python_files() for what in unsafe(text)}
    # Notebook 4 shows on a file of its own what such a file can do, and how to refuse it.
    demonstration = {"pickle", "torch.load without weights_only=True"}
    allowed = {("notebooks/04_a_small_cnn.ipynb", what) for what in demonstration}
    # Exercises are checked by executing their solutions, which stand in the chapter.
    allowed |= {("course/exercises.py", what) for what in ("exec", "eval")}
    assert found == allowed


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "torch.load('x')", "eval('1')",
     "np.load('x', allow_pickle=True)", "torch.load('x', weights_only=False)",
     "pd.read_pickle('x')", "subprocess.run('ls', shell=True)", "learner.load_learner('x')"],
)  # fmt: skip
def test_unsafe_lines_are_found(line):
    assert len(list(unsafe(line))) == 1
    assert not list(unsafe("torch.load('x', weights_only=True)\nmodel.eval()\nnp.load('x')"))


SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a token": r"\b(?:gh[opsu]_[A-Za-z0-9]{36}|github_pat_\w{50,}|hf_[A-Za-z]{34}|pypi-AgE\w{50,}"
    r"|AKIA[0-9A-Z]{16}|xox[abp]-[0-9A-Za-z-]{20,}|sk-[A-Za-z0-9]{40,})",
    "a home folder": r"(?<![\w.])(?:/home/|/Users/|C:\\\\?Users\\\\?)[a-z][\w.-]+",
    "a password in a URL": r"https?://[^\s/:@\"']+:[^\s/:@\"']+@",
}


@IN_GIT
def test_no_secrets_in_tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path == Path(__file__).resolve():
            continue
        text = path.read_bytes().decode("latin-1")
        found += [(name, what) for what, secret in SECRETS.items() if re.search(secret, text)]
    assert found == []


def test_workflow_may_only_read_and_ends_and_names_actions_of_github_s_own_by_hash():
    path = ROOT / ".github" / "workflows" / "test.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    assert "make audit" in {step.get("run") for step in steps}
    for path in ROOT.glob(".github/workflows/*.yml"):
        for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            pinned = re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v[\d.]+", action)
            assert pinned, f"{path.name}: {action}"
