"""Train LeNet as one of several processes; torchrun starts each of them:

python -m torch.distributed.run --standalone --nproc-per-node=2 11_train.py FOLDER

FOLDER holds `job.pt`, the images and settings. The processes leave there a checkpoint after each
epoch and `trained.pt` at the end. For several machines it must be a folder that all of them see.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nbhelpers import networks, training
from nbhelpers.data import Batches, Split
from nbhelpers.recipes import LENET

folder = Path(sys.argv[1])
job = training.load_checkpoint(folder / "job.pt")
local = int(os.environ["LOCAL_RANK"])  # the number of this process on its machine
device = torch.device("cpu") if job["cpu"] else torch.device("cuda", local)
distributed.init_process_group("gloo" if job["cpu"] else "nccl", timeout=timedelta(seconds=120))
rank, processes = distributed.get_rank(), distributed.get_world_size()
(folder / f"process_{rank}.txt").write_text(str(os.getpid()), encoding="ascii")


class Shares:
    """Of each batch, the share of this process.

    All processes go through the same batches in the same order, and their shares of one are equally
    large. Images that are left over when a batch is shared out come in another epoch.
    """

    def __init__(self, batches: Batches) -> None:
        """Share out `batches`."""
        self.batches, self.generator = batches, batches.generator

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Let every process draw its own dropout and changes; the same ones when it goes on."""
        torch.manual_seed(job["seed"] + 1_000 * (epoch + 1) + rank)

    def __iter__(self) -> Iterator[training.Batch]:
        """Yield every `processes`-th image of each batch, and their labels."""
        for inputs, labels in self.batches:
            if end := len(labels) // processes * processes:
                yield inputs[rank:end:processes], labels[rank:end:processes]


def average(epoch: int, history: training.History) -> None:
    """Put the mean over all processes where each has noted what it saw of its own shares."""
    for values in (history.train_loss, history.train_accuracy):
        mean = torch.tensor(values[-1], dtype=torch.float64, device=device)
        distributed.all_reduce(mean)
        values[-1] = mean.item() / processes
    if rank == 0:
        print("done with epoch", epoch + 1, flush=True)


scale = {"mean": LENET.centre, "std": LENET.spread, "device": device}
learn = Batches(Split(**job["train"]), job["batch_size"], shuffle=True, seed=job["seed"], **scale)
judge = Batches(Split(**job["validation"]), 512, **scale)

torch.manual_seed(job["seed"])
lenet, augment = networks.lenet(len(job["train"]["classes"])), LENET.augment
if job["plain"]:  # without what is drawn at random
    lenet[9], augment = nn.Identity(), None  # the dropout
lenet = lenet.to(device, memory_format=torch.channels_last)  # faster
model = DistributedDataParallel(lenet)  # averages gradients over the processes
optimizer = torch.optim.AdamW(model.parameters(), lr=LENET.rate, weight_decay=LENET.decay)
history = training.fit(
    model,
    Shares(learn),
    judge,
    optimizer=optimizer,
    epochs=job["epochs"],
    schedule=training.one_cycle(optimizer, LENET.rate, len(learn), job["epochs"]),
    augment=augment,
    precision=torch.bfloat16 if job["bfloat16"] else torch.float32,
    name=job["name"],
    checkpoint=folder / "checkpoints",
    settings=[job, augment],
    after_epoch=average,
)
trained = {"model": lenet.state_dict(), "history": asdict(history)}
training.save_checkpoint(folder / "trained.pt", trained)  # only process 0 writes
distributed.destroy_process_group()
