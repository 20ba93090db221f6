"""Execute the notebooks headless, keep clean copies under `build/`, sum up, and build the site."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from nbhelpers import profile
from nbhelpers.sources import project_folder


def run(wanted: list[str], *, force: bool = False, publish: bool = False) -> int:
    """Execute notebooks in order, sum up and build the site; return 0 if all went well.

    Args:
        wanted: numbers such as `01`, or the beginning of a name; all notebooks if empty.
        force: execute those too that have not changed since they were last executed.
        publish: also write the executed notebooks over the committed ones.

    Raises:
        FileNotFoundError: `wanted` names a notebook that does not exist.
    """
    root = project_folder()
    here = profile.current()
    build = root / "build" / here.place
    build.mkdir(parents=True, exist_ok=True)
    os.environ["NB_HEADLESS"] = "1"
    os.environ["NB_PROFILE"] = here.name
    print(f"profile {here.name} on {here.device}; copies go to {build}")
    rows = []
    for path in find(root / "notebooks", wanted):
        print(f"{path.stem} …", end=" ", flush=True)
        executed, stamp = build / path.name, _stamp(path, here)
        state_file = executed.with_suffix(".json")
        state = json.loads(state_file.read_text()) if state_file.exists() else {}
        if force or state.get("stamp") != stamp or not executed.exists():
            state_file.unlink(missing_ok=True)
            started = time.perf_counter()
            error = _execute(path, executed)
            state = {"stamp": stamp, "seconds": time.perf_counter() - started}
            if not error:
                state_file.write_text(json.dumps(state))
            print(f"{state['seconds']:.0f} s")
            if error:
                print(error)
        else:
            error = None
            print("unchanged, not executed again (make run FORCE=1 does)")
        if publish and not error:
            path.write_bytes(executed.read_bytes())
        rows.append((path.stem, state["seconds"], error))
    _print_summary(rows, root, here.place)
    print(flush=True)
    failed = build_site(root, build)
    return int(failed or any(error for _, _, error in rows))


def build_site(root: Path, executed: Path) -> bool:
    """Build the web site from copies in `executed`, as `site/build.py` says; return if it failed.

    A process of its own keeps what Sphinx imports, and what it may do wrong, away from results.
    """
    command = [sys.executable, str(root / "site" / "build.py"), "--executed", str(executed)]
    return subprocess.run(command).returncode != 0


def find(folder: Path, wanted: list[str]) -> list[Path]:
    """Return the notebooks in `folder` whose names begin with one of `wanted`, in order."""
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for name in wanted:
        if not any(path.name.startswith(name) for path in every):
            known = ", ".join(path.stem for path in every)
            raise FileNotFoundError(f"no notebook begins with {name!r}. There are: {known}")
    return [path for path in every if not wanted or path.name.startswith(tuple(wanted))]


def _execute(path: Path, executed: Path) -> str | None:
    """Execute `path` into `executed`; return what went wrong, or None."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    try:
        client.execute()
        error = None
    except (CellExecutionError, DeadKernelError) as problem:
        error = str(problem)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "file_extension": ".py"},
    }
    nbformat.write(notebook, executed)
    return error


def _stamp(path: Path, here: profile.Profile) -> str:
    """Return a digest of all that decides what executing `path` gives."""
    cells = nbformat.read(path, as_version=4).cells
    parts = [here.place, *(os.environ.get(f"NBHELPERS_{x}", "") for x in ("SAMPLE", "MIRROR"))]
    parts += [version("torch"), version("fastai"), version("scikit-learn")]
    parts += [cell.source for cell in cells]
    package = project_folder() / "nbhelpers"
    parts += [p.read_text(encoding="utf-8") for p in sorted(package.glob("*.[pt]*"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _print_summary(rows: list[tuple[str, float, str | None]], root: Path, place: str) -> None:
    print(f"\n{'notebook':<36} {'time':>6}  {'model':<34} {'test':>7}  in its expected band")
    for name, seconds, error in rows:
        models = [] if error else _models(root / "results", place, name)
        first = models[0] if models else ("failed" if error else "no model", "", "")
        print(f"{name:<36} {seconds:>4.0f} s  {first[0]:<34} {first[1]:>7}  {first[2]}")
        for model in models[1:]:
            print(f"{'':<44} {model[0]:<34} {model[1]:>7}  {model[2]}")


def _models(results: Path, place: str, name: str) -> list[tuple[str, str, str]]:
    """Return the newest record of a notebook: on the real data or on the sample."""
    records = [path for path in results.glob(f"{place}*/{name}.json")]
    if not records:
        return []
    record = json.loads(max(records, key=lambda p: p.stat().st_mtime).read_text(encoding="utf-8"))
    note = " (sample data)" if record["data"]["source"] == "sample" else ""
    return [
        (m["name"], f"{m['test_accuracy']:.4f}", ("yes" if m["in_band"] else "NO") + note)
        for m in record["models"]
    ]
