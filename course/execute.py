"""Execute the notebooks headless, keep clean copies under `build/`, sum up, and build the site."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import nbformat
import torch
from filelock import FileLock, Timeout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from course import promises
from handwriting.models import ModelError
from nbhelpers import profile
from nbhelpers.sources import WriteError, artifacts_root, cannot_write, project_folder, written

ALL = ("",)  # with which every name begins
# Which notebooks show results of others, and so wait for them where several run at once. One that
# waits for all, to compare them or to measure how fast processes are, has the machine to itself.
AFTER = {"02": ("01",), "07": ("01", "02", "03", "05"), "08": ("06", "07"), "09": ("05", "07")}
AFTER |= {"10": ALL, "11": ALL}
# The models that come with the course, by the notebook that trains them.
MODELS = {"05": "lenet", "07": "compact_cnn"}


class RunError(RuntimeError):
    """Notebooks cannot be executed now."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop without signals: nbclient would stop only the last begun notebook on Ctrl-C."""

    def add_signal_handler(self, sig: int, callback: Callable, *args: object) -> None:
        """Refuse, as outside the main thread, which nbclient is prepared for."""
        raise RuntimeError("signals are left to asyncio.Runner")


def run(
    wanted: list[str], *, force: bool = False, publish: bool = False, jobs: int | None = None
) -> int:
    """Execute notebooks, sum up and build the site; return 0 if all went well.

    While one notebook imports, reads or draws, which takes one core, another can compute; so two
    run at once where there are several cores.

    Args:
        wanted: numbers such as `01`, or the beginning of a name; all notebooks if empty.
        force: execute those too that have not changed since they were last executed.
        publish: also write the executed notebooks over the committed ones, and their records to
            `results/`.
        jobs: how many run at once, at least 1, on a CPU at most as many as it has threads, since
            more threads than cores mostly wait for one another. By default 2 there; 1 on a GPU,
            and for `publish`, since seconds that others read should be of one training alone.

    Raises:
        FileNotFoundError: `wanted` names a notebook that does not exist.
        RunError: another run under this profile is going on.
        WriteError: the disk is full, or the project's folder cannot be written to.
    """
    root = project_folder()
    here = profile.current()
    build = root / "build" / here.place
    paths = find(root / "notebooks", wanted)
    os.environ["NB_HEADLESS"] = "1"
    os.environ["NB_PROFILE"] = here.name
    print(f"profile {here.name} on {here.device}; copies go to {build}")
    jobs = jobs or (1 if publish or here.device.type != "cpu" else 2)
    if here.device.type == "cpu":
        jobs = min(jobs, torch.get_num_threads())
    with alone(build), _home(), asyncio.Runner(loop_factory=_Loop) as runner:
        started = time.perf_counter()
        rows = runner.run(_rows(paths, jobs, build, here, force=force, publish=publish))
        if not wanted and all(row.executed and not row.error for row in rows):
            promises.write(build / "together.json", {"seconds": time.perf_counter() - started})
        _print_summary(rows, here.place)
        print(flush=True)
        with FileLock(root / "build" / "site.lock"):  # runs under other profiles build it, too
            failed = build_site(root, build)
    return int(failed or any(row.error for row in rows))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make `folder`, and keep other runs out of it until the block ends.

    Raises:
        RunError: another run writes there.
        WriteError: it cannot be made or written to.
    """
    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{folder}: another run is going on, which writes there. Wait for its end, or stop it."
        ) from None
    except OSError as error:
        raise WriteError(cannot_write(folder, error)) from error
    try:
        yield
    finally:
        lock.release()


class _Row(NamedTuple):
    """What became of one notebook; `seconds` are those of its last execution."""

    name: str
    seconds: float
    error: str | None
    executed: bool


async def _rows(
    paths: list[Path], jobs: int, build: Path, here: profile.Profile, **options: bool
) -> list[_Row]:
    """Execute notebooks in their order; options are those of `_row`.

    Where several run at once, those begin first after which most is left to do one after the
    other, as far as `results/durations.json` tells; then fewer cores are idle towards the end.
    """
    share = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))}
    names = [path.stem for path in paths]
    seconds = promises.read(project_folder() / "results" / "durations.json").get(here.place, {})
    left = {name: _left(name, names, seconds) for name in names}
    in_order = sorted(paths, key=lambda p: left[p.stem], reverse=True) if jobs > 1 else paths
    waiting = {path.stem: path for path in in_order}
    running: dict[asyncio.Task[_Row], str] = {}
    rows = {}
    while waiting or running:
        for name in list(waiting):
            earlier = AFTER.get(name[:2], ())
            unfinished = [other for other in (*waiting, *running.values()) if other < name]
            if len(running) < jobs and not any(o.startswith(earlier) for o in unfinished):
                settings = {} if jobs == 1 or earlier == ALL else share
                work = _row(waiting.pop(name), build, here, settings, **options)
                running[asyncio.create_task(work)] = name
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            rows[running.pop(task)] = task.result()
    return [rows[path.stem] for path in paths]


def _left(name: str, names: list[str], seconds: dict[str, float]) -> float:
    """Return how long a notebook, and then those that wait for it one after the other, take.

    Args:
        name: of the notebook.
        names: of all that are to run.
        seconds: what each took elsewhere; one that is not there counts as one second.
    """
    later = [n for n in names if n > name and name.startswith(AFTER.get(n[:2], ()))]
    return seconds.get(name, 1.0) + max((_left(n, names, seconds) for n in later), default=0.0)


async def _row(
    path: Path,
    build: Path,
    here: profile.Profile,
    settings: dict[str, str],
    *,
    force: bool,
    publish: bool,
) -> _Row:
    """Execute a notebook if need be; return what became of it."""
    print(f"{path.stem} …", flush=True)
    executed, stamp = build / path.name, _stamp(path, here)
    state_file = executed.with_suffix(".json")
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    if force or state.get("stamp") != stamp or not executed.exists():
        state_file.unlink(missing_ok=True)
        if force:  # from the very beginning: no training goes on from a checkpoint
            for kept in artifacts_root().glob(f"{here.place}*/checkpoints/{path.stem}"):
                shutil.rmtree(kept)
        started = time.perf_counter()
        error = await _executed(path, executed, settings)
        state = {"stamp": stamp, "seconds": time.perf_counter() - started}
        if not error:
            with written(state_file) as unfinished:
                unfinished.write_text(json.dumps(state), encoding="utf-8")
        print(f"{path.stem}: {state['seconds']:.0f} s", flush=True)
        if error:
            print(error, flush=True)
        fresh = True
    else:
        error, fresh = None, False
        print(f"{path.stem}: unchanged, not executed again (make run FORCE=1 does)", flush=True)
    if publish and not error:
        try:
            _publish_model(path, here)
            _publish(path, executed, here.place)
            promises.keep_durations(here.place, {path.stem: state["seconds"]}, project_folder())
        except ModelError as problem:  # of this notebook alone
            error = str(problem)
            print(error, flush=True)
    return _Row(path.stem, state["seconds"], error, fresh)


def build_site(root: Path, executed: Path) -> bool:
    """Build the web site from copies in `executed`, as its `build.py` says; return if it failed.

    A process of its own keeps what Sphinx imports, and what it may do wrong, away from results.
    """
    command = [
        sys.executable,
        str(root / "course" / "site" / "build.py"),
        "--executed",
        str(executed),
    ]
    return subprocess.run(command).returncode != 0


def find(folder: Path, wanted: list[str]) -> list[Path]:
    """Return the notebooks in `folder` whose names begin with one of `wanted`, in order."""
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for name in wanted:
        if not any(path.name.startswith(name) for path in every):
            known = ", ".join(path.stem for path in every)
            raise FileNotFoundError(f"no notebook begins with {name!r}. There are: {known}")
    return [path for path in every if not wanted or path.name.startswith(tuple(wanted))]


def notebook(path: Path, executed: Path, **settings: str) -> str | None:
    """Execute `path` into `executed`; return what went wrong, or None.

    Args:
        path: the notebook; it is executed in its folder, and left as it is.
        executed: where the executed copy is written.
        settings: environment variables for its kernel alone.
    """
    with _home(), asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(_executed(path, executed, settings))


async def _executed(path: Path, executed: Path, settings: dict[str, str]) -> str | None:
    content = nbformat.read(path, as_version=4)
    for cell in content.cells:  # where execution ends early, nothing old is left behind it
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        content,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    try:
        await client.async_execute(env=os.environ | settings)
        error = None
    except CellExecutionError as problem:
        error = str(problem)
    except DeadKernelError:
        if (task := asyncio.current_task()) and task.cancelling():  # Ctrl-C: we killed it ourselves
            raise asyncio.CancelledError from None
        error = (
            f"{path.name}: its kernel was killed, perhaps for lack of memory. Close other programs "
            "or choose a smaller PROFILE, then run it again: training goes on where it was."
        )
    content.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "file_extension": ".py"},
    }
    with written(executed) as unfinished:
        nbformat.write(content, unfinished)
    return error


@contextlib.contextmanager
def _home() -> Iterator[None]:
    """Give Jupyter a home folder for a while, where there is none that it may write to."""
    try:
        usable = os.access(Path.home(), os.W_OK)
    except RuntimeError:  # no HOME, and a user whom the system does not know
        usable = False
    if usable:
        yield
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="nbhelpers-", ignore_cleanup_errors=True) as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            del os.environ["HOME"]
            if before is not None:
                os.environ["HOME"] = before


def _publish(path: Path, executed: Path, place: str) -> None:
    """Write an executed notebook over the committed one, and its records over the reference.

    Records on the embedded sample are no reference, and stay where they are.
    """
    with written(path) as unfinished:
        shutil.copyfile(executed, unfinished)
    for record in (artifacts_root() / place / "records").glob(f"{path.stem}[.-]*"):
        with written(project_folder() / "results" / place / record.name) as unfinished:
            shutil.copyfile(record, unfinished)


def _publish_model(path: Path, here: profile.Profile) -> None:
    """Publish the model that a notebook has trained, if it is one that comes with the course.

    Only what `full` has trained on the real data comes with it.
    """
    from handwriting import models, saving
    from nbhelpers import data, tamil

    name, folder = MODELS.get(path.stem[:2]), artifacts_root() / here.place
    if not name or here.name != "full" or not (folder / f"{name}.safetensors").exists():
        return
    _, card = models.load(name, folder)
    if card.form == "tamil":
        dataset = tamil.tamil(here, proportions=card.proportions)
    else:
        dataset = data.mnist(here)
    if dataset.source == "full":
        saving.publish(name, folder, dataset.validation)


def _stamp(path: Path, here: profile.Profile) -> str:
    """Return a digest of all that decides what executing `path` gives."""
    cells = nbformat.read(path, as_version=4).cells
    settings = ("SAMPLE", "MIRROR", "ARTIFACTS", "DAMAGED")
    parts = [here.place, *(os.environ.get(f"NBHELPERS_{x}", "") for x in settings)]
    parts += [version("torch"), version("fastai"), version("scikit-learn")]
    parts += [cell.source for cell in cells]
    package = project_folder() / "nbhelpers"
    parts += [p.read_text(encoding="utf-8") for p in sorted(package.glob("*.[jpt]*"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _print_summary(rows: list[_Row], place: str) -> None:
    print(f"\n{'notebook':<36} {'time':>6}  {'model':<34} {'test':>7}  in its expected band")
    for name, seconds, error, _ in rows:
        models = [] if error else _models(place, name)
        first = models[0] if models else ("failed" if error else "no model", "", "")
        print(f"{name:<36} {seconds:>4.0f} s  {first[0]:<34} {first[1]:>7}  {first[2]}")
        for model in models[1:]:
            print(f"{'':<44} {model[0]:<34} {model[1]:>7}  {model[2]}")


def _models(place: str, name: str) -> list[tuple[str, str, str]]:
    """Return the newest record of a notebook: on the real data or on the sample."""
    records = list(artifacts_root().glob(f"{place}*/records/{name}.json"))
    if not records:
        return []
    record = json.loads(max(records, key=lambda p: p.stat().st_mtime).read_text(encoding="utf-8"))
    note = " (sample data)" if record["data"]["source"] == "sample" else ""
    return [
        (m["name"], f"{m['test_accuracy']:.4f}", ("yes" if m["in_band"] else "NO") + note)
        for m in record["models"]
    ]
