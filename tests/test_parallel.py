"""Notebook 11: several processes compute what one computes, survive a death, and share a sweep.

The cells that start the processes are executed as they stand in the notebook.
"""

import os
import subprocess
import sys

import promise
import pytest
import torch
from optuna.trial import TrialState
from test_recipes import cells_of
from torch.distributed.elastic.utils.distributed import get_free_port
from torch.nn.utils import parameters_to_vector

from nbhelpers import data, networks, recipes, sources, training

NOTEBOOKS = sources.project_folder() / "notebooks"


@pytest.fixture
def notebook(monkeypatch, tmp_path):
    """Return what the notebook has defined up to `train`, and a function that goes on there."""
    settings = {"NB_PROFILE": "smoke", "NB_DEVICE": "cpu", "NBHELPERS_SAMPLE": "always"}
    for name, value in (settings | {"NB_HEADLESS": "1"}).items():
        monkeypatch.setenv(name, value)
    cells, scope = cells_of("11_many_processes"), {}

    def execute(mark, end="display(Markdown"):
        exec(next(cell for cell in cells if mark in cell).partition(end)[0], scope)

    execute("from nbhelpers import")
    execute("def launch(")
    execute("def train(", "trained = {}")
    execute("def distance(", "cores, rows")
    scope |= {"folder": tmp_path, "part": scope["part"][:700], "exam": scope["exam"][:100]}
    return scope, execute


@promise.training("Two processes learn the same weights as one, batch by batch")
@promise.training("The same training runs on several machines (tested: two as one)")
def test_two_machines_give_the_weights_of_one_process(notebook, tmp_path):
    scope, _ = notebook
    part, exam = scope["part"], scope["exam"]
    one, history = scope["train"](tmp_path, part, exam, 1, seed=1, epochs=1, plain=True)
    torch.manual_seed(1)
    assert scope["distance"](networks.lenet(), one) > 0.001, "it did learn"
    score = training.evaluate(one, data.Batches(exam, 50, mean=0.5, std=0.5))
    assert score.accuracy == history.validation_accuracy[-1]
    next((tmp_path / "checkpoints").iterdir()).unlink()
    where = ["--nnodes=2", "--nproc-per-node=1", f"--master-port={get_free_port()}"]
    settings = os.environ | scope["local"] | {"OMP_NUM_THREADS": "1"}
    machines = [
        subprocess.Popen(
            [*scope["torchrun"], *where, f"--node-rank={rank}", "11_train.py", tmp_path],
            cwd=NOTEBOOKS, env=settings, stdout=-1, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [machine.communicate(timeout=240)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    of_both = training.load_checkpoint(tmp_path / "trained.pt")
    both = networks.lenet()
    both.load_state_dict(of_both["model"])
    # Two halves are added up in another order, and AdamW divides what rounding makes of that by
    # numbers that can be tiny: a few weights differ, the way they all went together does not.
    torch.manual_seed(1)
    start, one, both = (parameters_to_vector(m.parameters()) for m in (networks.lenet(), one, both))
    assert (both - one).norm() < 1e-3 * (one - start).norm()
    assert of_both["history"]["train_loss"] == pytest.approx(history.train_loss, rel=1e-4)
    accuracies = of_both["history"]["validation_accuracy"]
    assert accuracies == pytest.approx(history.validation_accuracy, abs=1.5 / len(exam))


@promise.hostile("A worker that dies ends the run at once, and the next goes on from there")
def test_a_killed_worker_gives_a_clear_error_and_the_run_resumes(notebook, tmp_path, capsys):
    scope, execute = notebook
    scope["plain"] = {"seed": 1, "epochs": 12}  # dropout and changed images, too, must come back
    whole = scope["train"](tmp_path / "whole", scope["part"], scope["exam"], 2, **scope["plain"])
    scope["trained"] = {2: whole}
    execute("def kill_one_after")
    how = "" if sys.platform == "win32" else "signal SIGKILL. The others were stopped."
    assert f"Process 1 of 2 (counted from 0) died: {how}" in capsys.readouterr().out
    execute("resumed, history =")  # which asserts that the weights are the same
    assert scope["history"].train_loss == whole[1].train_loss
    assert scope["history"].seconds != whole[1].seconds


def test_an_exception_in_a_process_is_named_with_its_number(notebook, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise IndexError('Target 24 is out of bounds.')", encoding="ascii")
    told = r"Process \d of 2 .* died: IndexError: Target 24 is out of bounds\. The others"
    with pytest.raises(notebook[0]["WorkerDied"], match=told):
        notebook[0]["launch"](script, tmp_path, 2, 1)


@promise.training("A sweep shares its trials among workers, and an interrupted one goes on")
def test_a_sweep_with_two_workers_goes_on_after_a_crash(notebook, tmp_path):
    scope, execute = notebook
    labels = torch.arange(128) % 2  # pictures of two kinds, easy to tell apart
    images = torch.zeros(128, 32, 32, dtype=torch.uint8)
    images[labels == 1, 8:24, 8:24] = 255
    pictures = data.Split(images, labels, ("empty", "square"))
    scope |= {"learn": pictures[:64], "judge": pictures[64:]}
    scope["DONE"] = (TrialState.COMPLETE, TrialState.PRUNED)
    execute("def sweep(", "name = f")
    seven = recipes.COMPACT_CNN
    settings = {"rate": seven.rate, "decay": seven.decay, "smoothing": 0.1, "strength": 1.0}
    first = [(settings, 5), (settings, 5)]
    done = scope["sweep"]("trial", 3, first, seed=3)
    assert 3 <= len(done) <= 4, "two that end at once may both begin another"
    assert done[0].params == done[1].params == settings != done[2].params
    assert done[0].intermediate_values == done[1].intermediate_values, "of the same seed"
    study = scope["study_on_disk"]("trial", tmp_path / "sweep")
    study.ask()  # a trial that never ends, as a worker that was killed leaves it
    again = scope["sweep"]("trial", 5, first, seed=3)
    assert [trial.params for trial in again[: len(done)]] == [trial.params for trial in done]
    assert 5 <= len(again) <= 6
    assert len({tuple(trial.params.values()) for trial in again}) == len(again) - 1
    assert sum("first" in trial.user_attrs for trial in again) == 2
    states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.FAIL) == 1 and TrialState.RUNNING not in states
