"""A training that is killed and started again must end like one that was left alone."""

import json
import multiprocessing
import os
import random
import signal
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nbhelpers import checkpoints, data, training
from nbhelpers.augmentation import RandomAffine

EPOCHS = 120
KILLS = 10


def test_whatever_state_dicts_hold_comes_back(tmp_path):
    state = {
        "numbers": {0: torch.arange(3), "nested": {"list": [1, 2.5, None], "pair": (True, "text")}},
        "layout": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(1e-8),
        "bytes": torch.get_rng_state(),
        "not a number": float("inf"),
    }
    checkpoints.save(tmp_path / "state", state)
    again = checkpoints.load(tmp_path / "state")
    assert again["numbers"]["nested"] == state["numbers"]["nested"]
    assert torch.equal(again["numbers"][0], torch.arange(3))
    assert torch.equal(again["layout"], state["layout"])
    assert again["layout"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(again["scalar"], state["scalar"])
    assert torch.equal(again["bytes"], state["bytes"])
    assert again["not a number"] == float("inf")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_what_json_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path):
    checkpoints.save(tmp_path / "state", {"a": 1})
    with pytest.raises(TypeError, match="cannot hold function"):
        checkpoints.save(tmp_path / "state", {"a": lambda: 1})
    with pytest.raises(TypeError, match="key"):
        checkpoints.save(tmp_path / "state", {(1, 2): 1})
    assert checkpoints.load(tmp_path / "state") == {"a": 1}


@pytest.mark.parametrize("damage", ["cut", "empty", "no state", "wrong state"])
def test_damage_is_named(tmp_path, damage):
    path = tmp_path / "state"
    checkpoints.save(path, {"a": torch.rand(100)})
    if damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 150 if damage == "cut" else 0])
    else:
        form = json.dumps({"tensor": "7", "channels_last": False})
        save_file({}, path, metadata={"other": ""} if damage == "no state" else {"state": form})
    with pytest.raises(checkpoints.CheckpointError, match=r"state: damaged.*Delete it"):
        checkpoints.load(path)


# ------------------------------------------------------------------------------------ kill -9


def train(folder, started=None):
    """Train a small network with everything that `fit` keeps track of; keep its weights."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (96, 12, 12), generator=generator, dtype=torch.uint8)
    split = data.Split(images, torch.arange(96) % 4, tuple("abcd"))
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(400, 4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    batches = data.Batches(split, 32, shuffle=True, seed=3)
    if started:
        started.set()
    history = training.fit(
        model, batches, data.Batches(split, 96), optimizer=optimizer, epochs=EPOCHS,
        schedule=training.one_cycle(optimizer, 0.01, len(batches), EPOCHS),
        augment=RandomAffine(degrees=10, scale=0.1, shear=0.1, shift=0.05),
        checkpoint=folder / "checkpoint",
    )  # fmt: skip
    save_file(model.state_dict(), folder / "weights.part")
    (folder / "curve").write_text(json.dumps([history.train_loss, history.validation_accuracy]))
    (folder / "weights.part").replace(folder / "weights")


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a word of Unix")
def test_killed_ten_times_it_ends_with_the_same_weights(tmp_path):
    start = multiprocessing.get_context("forkserver")  # imports PyTorch once for all of them
    start.set_forkserver_preload(["torch._dynamo", "nbhelpers.training"])
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    process = start.Process(target=train, args=(alone,))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    moments = random.Random(4)
    kills = 0
    while not (killed / "weights").exists():
        started = start.Event()
        process = start.Process(target=train, args=(killed, started))
        process.start()
        assert started.wait(120)
        if kills < KILLS:
            process.join(moments.uniform(0.0, 0.3))
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills == KILLS, "the training was over before it could be killed often enough"
    ours, theirs = load_file(killed / "weights"), load_file(alone / "weights")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (killed / "curve").read_text() == (alone / "curve").read_text()
    assert sorted(path.name for path in killed.iterdir()) == ["curve", "weights"]
