"""Several processes: they compute what one computes, survive a death, and share a sweep."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from optuna.trial import TrialState
from torch.nn.utils import parameters_to_vector

from nbhelpers import data, networks, parallel, profile, sweep, training

RUN = profile.Profile("smoke", torch.device("cpu"), 42)


@pytest.fixture(scope="module")
def digits():
    return data.digits_sample(RUN)


def weights(model):
    return parameters_to_vector(model.parameters()).detach()


def assert_equal_but_for_rounding(model, other):
    # AdamW divides by numbers that can be tiny, and so makes a few weights' rounding larger.
    differences = (weights(model) - weights(other)).abs()
    assert differences.max() < 1e-4
    assert (differences < 1e-5).float().mean() > 0.9999


def trained(folder, digits, processes, images=768, epochs=1, plain=True):
    splits = digits.train[:images], digits.validation[:100]
    return parallel.train(folder, *splits, processes, seed=1, epochs=epochs, plain=plain)


def kill_one(checkpoint, times):
    """Kill the youngest process of this one, once the checkpoint has been written some `times`."""
    seen = set()
    while len(seen) < times:
        if checkpoint.exists():
            seen.add(checkpoint.stat().st_mtime_ns)
        time.sleep(0.01)
    max(multiprocessing.active_children(), key=lambda process: process.pid).kill()


def test_shares_are_a_batch_together(digits):
    batches = list(data.Batches(digits.train[:70], 32))
    both = [list(parallel.shares(batches, rank, 2)) for rank in (0, 1)]
    for (_, labels), *parts in zip(batches, *both, strict=True):
        assert [size for _, size in parts] == [len(labels)] * 2
        together = torch.cat([share for (_, share), _ in parts])
        assert together.sort().values.equal(labels.sort().values)


@pytest.mark.promise("Training", "Two processes learn the same weights as one, batch by batch")
def test_two_processes_give_the_weights_of_one(tmp_path, digits):
    one, history = trained(tmp_path / "1", digits, 1, images=700)  # the last batch is not full
    two, history_of_two = trained(tmp_path / "2", digits, 2, images=700)
    assert_equal_but_for_rounding(one, two)
    assert history_of_two.train_loss == pytest.approx(history.train_loss, rel=1e-5)
    assert history_of_two.validation_accuracy == history.validation_accuracy
    kept = [path.suffix for path in (tmp_path / "2").iterdir()]
    assert kept == [".safetensors"]  # the checkpoint
    assert trained(tmp_path / "2", digits, 2, images=700)[1] == history_of_two  # not done again
    torch.manual_seed(1)
    assert (weights(networks.lenet()) - weights(one)).abs().max() > 0.001  # they did learn
    score = training.evaluate(two, data.Batches(digits.validation[:100], 50, mean=0.5, std=0.5))
    assert score.accuracy == history.validation_accuracy[-1]


@pytest.mark.promise(
    "Hostile conditions", "A worker that dies ends the run at once, and the next goes on from there"
)
def test_a_killed_worker_gives_a_clear_error_and_the_run_resumes(tmp_path, digits):
    how = {"epochs": 12, "plain": False}  # dropout and changed images, too, must come back
    whole, history = trained(tmp_path / "whole", digits, 2, **how)
    splits = digits.train[:768], digits.validation[:100]
    checkpoint = parallel.prepare(tmp_path, *splits, seed=1, **how)
    killer = threading.Thread(target=kill_one, args=(checkpoint, 2))
    killer.start()
    with pytest.raises(parallel.WorkerDied) as died:
        trained(tmp_path, digits, 2, **how)
    noticed = time.time() - checkpoint.stat().st_mtime
    killer.join()
    assert noticed < 10
    assert "Process 1 of 2 (counted from 0) died: " in str(died.value)
    assert sys.platform == "win32" or "SIGKILL" in str(died.value)
    assert checkpoint.name in str(died.value)
    resumed, history_of_both = trained(tmp_path, digits, 2, **how)
    assert weights(resumed).equal(weights(whole))
    assert history_of_both.train_loss == history.train_loss


def test_an_exception_in_a_process_is_named_with_its_number(tmp_path, digits):
    broken = data.Split(digits.train.images[:64], digits.train.labels[:64] + 20, digits.classes)
    with pytest.raises(parallel.WorkerDied, match=r"Process \d of 2 .*IndexError: Target \d+"):
        parallel.train(tmp_path, broken, digits.validation, 2, seed=1, epochs=1)


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs libuv, which is missing there")
@pytest.mark.promise("Training", "The same training runs on several machines (tested: two as one)")
def test_two_machines_with_torchrun(tmp_path, digits):
    splits = digits.train[:512], digits.validation[:100]
    checkpoint = parallel.prepare(tmp_path, *splits, seed=1, epochs=1, plain=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={parallel.get_free_port()}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment["GLOO_SOCKET_IFNAME"] = parallel.LOOPBACK[sys.platform]
    machines = [
        subprocess.Popen(
            [*torchrun, f"--node-rank={rank}", "-m", "nbhelpers.parallel", tmp_path],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [machine.communicate(timeout=120)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert "LeNet: epochs 1, " in said[0]
    model, history = trained(tmp_path, digits, 1, images=512)  # finds the training complete
    assert history.epochs == 1 and checkpoint.exists()
    alone, _ = trained(tmp_path / "alone", digits, 1, images=512)
    assert_equal_but_for_rounding(model, alone)


@pytest.fixture(scope="module")
def pictures():
    """256 pictures of 32×32 of two kinds, easy to tell apart."""
    labels = torch.arange(256) % 2
    images = torch.zeros(256, 32, 32, dtype=torch.uint8)
    images[labels == 1, 8:24, 8:24] = 255
    return data.Split(images, labels, ("empty", "square"))


@pytest.mark.promise(
    "Training", "A sweep shares its trials among workers, and an interrupted one goes on"
)
def test_a_sweep_with_two_workers_goes_on_after_a_crash(tmp_path, pictures):
    options = {"workers": 2, "seed": 3, "epochs": 1, "first": [(sweep.NOTEBOOK_7, 3)]}
    study = sweep.run(tmp_path, "trial", pictures[:64], pictures[64:128], trials=3, **options)
    done = study.get_trials(states=sweep.DONE)
    assert len(done) == 3
    assert done[0].params == sweep.NOTEBOOK_7
    assert len({tuple(trial.params.values()) for trial in done}) == len(done)
    sweep.study(
        tmp_path, "trial"
    ).ask()  # a trial that never ends, as a worker that was killed leaves it
    again = sweep.run(tmp_path, "trial", pictures[:64], pictures[64:128], trials=5, **options)
    after = again.get_trials(states=sweep.DONE)
    assert [trial.params for trial in after[:3]] == [trial.params for trial in done]
    assert len(after) == 5
    assert len(again.get_trials(states=(TrialState.FAIL,))) == 1
    assert not again.get_trials(states=(TrialState.RUNNING,))
    assert sum("first" in trial.user_attrs for trial in after) == 1


def test_a_trial_is_reproducible_and_knows_its_seed(tmp_path, pictures):
    options = {"workers": 1, "trials": 4, "seed": 3, "epochs": 1, "prune": False}
    first = [(sweep.NOTEBOOK_7, 5), (sweep.NOTEBOOK_7, 5), (sweep.NOTEBOOK_7, 6)]
    one, two = (
        sweep.run(tmp_path / name, "seeds", pictures[:64], pictures[64:], first=first, **options)
        for name in ("one", "two")
    )
    assert [trial.user_attrs.get("seed") for trial in one.trials] == [5, 5, 6, None]
    assert one.trials[0].intermediate_values == one.trials[1].intermediate_values
    assert one.trials[3].params == two.trials[3].params != sweep.NOTEBOOK_7
