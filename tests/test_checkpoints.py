"""A training that is killed and started again must end like one that was left alone."""

import functools
import multiprocessing
import os
import random
import signal
import sys
import time

import promise
import pytest
import torch
from as_files import packed
from torch import nn

from nbhelpers import data, training
from nbhelpers.augmentation import RandomAffine

EPOCHS = 120
KILLS = 10


@promise.hostile("A damaged model or checkpoint is named and never half used")
@pytest.mark.parametrize("damage", ["a weight", "another zip", "a program"])
def test_damage_is_named(tmp_path, damage):
    """`test_properties` damages one in many ways."""
    path = packed(tmp_path / "state.zip", {"a": b"b"})
    if damage == "a program":
        torch.save({"a": os.system}, path)
    elif damage == "a weight":
        training.save_checkpoint(path, {"a": torch.ones(100)})
        changed = path.read_bytes().replace(b"\0\0\x80\x3f" * 2, b"\0\0\x80\x3e" * 2, 1)
        path.write_bytes(changed)
    with pytest.raises(training.CheckpointError, match=r"state\.zip: damaged.*Delete it"):
        training.load_checkpoint(path)


def train(folder, epochs=2, rate=0.01, name="model", settings="", layout=torch.channels_last):
    """Train a small network with everything that `fit` keeps track of; return its weights too."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (96, 12, 12), generator=generator, dtype=torch.uint8)
    split = data.Split(images, torch.arange(96) % 4, tuple("abcd"))
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(400, 4)).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    batches = data.Batches(split, 32, shuffle=True, seed=3)
    history = training.fit(
        model, batches, data.Batches(split, 96), optimizer=optimizer, epochs=epochs, name=name,
        schedule=training.one_cycle(optimizer, rate, len(batches), epochs), settings=settings,
        augment=RandomAffine(degrees=10, scale=0.1, shear=0.1, shift=0.05), checkpoint=folder,
    )  # fmt: skip
    return model.state_dict(), history


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_random_state_of_an_apple_gpu_comes_back(tmp_path, monkeypatch):
    states = [torch.tensor([7], dtype=torch.uint8)]
    monkeypatch.setattr(torch.backends.mps, "is_available", functools.cache(lambda: True))
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: states.append(state + 1))
    train(tmp_path)
    assert len(states) == 1
    train(tmp_path)
    assert [int(state) for state in states] == [7, 8]


def test_a_finished_training_is_not_repeated(tmp_path, capsys):
    weights, history = train(tmp_path)
    assert capsys.readouterr().out == f"{history}\n"
    again, same_history = train(tmp_path)
    (file,) = tmp_path.iterdir()
    told = f"model: goes on after epoch 2, from {file.name}\n{history}\n"
    assert capsys.readouterr().out == told
    assert same(again, weights)
    assert same_history == history, "seconds too are those of the training"


@pytest.mark.parametrize(
    "other", [{"epochs": 3}, {"rate": 0.02}, {"name": "other"}, {"settings": "other data"},
              {"settings": torch.ones(2)}, {"layout": torch.contiguous_format}], ids=str,
)  # fmt: skip
def test_a_training_that_begins_otherwise_begins_anew(tmp_path, capsys, other):
    train(tmp_path)
    train(tmp_path, **other)
    assert "goes on" not in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2, "and the first can still be taken up again"


def train_to_the_end(folder, started):
    """In a process of its own; keep the weights and what was measured."""
    torch.set_num_threads(1)
    started.set()
    weights, history = train(folder / "checkpoints", EPOCHS)
    measured = history.train_loss, history.validation_accuracy
    training.save_checkpoint(folder / "end", {"weights": weights, "measured": measured})


@promise.training("A training killed ten times by kill -9 ends with the same weights, bit for bit")
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a word of Unix")
def test_killed_ten_times_it_ends_with_the_same_weights(tmp_path):
    start = multiprocessing.get_context("forkserver")  # imports PyTorch once for all of them
    start.set_forkserver_preload(["torch._dynamo", "nbhelpers.training"])
    alone, killed = tmp_path / "alone", tmp_path / "killed"

    def begin(folder):
        started = start.Event()
        process = start.Process(target=train_to_the_end, args=(folder, started))
        process.start()
        assert started.wait(120)
        return process

    process = begin(alone)
    began = time.perf_counter()
    process.join(300)
    assert process.exitcode == 0
    longest = (time.perf_counter() - began) / KILLS  # so it cannot be over before the last kill
    moments, kills = random.Random(4), 0
    while not (killed / "end").exists():
        process = begin(killed)
        if kills < KILLS:
            process.join(moments.uniform(0.0, longest))
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills == KILLS, "the training was over before it could be killed often enough"
    ours, theirs = (training.load_checkpoint(folder / "end") for folder in (killed, alone))
    assert same(ours["weights"], theirs["weights"]) and ours["measured"] == theirs["measured"]
    left = [path.name for path in (killed / "checkpoints").iterdir()]
    assert left == [path.name for path in (alone / "checkpoints").iterdir()], "one file, no parts"
