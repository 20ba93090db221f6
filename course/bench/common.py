"""What the benchmarks share: a clock, a busy process, a process apart, and the record."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from course import readme, results
from nbhelpers import data, profile, records
from nbhelpers.sources import project_folder


def real(dataset: data.Dataset) -> data.Dataset:
    """Return the data set; end the program where it is the embedded sample."""
    if dataset.source == "sample":
        raise SystemExit("The benchmark needs the real data: `make data` fetches it.")
    return dataset


def now(device: torch.device) -> float:
    """Return the time in seconds, once all that was begun on the device has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy while the block runs."""
    process = get_context("spawn").Process(target=exec, args=("while True: pass",), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def outcome(mark: float, seconds: float, epochs: float, accuracy: float) -> dict[str, Any]:
    """Return what is recorded of a training."""
    spent = {"seconds_an_epoch": seconds / epochs, "epochs": epochs, "seconds": seconds}
    return spent | {"accuracy": accuracy, "reached": accuracy >= mark}


def apart(way: Callable[..., dict], *arguments: Any) -> dict:
    """Return what `way` returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(way, *arguments).result()


def tell(name: str, run: profile.Profile, **measured: Any) -> None:
    """Print what was measured, and on which machine; write it to results/, but no mere trial."""
    numbers = str(run.precision).removeprefix("torch.")
    kind = {"numbers": numbers, "instructions": torch.backends.cpu.get_cpu_capability()}
    entry = {"environment": records.environment(run) | kind, **measured}
    print(readme.bench([entry]))
    if os.environ.get("NB_PROFILE", run.name) != "smoke":
        place = f"bench-{'cpu' if run.device.type == 'cpu' else 'gpu'}"
        path = project_folder() / "results" / place / f"{name}.json"
        results.write(path, entry)
        print(f"written to {path.relative_to(project_folder())}")
