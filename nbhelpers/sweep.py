"""Look for better settings of the compact CNN with Optuna: several workers, one journal on disk.

Workers are processes that know of each other only what the journal says. Each asks it which
settings have been tried, tries new ones, and writes down what came out. What is in the journal
stays there when a worker, or the whole machine, goes down.

Source: T. Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, 2019.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from tqdm.auto import tqdm

from nbhelpers import checkpoints, networks, parallel, training
from nbhelpers.augmentation import RandomWarp
from nbhelpers.data import Batches, Split

JOURNAL, IMAGES = "journal.log", "images.safetensors"
NOTEBOOK_7 = {"rate": 0.004, "decay": 0.05, "smoothing": 0.1, "strength": 1.0}
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggest(trial: optuna.Trial) -> dict[str, float]:
    """Return the settings that `trial` is to try, from the ranges that we think sensible."""
    return {
        "rate": trial.suggest_float("rate", 0.0005, 0.05, log=True),
        "decay": trial.suggest_float("decay", 0.001, 0.5, log=True),
        "smoothing": trial.suggest_float("smoothing", 0.0, 0.3),
        "strength": trial.suggest_float("strength", 0.0, 2.0),
    }


def hands(strength: float) -> RandomWarp:
    """Return the changes of notebook 7's training images, `strength` times as large."""
    largest = {"degrees": 12, "scale": 0.15, "shear": 0.25, "shift": 0.05, "stretch": 0.4}
    return RandomWarp(**{what: strength * most for what, most in largest.items()},
                      bend=0.02 * strength)  # fmt: skip


def objective(
    trial: optuna.Trial,
    train: Split,
    validation: Split,
    *,
    epochs: int,
    seed: int,
    device: str = "cpu",
    bfloat16: bool = False,
) -> float:
    """Train the compact CNN with the settings of `trial`; return the validation accuracy.

    After each epoch the trial reports how it stands, and gives up if it is worse than most others
    were at that point. The test images play no part.

    Args:
        trial: of a study; it may have a seed of its own, as a user attribute.
        train: to learn from.
        validation: to judge on; its writers are not among those of `train`.
        epochs: how often to go through `train`.
        seed: of the weights, the order of the images and their changes.
        device: where to compute.
        bfloat16: automatic mixed precision.

    Raises:
        optuna.TrialPruned: the trial was given up.
    """
    settings = suggest(trial)
    precision = torch.bfloat16 if bfloat16 else torch.float32
    seed = trial.user_attrs.get("seed", seed)
    torch.manual_seed(seed)
    model = networks.compact_cnn().to(device, memory_format=torch.channels_last)
    batches = Batches(train, 64, shuffle=True, seed=seed, device=device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["rate"], weight_decay=settings["decay"]
    )
    schedule = training.one_cycle(optimizer, settings["rate"], len(batches), epochs, pct_start=0.2)
    augment, accuracy = hands(settings["strength"]), 0.0
    for epoch in range(epochs):
        model.train()
        for inputs, labels in batches:
            with torch.autocast(device, precision, enabled=bfloat16):
                logits = model(augment(inputs))
            loss = functional.cross_entropy(
                logits.float(), labels, label_smoothing=settings["smoothing"]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.autocast(device, precision, enabled=bfloat16):  # as in notebook 7
            update_bn((x for x, _ in Batches(train[:1024], 256, device=device)), model)
        exam = Batches(validation, 512, device=device)
        accuracy = training.evaluate(model, exam, precision=precision).accuracy
        trial.report(accuracy, epoch)
        if epoch + 1 < epochs and trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def study(folder: Path, name: str, prune: bool = True) -> optuna.Study:
    """Return the study `name` of the journal in `folder`, begun if it is not there yet.

    Args:
        folder: of the sweep.
        name: of the study; a journal may hold several.
        prune: give up trials that are worse than most others were after the same epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pruners = optuna.pruners
    return optuna.create_study(
        study_name=name,
        storage=_journal(folder),
        pruner=pruners.MedianPruner(n_startup_trials=4) if prune else pruners.NopPruner(),
        direction="maximize",
        load_if_exists=True,
    )


def _journal(folder: Path) -> JournalStorage:
    path = str(folder / JOURNAL)
    return JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))


def run(
    folder: Path,
    name: str,
    train: Split,
    validation: Split,
    *,
    trials: int,
    workers: int,
    seed: int,
    epochs: int,
    first: Sequence[tuple[dict[str, float], int]] = (),
    prune: bool = True,
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
) -> optuna.Study:
    """Let several workers at once try settings until `trials` are done.

    Trials that are in the journal already count, so a sweep that was interrupted goes on.

    Args:
        folder: for the journal, and for the images that the workers read.
        name: of the study.
        train: to learn from.
        validation: to judge on; the test images play no part.
        trials: how many, pruned ones included.
        workers: processes; the cores are divided among them.
        seed: of every training; and, with the trial's number added, of what the sampler draws.
        epochs: of a trial that is not pruned.
        first: settings to try before the sampler suggests any, each with the seed of its training.
        prune: see `study`.
        device: where to compute.
        precision: float32, or bfloat16 for automatic mixed precision.

    Returns:
        A copy of the study in memory, which needs the journal no longer.

    Raises:
        parallel.WorkerDied: a worker was killed or raised an exception.
    """
    whole = study(folder, name)
    for trial in whole.get_trials(states=(TrialState.RUNNING,)):  # of a worker that died
        whole.tell(trial.number, state=TrialState.FAIL)
    kept = whole.get_trials(states=(*DONE, TrialState.WAITING))
    there = {trial.user_attrs.get("first") for trial in kept}
    for number, (settings, its_seed) in enumerate(first):
        if number not in there:
            whole.enqueue_trial(settings, user_attrs={"first": number, "seed": its_seed})
    images = {"train": vars(train), "validation": vars(validation)}
    checkpoints.save(folder / IMAGES, images)
    options = {"epochs": epochs, "seed": seed, "device": device}
    options["bfloat16"] = precision == torch.bfloat16
    headless = bool(os.environ.get("NB_HEADLESS"))
    with tqdm(desc="sweep", total=trials, unit="trial", leave=False, disable=headless) as bar:

        def watch() -> None:
            bar.update(len(whole.get_trials(deepcopy=False, states=DONE)) - bar.n)

        arguments = (folder, name, trials, prune, options)
        afterwards = f"the trials that are done are kept in {JOURNAL}"
        parallel.start(_work, arguments, workers, folder, afterwards, watch)
    (folder / IMAGES).unlink()
    memory = optuna.storages.InMemoryStorage()
    optuna.copy_study(
        from_study_name=name, from_storage=_journal(folder), to_storage=memory, to_study_name=name
    )
    return optuna.load_study(study_name=name, storage=memory)


def _work(folder: Path, name: str, trials: int, prune: bool, options: dict[str, Any]) -> None:
    """Try settings as one of several workers, until the study has its trials."""
    images = checkpoints.load(folder / IMAGES)
    splits = [Split(**images[part]) for part in ("train", "validation")]
    own = study(folder, name, prune)
    while trial := _next(own, folder, trials, options["seed"]):
        try:
            accuracy = objective(trial, *splits, **options)
        except optuna.TrialPruned:
            own.tell(trial, state=TrialState.PRUNED)
        else:
            own.tell(trial, accuracy)


def _next(own: optuna.Study, folder: Path, trials: int, seed: int) -> optuna.Trial | None:
    """Return a new trial, or None if as many as wanted are done or begun."""
    with FileLock(folder / "next.lock"):  # between counting and asking no one else may ask
        begun = own.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING))
        if len(begun) >= trials:
            return None
        # A seed for each trial, not for each worker: who comes first must not decide what is drawn.
        number = len(own.get_trials(deepcopy=False))
        own.sampler = optuna.samplers.TPESampler(n_startup_trials=6, seed=seed + number)
        return own.ask()
