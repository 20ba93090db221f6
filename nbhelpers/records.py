"""What the notebooks measured: each model's result, the records that keep them, their folders."""

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nbhelpers.data import Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.sources import artifacts_root, written
from nbhelpers.training import History, parameter_count


def confidence_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy (E. B. Wilson, Probable inference, 1927)."""
    from scipy.stats import binomtest  # takes longer to import than all else here

    interval = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Answers:
    """What a model answered on the test images, and how its training went."""

    predictions: np.ndarray  # uint8 `[n]`, the class that it gave each test image
    confidence: np.ndarray  # float16 `[n]`, the probability that it gave that class
    seconds: np.ndarray  # float32 `[epochs]`, training time until the end of each epoch
    validation_accuracy: np.ndarray  # float32 `[epochs]`, after each epoch


@dataclass(frozen=True)
class Result:
    """One model's line of a record; accuracies are shares, 0 to 1."""

    name: str
    recipe: str
    parameters: int
    epochs: int
    train_seconds: float
    validation_accuracy: float
    test_accuracy: float
    test_class_averaged_accuracy: float
    test_ci95: tuple[float, float]
    test_images: int
    expected_band: tuple[float, float]
    published: float | None
    answers: Answers | None = field(default=None, repr=False, compare=False)  # None: not kept

    @property
    def in_band(self) -> bool:
        """Whether the test accuracy lies in the expected band."""
        low, high = self.expected_band
        return low <= self.test_accuracy <= high


_NUMBERS = [part.name for part in fields(Result) if part.name != "answers"]
_ANSWERS = [part.name for part in fields(Answers)]


def test_result(
    model: torch.nn.Module,
    history: History,
    test: Split,
    probabilities: torch.Tensor,
    *,
    recipe: str,
    band: tuple[float, float],
    published: float | None = None,
) -> Result:
    """Return the model's line of a record, and print it.

    Args:
        model: trained; nothing about it may be chosen after this.
        probabilities: float32 `[n, classes]`, what the model gave for `test`, this one time.
        recipe: the published recipe it stands beside, such as `R1`.
        band: from `Profile.band`, in which the test accuracy should lie.
        published: from `Profile.published`, the test accuracy that the recipe reports.
    """
    from sklearn.metrics import balanced_accuracy_score

    confidence, predictions = probabilities.max(1)
    correct = int((predictions == test.labels).sum())
    answers = Answers(
        predictions.numpy().astype(np.uint8),  # no data set here has more than 256 classes
        confidence.numpy().astype(np.float16),
        np.array(history.seconds, np.float32),
        np.array(history.validation_accuracy, np.float32),
    )
    result = Result(
        name=history.name,
        recipe=recipe,
        parameters=parameter_count(model),
        epochs=history.epochs,
        train_seconds=round(history.seconds[-1], 2),
        validation_accuracy=history.validation_accuracy[-1],
        test_accuracy=correct / len(test),
        test_class_averaged_accuracy=float(balanced_accuracy_score(test.labels, predictions)),
        test_ci95=confidence_interval(correct, len(test)),
        test_images=len(test),
        expected_band=band,
        published=published,
        answers=answers,
    )
    interval = "95 % interval {:.4f} to {:.4f}".format(*result.test_ci95)
    accuracy = f"test accuracy {result.test_accuracy:.4f}"
    print(f"{result.name}: {accuracy} ({interval}, {result.test_images:,} images)")
    return result


test_result.__test__ = False  # pytest: a name, not a test


def record(
    run: Profile,
    dataset: Dataset,
    notebook: str,
    results: Sequence[Result],
    part: str = "",
    **more: object,
) -> Path:
    """Write what a notebook measured; return the path, `artifacts/…/records/<notebook>.json`.

    The answers on the test images go to an `.npz` file beside it; notebook 10 compares the models
    by them. The notebook's checkpoints are deleted.

    Args:
        notebook: such as `01_one_linear_layer`.
        part: a word for the file's name, where a notebook has results on a second data set.
        more: what else was measured, by name; anything that JSON can hold.
    """
    about = {"name": dataset.name, "source": dataset.source}
    about |= {part: len(getattr(dataset, part)) for part in ("train", "validation", "test")}
    entry = {
        "notebook": notebook,
        "profile": run.name,
        "device": run.device.type,
        "data": about | {"fingerprint": dataset.fingerprint},
        "models": [{n: getattr(one, n) for n in (*_NUMBERS, "in_band")} for one in results],
        **more,
        "environment": environment(run),
        "seed": run.seed,
    }
    path = _path(run, dataset, notebook, part)
    beside = path.with_suffix(".npz")
    kept = {f"{number}_": vars(one.answers) for number, one in enumerate(results) if one.answers}
    arrays = {start + name: array for start, some in kept.items() for name, array in some.items()}
    with written(path) as unfinished:  # both are replaced, or neither
        unfinished.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        if arrays:
            with written(beside) as answers, answers.open("wb") as file:
                np.savez_compressed(file, **arrays)
        else:
            beside.unlink(missing_ok=True)  # the answers of an earlier run are not this one's
    shutil.rmtree(checkpoints_folder(run, dataset, notebook), ignore_errors=True)
    return path


def read(path: Path) -> dict[str, Any]:
    """Return one record, as the JSON in its file.

    Raises:
        ValueError: the file is damaged, or no record.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        needed = {"notebook": entry["notebook"], "data": {**entry["data"]}}
        return entry | needed | {"models": [{**one} for one in entry["models"]]}
    except (ValueError, TypeError, KeyError) as error:
        advice = "Delete it and run its notebook again."
        raise ValueError(f"{path}: no results record ({error!r}). {advice}") from None


def recorded(run: Profile, dataset: Dataset, notebook: str) -> list[Result]:
    """Return what `record` wrote with this profile on this data, or `[]`; raise as `read` does."""
    path = _path(run, dataset, notebook)
    models, beside = _on_same_data(path, dataset).get("models", []), path.with_suffix(".npz")
    arrays = dict(np.load(beside, allow_pickle=False)) if models and beside.exists() else {}
    results = []
    for number, model in enumerate(models):
        values = {n: tuple(v) if isinstance(v := model[n], list) else v for n in _NUMBERS}
        kept = [arrays.get(f"{number}_{name}") for name in _ANSWERS]
        answers = None if any(array is None for array in kept) else Answers(*kept)
        results.append(Result(**values, answers=answers))
    return results


def measured(run: Profile, dataset: Dataset, notebook: str, what: str) -> Any | None:
    """Return `what` else an earlier notebook recorded, likewise; None where it has not been run."""
    return _on_same_data(_path(run, dataset, notebook), dataset).get(what)


def _on_same_data(path: Path, dataset: Dataset) -> dict[str, Any]:
    entry = read(path) if path.exists() else {}
    return entry if entry and entry["data"]["fingerprint"] == dataset.fingerprint else {}


def artifacts_folder(run: Profile, dataset: Dataset) -> Path:
    """Return the folder for what a run keeps, one for each profile, device and the sample."""
    return artifacts_root() / f"{run.place}{'-sample' if dataset.source == 'sample' else ''}"


def checkpoints_folder(run: Profile, dataset: Dataset, notebook: str) -> Path:
    """Return the folder for the checkpoints of a notebook's trainings, until it is recorded."""
    return artifacts_folder(run, dataset) / "checkpoints" / notebook


def records_folder(run: Profile, dataset: Dataset) -> Path:
    """Return the folder for the records of a run."""
    return artifacts_folder(run, dataset) / "records"


def _path(run: Profile, dataset: Dataset, notebook: str, part: str = "") -> Path:
    return records_folder(run, dataset) / f"{notebook}{part and f'-{part}'}.json"


def environment(run: Profile) -> dict[str, str | int]:
    """Return the versions and the hardware that a number was measured with."""
    hardware = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or platform.machine()
    if run.device.type == "cuda":
        hardware = torch.cuda.get_device_name(run.device)
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "fastai")},
        "device": hardware,
        "threads": torch.get_num_threads(),
    }
