"""Execute the notebooks headless, keep clean copies under `build/`, sum up, and build the site."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import torch
from filelock import FileLock, Timeout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from course import results
from course.stamp import stamp
from handwriting.models import ModelError
from nbhelpers import profile, sources
from nbhelpers.sources import artifacts_root, data_folder, project_folder, written

ALL = ("",)  # with which every name begins
# Which notebooks show results of others, and so wait for them where several run at once. The one
# that measures how fast processes are waits for all others, later ones too, to have all cores.
AFTER = {"02": ("01",), "07": ("01", "02", "03", "05"), "08": ("06",), "09": ("05", "07")}
AFTER |= {"10": tuple(f"{number:02}" for number in range(1, 9)), "11": ALL}
# What is told of each model at the end, and under which head.
SUMMARY = {"name": "model", "test_accuracy": "test", "in_band": "in its band", "source": "data"}
# The models that come with the course, by the notebook that trains them.
MODELS = {"05": "lenet", "07": "compact_cnn"}


class _Row(NamedTuple):
    """What became of one notebook; `seconds` are those of its last execution."""

    name: str
    seconds: float
    error: str | None
    executed: bool


def run(
    wanted: list[str], *, force: bool = False, publish: bool = False, jobs: int | None = None
) -> int:
    """Execute notebooks, sum up and build the site; return 0 if all went well.

    Args:
        wanted: numbers such as `01`, or the beginning of a name; all notebooks if empty.
        force: execute those too that have not changed since they were last executed.
        publish: also write the notebooks over the committed ones, and records to `results/`.
        jobs: how many run at once. On a CPU 2 by default, as one can compute while another imports
            or draws, and at most as many as it has threads. Otherwise 1, and for `publish`, since
            seconds that others read should be of one training alone.
    """
    root = project_folder()
    here = profile.current()
    build = root / "build" / here.place
    paths = find(root / "notebooks", wanted)
    jobs = jobs or (1 if publish or here.device.type != "cpu" else 2)
    if here.device.type == "cpu":
        jobs = min(jobs, torch.get_num_threads())
    with alone(build):
        print(f"profile {here.name} on {here.device}; copies go to {build}", flush=True)
        started = time.perf_counter()
        rows = []
        for row in _rows(paths, jobs, build, here, force):
            rows.append(_end(row, build, here, publish))
            if row.name == paths[0].stem and row.executed and len(paths) > 1:
                _show_page(build / f"{row.name}.ipynb")
        if not wanted and all(row.executed and not row.error for row in rows):
            results.write(build / "together.json", {"seconds": time.perf_counter() - started})
        _print_summary(sorted(rows), here.place)
        program = str(root / "course" / "site" / "build.py")
        site = subprocess.run([sys.executable, program, "--executed", str(build)])
    return int(site.returncode != 0 or any(row.error for row in rows))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make `folder`, and keep other runs out of it until the block ends.

    Raises:
        RuntimeError, WriteError: another run writes there, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / "run.lock").acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"{folder}: another run is going on, which writes there. Wait for its end, or stop it."
        ) from None
    except OSError as error:
        raise sources.WriteError(sources.cannot_write(folder, error)) from error
    with held:
        yield


def find(folder: Path, wanted: list[str]) -> list[Path]:
    """Return the notebooks that begin with one of `wanted`, or raise a FileNotFoundError."""
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for name in wanted:
        if not any(path.name.startswith(name) for path in every):
            known = ", ".join(path.stem for path in every)
            raise FileNotFoundError(f"no notebook begins with {name!r}. There are: {known}")
    return [path for path in every if not wanted or path.name.startswith(tuple(wanted))]


def notebook(path: Path, executed: Path, **settings: str) -> str | None:
    """Execute a notebook with these environment variables, write a copy; return what went wrong."""
    with _kernels(1) as begin:
        return begin(path, executed, settings).result()


def _rows(
    paths: list[Path], jobs: int, build: Path, here: profile.Profile, force: bool
) -> Iterator[_Row]:
    """Execute those notebooks that must be; yield what became of each, as soon as it has ended.

    Where several run at once, the first is followed by those after which most is left to do one
    after the other; then fewer cores are idle towards the end.
    """
    todo: dict[str, tuple[Path, str]] = {}
    took: dict[str, float] = {}
    expected = results.read(project_folder() / "results" / "durations.json").get(here.place, {})
    for path in paths:
        known = results.read(build / f"{path.stem}.json")
        digest = stamp(path, here.place, project_folder())
        copy = build / path.name
        changed = known.get("stamp") != digest or not copy.exists() or _for_want_of_data(copy)
        if force or changed or known.get("shown") != _shown(path.stem, here.place, [*todo]):
            todo[path.stem] = path, digest
            expected |= {path.stem: known["seconds"]} if known else {}
            continue
        print(f"{path.stem}: unchanged, not executed again (make run FORCE=1 does)", flush=True)
        yield _Row(path.stem, known["seconds"], None, False)
    jobs = min(jobs, len(todo)) or 1
    order, left = _order([*todo], expected)
    left |= {min(todo): float("inf")} if todo else {}  # to be read while the others run
    ready: list[str] = []
    running: dict[Future, tuple[str, float]] = {}
    with _kernels(jobs) as begin:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()])
            ready.sort(key=lambda name: -left[name] if jobs > 1 else 0)
            for name in ready[: jobs - len(running)]:
                ready.remove(name)
                print(f"{name} …", flush=True)
                settings = _prepare(name, jobs, build, here, force)
                task = begin(todo[name][0], build / f"{name}.ipynb", settings)
                running[task] = name, time.perf_counter()
            # A time-out, because Windows hears Ctrl-C only between two waits.
            for task in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                name, started = running.pop(task)
                row = _Row(name, time.perf_counter() - started, task.result(), True)
                took[name] = row.seconds
                words = f"{name}: {row.seconds:.0f} s{_time_left([*todo], expected, took, jobs)}"
                print(words, *filter(None, [row.error]), sep="\n", flush=True)
                if not row.error:
                    state = {"stamp": todo[name][1], "shown": _shown(name, here.place)}
                    results.write(build / f"{name}.json", state | {"seconds": row.seconds})
                order.done(name)
                yield row


def _shown(name: str, place: str, coming: Sequence[str] = ()) -> list[str]:
    """Return the numbers of the notebooks, recorded or `coming`, whose results one shows."""
    after = AFTER.get(name[:2], ())
    shown = name if after == ALL else (name, *after)
    there = [path.name for path in artifacts_root().glob(f"{place}*/records/*.json")]
    return sorted({other[:2] for other in (*there, *coming) if other.startswith(shown)})


def _for_want_of_data(executed: Path) -> bool:
    """Return whether a copy shows the embedded sample, and data have come since."""
    archives, then = data_folder().glob("downloads/*/*.[gx]z"), executed.stat().st_mtime
    come = any(path.stat().st_ctime > then for path in archives)
    wanted = sources.mode("NBHELPERS_SAMPLE") != "always"
    return come and wanted and b"SAMPLE DATA" in executed.read_bytes()


def _time_left(names: list[str], expected: dict, took: dict[str, float], jobs: int) -> str:
    """Say how many are left and, where all are known, how long they take at the pace so far.

    `expected` are the seconds of each when it last ran here, or else on the reference machine.
    """
    left = [name for name in names if name not in took]
    if not left or not all(expected.get(name) for name in names):
        return f"; {len(left)} left" if left else ""
    # As if two minutes more had gone as expected: the first notebook reads the data for all.
    pace = (120 + sum(took.values())) / (120 + sum(expected[name] for name in took))
    minutes = pace * sum(expected[name] for name in left) / jobs / 60
    return f"; {len(left)} left, about {minutes:.0f} minutes"


def _order(names: list[str], expected: dict) -> tuple[TopologicalSorter, dict[str, float]]:
    """Return what gives notebooks one after the other, and how many seconds are left from each."""
    after = {name: AFTER.get(name[:2], ()) for name in names}
    earlier = {n: [o for o in names if o != n and o.startswith(after[n])] for n in names}
    left: dict[str, float] = {}
    for name in reversed([*TopologicalSorter(earlier).static_order()]):
        later = [left[other] for other in left if name in earlier[other]]
        left[name] = expected.get(name, 1.0) + max(later, default=0.0)
    order = TopologicalSorter(earlier)
    order.prepare()
    return order, left


def _prepare(
    name: str, jobs: int, build: Path, here: profile.Profile, force: bool
) -> dict[str, str]:
    """Let a notebook count as not executed; return the environment variables of its kernel."""
    (build / f"{name}.json").unlink(missing_ok=True)
    if force:  # from the very beginning: no training goes on from a checkpoint
        for kept in artifacts_root().glob(f"{here.place}*/checkpoints/{name}"):
            shutil.rmtree(kept)
    settings = {"NB_HEADLESS": "1", "NB_PROFILE": here.name}
    if jobs > 1 and AFTER.get(name[:2]) != ALL:
        settings["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // jobs))
    return settings


@contextlib.contextmanager
def _kernels(jobs: int) -> Iterator[Callable[[Path, Path, dict[str, str]], "Future[str | None]"]]:
    """Give a function that begins to execute a notebook in a thread; Ctrl-C kills all kernels."""
    clients: dict[Future, NotebookClient] = {}

    def begin(path: Path, executed: Path, settings: dict[str, str]) -> Future[str | None]:
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
        task = pool.submit(_execute, client, path.name, executed, os.environ | settings)
        clients[task] = client
        return task

    with _home(), ThreadPoolExecutor(jobs) as pool:
        try:
            yield begin
        except BaseException:
            while unfinished := wait(clients, timeout=0.2).not_done:
                for task in unfinished:
                    kernel = clients[task].km
                    if kernel and kernel.has_kernel:  # else it is just being started
                        asyncio.run(kernel.provisioner.kill())
            raise


def _execute(
    client: NotebookClient, name: str, executed: Path, environment: dict[str, str]
) -> str | None:
    """Execute a notebook and write the copy, as far as it came; return what went wrong."""
    error = None
    try:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(client.async_execute(env=environment))
    except CellExecutionError as problem:
        error = str(problem)
    except DeadKernelError:
        error = (
            f"{name}: its kernel was killed, perhaps for lack of memory. Close other programs "
            "or choose a smaller PROFILE, then run it again: training goes on where it was."
        )
    client.nb.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "file_extension": ".py"},
    }
    with written(executed) as unfinished:
        nbformat.write(client.nb, unfinished)
    return error


@contextlib.contextmanager
def _home() -> Iterator[None]:
    """Lend Jupyter, which looks at HOME alone, a home where there is none that it may write to."""
    try:
        usable = os.access(Path.home(), os.W_OK)
    except RuntimeError:  # no HOME, and a user whom the system does not know
        usable = False
    if usable:
        yield
        return
    before = os.environ.pop("HOME", None)
    with tempfile.TemporaryDirectory(prefix="nbhelpers-", ignore_cleanup_errors=True) as folder:
        try:
            os.environ["HOME"] = folder
            yield
        finally:
            del os.environ["HOME"]
            os.environ |= {} if before is None else {"HOME": before}


def _end(row: _Row, build: Path, here: profile.Profile, publish: bool) -> _Row:
    """Publish what a notebook has made, if that is wanted; return its row, or one with an error."""
    if not publish or row.error:
        return row
    root = project_folder()
    try:
        _publish_model(row.name, here)
    except ModelError as problem:  # of this notebook alone
        print(problem, flush=True)
        return row._replace(error=str(problem))
    pairs = [(build / f"{row.name}.ipynb", root / "notebooks" / f"{row.name}.ipynb")]
    # Records on the embedded sample are no reference, and stay where they are.
    for record in (artifacts_root() / here.place / "records").glob(f"{row.name}[.-]*"):
        pairs.append((record, root / "results" / here.place / record.name))
    for source, target in pairs:
        with written(target) as unfinished:
            shutil.copyfile(source, unfinished)
    results.keep_durations(here.place, {row.name: row.seconds}, root)
    return row


def _publish_model(notebook: str, here: profile.Profile) -> None:
    """Publish a notebook's model, if it comes with the course: of `full`, on the real data."""
    from handwriting import models, saving
    from nbhelpers import data, tamil

    name, folder = MODELS.get(notebook[:2]), artifacts_root() / here.place
    if not name or here.name != "full" or not (folder / f"{name}.safetensors").exists():
        return
    _, card = models.load(name, folder)
    letters = {"proportions": card.proportions}
    dataset = tamil.tamil(here, **letters) if card.form == "tamil" else data.mnist(here)
    if dataset.source == "full":
        saving.publish(name, folder, dataset.validation)


def _print_summary(rows: list[_Row], place: str) -> None:
    """Print a line for each model, of a notebook's newest record: on the real data or a sample."""
    lines = []
    for row in rows:
        paths = artifacts_root().glob(f"{place}*/records/{row.name}.json")
        newest = sorted(paths, key=lambda path: path.stat().st_mtime)[-1:]
        none = {"name": "failed" if row.error else "no model"}
        for model in results.models([] if row.error else newest) or [none]:
            lines.append({"notebook": row.name, "time": f"{row.seconds:.0f} s"} | model)
    table = pd.DataFrame(lines).reindex(columns=["notebook", "time", *SUMMARY])
    table = table.rename(columns=SUMMARY).to_string(
        index=False, na_rep="", float_format="{:.4f}".format
    )
    print(f"\n{table}\n", flush=True)


def _show_page(executed: Path) -> None:
    """Make a page of the first chapter, to be read while the others run, and say where it is."""
    from nbconvert import HTMLExporter  # looks for a home while it is imported

    page = executed.with_suffix(".html")
    text, _ = HTMLExporter(mathjax_url="", require_js_url="").from_filename(str(executed))
    with written(page) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    print(f"to read meanwhile: {page}", flush=True)
