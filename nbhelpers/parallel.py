"""Train one model with several processes, on one machine or on several.

Each process computes the gradients of its share of every batch. PyTorch averages them (all-reduce)
through Hugging Face Accelerate, so that all take the same step and hold the same weights.

`train` starts the processes on this machine. `python -m nbhelpers.parallel FOLDER` is what each of
them does; `torchrun` and `accelerate launch` start that on several GPUs or machines.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import timedelta
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import nn
from torch.distributed.elastic.utils.distributed import get_free_port
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, start_processes
from torch.nn import functional

from nbhelpers import checkpoints, networks, training
from nbhelpers.augmentation import RandomAffine
from nbhelpers.data import Batches, Split
from nbhelpers.progress import Progress
from nbhelpers.training import History

WAIT = timedelta(seconds=120)  # for a process that no longer answers
LOOPBACK = {"linux": "lo", "darwin": "lo0"}
JOB = "job.safetensors"

Batch = tuple[torch.Tensor, torch.Tensor]


class WorkerDied(RuntimeError):
    """One of several processes has ended before its work was done, and the others were stopped."""


# ------------------------------------------------------------------------------ in each process


def shares(batches: Iterable[Batch], rank: int, processes: int) -> Iterator[tuple[Batch, int]]:
    """Yield, of each batch, the share of one process, and the size of the whole batch.

    All processes go through the same batches in the same order, and their shares of a batch
    together are that batch.

    Args:
        batches: the same in every process.
        rank: the number of this process, from 0.
        processes: how many there are.
    """
    for inputs, labels in batches:
        yield (inputs[rank::processes], labels[rank::processes]), len(labels)


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Go through `batches` once, as one of several processes.

    Args:
        accelerator: knows the other processes; `model` and `optimizer` were prepared by it.
        model: returns logits `[b, classes]`.
        batches: the whole batches, the same in every process.
        optimizer: takes a step after each batch, with gradients averaged over the processes.
        schedule: sets the learning rate; stepped after each batch.
        augment: changes the images of this process's share.

    Returns:
        The sum of the losses, the right answers and the images of this process: float64 `[3]`.
    """
    model.train()
    rank, processes = accelerator.process_index, accelerator.num_processes
    sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
    for (inputs, labels), batch_size in shares(batches, rank, processes):
        logits = model(augment(inputs) if augment else inputs).float()
        loss_sum = functional.cross_entropy(logits, labels, reduction="sum")
        # Gradients are averaged over the processes, so this makes them those of the batch's mean.
        accelerator.backward(loss_sum * processes / batch_size)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        right = (logits.argmax(1) == labels).sum()
        sums += torch.stack([loss_sum.detach(), right, torch.full_like(right, len(labels))])
    return sums


def work(folder: Path) -> History:
    """Train LeNet as one of the processes that `train`, torchrun or `accelerate launch` started.

    Process 0 keeps the state in the folder after each epoch, and from there training goes on.

    Args:
        folder: as `prepare` has left it. On several machines: one that all of them see.

    Raises:
        FloatingPointError: the loss is no longer a number.
        checkpoints.CheckpointError: the checkpoint is damaged.
    """
    job = checkpoints.load(folder / JOB)
    checkpoint = folder / job["checkpoint"]
    accelerator = Accelerator(
        cpu=job["cpu"],
        mixed_precision="bf16" if job["bfloat16"] else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT)],
    )
    train_batches, validation_batches = _batches(job, accelerator.device)
    torch.manual_seed(job["seed"])
    lenet = networks.lenet(len(job["classes"]))
    augment = RandomAffine(degrees=7, scale=0.07, shear=0.1, shift=0.04)
    if job["plain"]:
        lenet[9], augment = nn.Identity(), None  # the dropout
    # The schedule is not prepared: Accelerate would step it once for each process.
    optimizer = torch.optim.AdamW(lenet.parameters(), lr=0.004, weight_decay=0.01)
    schedule = training.one_cycle(optimizer, 0.004, len(train_batches), job["epochs"])
    parts = {"model": lenet.to(accelerator.device), "optimizer": optimizer, "schedule": schedule}
    history = History(job["name"])
    if checkpoint.exists():
        _restore(checkpoint, parts, train_batches, history)
    model, prepared = accelerator.prepare(lenet, optimizer)
    accelerator.wait_for_everyone()
    for epoch in range(history.epochs, job["epochs"]):
        # Every process draws its own dropout and changes, and the same ones after an interruption.
        torch.manual_seed(job["seed"] + 1_000 * (epoch + 1) + accelerator.process_index)
        started = time.perf_counter()
        sums = train_epoch(accelerator, model, train_batches, prepared, schedule, augment)
        sums = accelerator.reduce(sums, "sum")  # which also waits for the slowest
        seconds = time.perf_counter() - started
        exam = shares(validation_batches, accelerator.process_index, accelerator.num_processes)
        score = training.evaluate(lenet, [share for share, _ in exam if len(share[1])])
        judged = [score.loss * score.images, score.correct, score.images]
        judged = torch.tensor(judged, dtype=torch.float64, device=accelerator.device)
        _note(history, sums, accelerator.reduce(judged, "sum"), seconds)
        if accelerator.is_main_process:
            _save(checkpoint, parts, train_batches, history)
    accelerator.end_training()
    return history


def _batches(job: dict[str, Any], device: torch.device) -> tuple[Batches, Batches]:
    scale = {"mean": 0.5, "std": 0.5, "device": device}
    train, validation = (
        Split(job[f"{part}_images"], job[f"{part}_labels"], tuple(job["classes"]))
        for part in ("train", "validation")
    )
    shuffled = Batches(train, job["batch_size"], shuffle=True, seed=job["seed"], **scale)
    return shuffled, Batches(validation, 512, **scale)


def _note(history: History, learnt: torch.Tensor, judged: torch.Tensor, seconds: float) -> None:
    """Add an epoch to `history`; both tensors hold the sum of losses, right answers, images."""
    if not learnt.isfinite().all():
        raise FloatingPointError(
            f"{history.name}: the loss in epoch {history.epochs + 1} is {learnt[0].item()}. "
            "A smaller learning rate usually helps."
        )
    for part, sums in (("train", learnt), ("validation", judged)):
        loss, right, images = sums.tolist()
        getattr(history, f"{part}_loss").append(loss / images)
        getattr(history, f"{part}_accuracy").append(right / images)
    history.seconds.append((history.seconds or [0.0])[-1] + seconds)


def _save(path: Path, parts: dict[str, Any], order: Batches, history: History) -> None:
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "order": order.generator.get_state(),
        "history": asdict(history),
    }
    checkpoints.save(path, state)


def _restore(path: Path, parts: dict[str, Any], order: Batches, history: History) -> None:
    state = checkpoints.load(path)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    order.generator.set_state(state["order"])
    vars(history).update(state["history"])


# ------------------------------------------------------------------------- starting the processes


def prepare(
    folder: Path,
    train: Split,
    validation: Split,
    *,
    seed: int,
    epochs: int,
    name: str = "LeNet",
    batch_size: int = 256,
    plain: bool = False,
    precision: torch.dtype = torch.float32,
    cpu: bool = True,
) -> Path:
    """Write to `folder` all that a process must know to take its part in a training of LeNet.

    Args:
        folder: of this training.
        train: to learn from.
        validation: to judge on after each epoch.
        seed: of the weights, the order of the images and their changes.
        epochs: how often to go through `train`.
        name: what figures and tables call the model.
        batch_size: images a batch, of all processes together.
        plain: leave out what is drawn at random in training, dropout and changes of the images, so
            that any number of processes computes the same.
        precision: float32, or bfloat16 for automatic mixed precision.
        cpu: compute on the CPU even where there are GPUs.

    Returns:
        Where the checkpoint will lie, or lies: training goes on from one that was left by a
        training with these images and settings.
    """
    splits = {"train": train, "validation": validation}
    job = {f"{part}_{what}": getattr(split, what) for part, split in splits.items()
           for what in ("images", "labels")}  # fmt: skip
    job |= {"seed": seed, "epochs": epochs, "name": name, "batch_size": batch_size}
    job |= {"plain": plain, "bfloat16": precision == torch.bfloat16, "cpu": cpu}
    job["classes"] = list(train.classes)
    checkpoint = checkpoints.path(folder, name, job)
    checkpoints.save(folder / JOB, job | {"checkpoint": checkpoint.name})
    return checkpoint


def train(
    folder: Path, train: Split, validation: Split, processes: int, **options: Any
) -> tuple[nn.Module, History]:
    """Train LeNet with several processes on this machine, and wait for them.

    The cores are divided among them. Where the same training was interrupted it goes on. Its
    checkpoint stays, so that a training that is complete is not done again.

    Args:
        folder: for what the processes must know and for their checkpoint.
        train: to learn from.
        validation: to judge on after each epoch.
        processes: how many.
        options: see `prepare`.

    Returns:
        the trained model, on the CPU, and what was measured.

    Raises:
        WorkerDied: a process was killed or raised an exception.
    """
    checkpoint = prepare(folder, train, validation, **options)
    history = History(options.get("name", "LeNet"))
    with Progress(history, options["epochs"], 1) as progress:

        def watch() -> None:
            written = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            if written not in seen:
                seen.add(written)
                progress.batch_done()

        seen = {0}
        afterwards = f"the training goes on from {checkpoint.name}"
        state = checkpoints.load(checkpoint) if checkpoint.exists() else None
        if not state or len(state["history"]["seconds"]) < options["epochs"]:
            start(work, (folder,), processes, folder, afterwards, watch)
            state = checkpoints.load(checkpoint)
        vars(history).update(state["history"])
    model = networks.lenet(len(train.classes))
    model.load_state_dict(state["parts"]["model"])
    (folder / JOB).unlink()
    return model.eval(), history


def start(
    function: Callable[..., Any],
    arguments: tuple,
    processes: int,
    folder: Path,
    afterwards: str,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run `function(*arguments)` in new processes on this machine, and wait for them.

    Each finds its number in the environment variable RANK, as if torchrun had started it. Should
    one of them die, the others are stopped at once: they might wait for it for ever.

    Args:
        function: of a module, so that a new process can import it.
        arguments: for all of them alike.
        processes: how many.
        folder: for what they print, a file each; those of a run that went well are deleted.
        afterwards: what starting again does, for the message if a process dies.
        watch: called a few times a second meanwhile.

    Raises:
        WorkerDied: one was killed or raised an exception; the message names its number.
    """
    # A forked copy of this process could not compute, since OpenMP's threads are not copied. A
    # fork server is a fresh process that has imported the package but not computed yet.
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    if method == "forkserver":
        get_context(method).set_forkserver_preload([__name__])
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # we say it ourselves
    threads = max(1, torch.get_num_threads() // processes)
    settings = (function, arguments, processes, get_free_port(), threads, folder)
    context = start_processes(
        _begin, settings, processes, join=False, daemon=True, start_method=method
    )
    try:
        while not context.join(timeout=0.2):
            watch()
    except (ProcessExitedException, ProcessRaisedException) as error:
        codes = [process.exitcode for process in context.processes]
        cause = error if isinstance(error, ProcessRaisedException) else None
        raise _explained(error, codes, afterwards) from cause
    finally:
        for process in context.processes:
            process.kill()
    for rank in range(processes):
        _log(folder, rank).unlink()


def _begin(
    rank: int,
    function: Callable[..., Any],
    arguments: tuple,
    processes: int,
    port: int,
    threads: int,
    folder: Path,
) -> None:
    """Tell PyTorch and Accelerate who this process is, as torchrun would, and begin."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
    }  # fmt: skip
    if sys.platform in LOOPBACK:  # the processes talk within this machine, with or without network
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]
    torch.set_num_threads(threads)
    with _log(folder, rank).open(
        "w", encoding="utf-8"
    ) as file:  # else it would end up in the notebook
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function(*arguments)


def _log(folder: Path, rank: int) -> Path:
    return folder / f"process_{rank}.log"


def _explained(
    error: ProcessExitedException | ProcessRaisedException,
    codes: list[int | None],
    afterwards: str,
) -> WorkerDied:
    rank = error.error_index
    killed = [i for i, code in enumerate(codes) if code and code < 0 and code != -signal.SIGTERM]
    if isinstance(error, ProcessExitedException):
        how = str(error).partition(" terminated with ")[2]
    elif killed:  # that one made this one fail
        rank = killed[0]
        how = f"signal {signal.Signals(-codes[rank]).name}"
    else:
        how = str(error).strip().splitlines()[-1]
    return WorkerDied(
        f"Process {rank} of {len(codes)} (counted from 0) died: {how}. The others were stopped. "
        f"Start it again: {afterwards}."
    )


def main() -> None:
    """Take part in the training of the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: torchrun … -m nbhelpers.parallel FOLDER (as parallel.prepare has left it)")
    history = work(Path(sys.argv[1]))
    if os.environ.get("RANK", "0") == "0":
        print(
            f"{history.name}: epochs {history.epochs}, {history.seconds[-1]:.1f} s of training, "
            f"validation accuracy {history.validation_accuracy[-1]:.4f}"
        )


if __name__ == "__main__":
    main()
