"""Try settings of notebook 7's compact CNN as one of several workers; torchrun starts each of them:

python -m torch.distributed.run --standalone --nproc-per-node=2 11_sweep.py FOLDER

FOLDER holds `sweep.pt`, the images and what a trial is, and `journal.log`, the study. Workers know
of each other only what the journal says. What is in it stays there when one of them, or the whole
machine, goes down.

Source: T. Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, 2019.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import torch
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from torch import nn
from torch.optim.swa_utils import update_bn

from nbhelpers import networks, training
from nbhelpers.augmentation import RandomWarp
from nbhelpers.data import Batches, Split
from nbhelpers.recipes import COMPACT_CNN
from nbhelpers.training import History

CHANGES = ("degrees", "scale", "shear", "shift", "stretch", "bend")
BEGUN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

optuna.logging.set_verbosity(optuna.logging.WARNING)
folder = Path(sys.argv[1])
job = training.load_checkpoint(folder / "sweep.pt")
train, validation = (Split(**job[part]) for part in ("train", "validation"))
precision = torch.bfloat16 if job["bfloat16"] else torch.float32


def suggest(trial: optuna.Trial) -> tuple[float, float, nn.Module, RandomWarp]:
    """Return a learning rate, a weight decay, a loss and changes of the letters to try."""
    rate = trial.suggest_float("rate", 0.0005, 0.05, log=True)
    decay = trial.suggest_float("decay", 0.001, 0.5, log=True)
    smoothing = trial.suggest_float("smoothing", 0.0, 0.3)
    strength = trial.suggest_float("strength", 0.0, 2.0)  # 1 is notebook 7's
    largest = {what: strength * getattr(COMPACT_CNN.augment, what) for what in CHANGES}
    loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
    return rate, decay, loss, replace(COMPACT_CNN.augment, **largest)


def objective(trial: optuna.Trial) -> float:
    """Train with the settings of `trial`; return the validation accuracy."""
    rate, decay, loss, augment = suggest(trial)
    seed, epochs = trial.user_attrs.get("seed", job["seed"]), job["epochs"]
    torch.manual_seed(seed)
    model = networks.compact_cnn().to(job["device"], memory_format=torch.channels_last)
    batches = Batches(train, 64, shuffle=True, seed=seed, device=job["device"])
    exam = Batches(validation, 512, device=job["device"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)

    def report(epoch: int, history: History) -> None:
        """Give up if this trial is worse than most others were at this point."""
        with torch.autocast(job["device"], precision, enabled=job["bfloat16"]):  # as in notebook 7
            update_bn((x for x, _ in Batches(train[:1024], 256, device=job["device"])), model)
        accuracy = training.evaluate(model, exam, precision=precision).accuracy
        history.validation_accuracy[-1] = accuracy
        trial.report(accuracy, epoch)
        if epoch + 1 < epochs and trial.should_prune():
            raise optuna.TrialPruned

    history = training.fit(
        model,
        batches,
        exam,
        optimizer=optimizer,
        epochs=epochs,
        schedule=training.one_cycle(
            optimizer, rate, len(batches), epochs, pct_start=COMPACT_CNN.early_top
        ),
        loss_function=loss,
        augment=augment,
        precision=precision,
        name=f"trial {trial.number}",
        after_epoch=report,
    )
    return history.validation_accuracy[-1]


file = str(folder / "journal.log")
journal = JournalFileBackend(file, JournalFileOpenLock(file))
pruners = optuna.pruners
study = optuna.load_study(
    study_name=job["study"],
    storage=optuna.storages.JournalStorage(journal),
    pruner=pruners.MedianPruner(n_startup_trials=4) if job["prune"] else pruners.NopPruner(),
)
seed = job["seed"] + 1_000 * int(os.environ["RANK"]) + len(study.trials)  # never the same again
study.sampler = optuna.samplers.TPESampler(n_startup_trials=6, seed=seed)
enough = optuna.study.MaxTrialsCallback(job["trials"], states=BEGUN)
told = lambda study, trial: print("done with trial", trial.number, flush=True)  # noqa: E731
if len(study.get_trials(states=BEGUN)) < job["trials"]:
    study.optimize(objective, catch=FloatingPointError, callbacks=[told, enough])
