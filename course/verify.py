"""Execute notebooks twice, each time from scratch, and say what came out differently.

nbval executes the copies that the first run leaves again, and compares what each cell shows,
pictures byte for byte, but for a cell with the tag `nbval-ignore-output`, such as one that draws
seconds. `verify.cfg` names what may differ, which are times. Recorded answers must be the same.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import numpy as np

from course import execute, results
from nbhelpers.sources import project_folder

COMMAND = [
    sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
    "-p", "course.verify", "-o", "norecursedirs=", "--nbval", "--nbval-current-env",
    "--nbval-cell-timeout=7200", f"--nbval-sanitize-with={Path(__file__).with_suffix('.cfg')}",
]  # fmt: skip


def run(wanted: list[str], full: list[str]) -> int:
    """Execute notebooks twice below `build/verify/`; return 0 if all went well and nothing differs.

    Wanted are numbers such as `01` for the smoke profile, all of them if empty, and `full` those
    for the full profile.
    """
    folder, notebooks = project_folder() / "build" / "verify", project_folder() / "notebooks"
    chosen = {"smoke": execute.find(notebooks, wanted)}
    if full:
        chosen["full"] = execute.find(notebooks, full)
    found: dict[str, int] = {}
    with execute.alone(folder):
        for kept in ("first", "second"):
            shutil.rmtree(folder / kept, ignore_errors=True)
        for profile, paths in chosen.items():
            settings = {"NB_HEADLESS": "1", "NB_PROFILE": profile}
            for path in paths:
                print(f"first run: {path.stem}, {profile} …", flush=True)
                place = {"NBHELPERS_ARTIFACTS": str(folder / "first"), **settings}
                if error := execute.notebook(path, folder / profile / path.name, **place):
                    print(error)
                    return 1
                copy = nbformat.read(folder / profile / path.name, as_version=4)
                for cell in copy.cells:  # nbval 0.11 shows what a cell that ends in `;` gives
                    cell.source = re.sub(r";\s*\Z", ";\nNone", cell.source)
                nbformat.write(copy, folder / profile / path.name)
                for script in path.parent.glob(f"{path.name[:2]}_*.py"):
                    shutil.copy(script, folder / profile)
            print(f"second run, {profile} …", flush=True)
            found |= _again(paths, folder, settings)
        results.write(folder / "outcome.json", found)
    return int(any(found.values()))


def _again(paths: list[Path], folder: Path, settings: dict[str, str]) -> dict[str, int]:
    """Execute the copies again and compare; return how many differences each notebook has."""
    profile = settings["NB_PROFILE"]
    junit = folder / f"{profile}.xml"
    junit.unlink(missing_ok=True)  # an earlier run's is no outcome of this one
    copies = [str(folder / profile / path.name) for path in paths]
    environment = os.environ | settings | {"NBHELPERS_ARTIFACTS": str(folder / "second")}
    done = subprocess.run([*COMMAND, f"--junitxml={junit}", *copies], env=environment)
    if done.returncode > 1:  # neither all the same nor something different
        raise RuntimeError(f"pytest ended with {done.returncode} before it had compared {profile}")
    found = {}
    for path in paths:
        one, other = (_answers(folder / run, profile, path.stem) for run in ("first", "second"))
        differ = {name for name, _ in one.items() ^ other.items()}
        print(*(f"{name} differs\n" for name in sorted(differ)), sep="", end="")
        found[f"{path.stem}, {profile}"] = len(differ)
    for case in ElementTree.parse(junit).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            found[f"{case.get('classname', '').split('.')[-2]}, {profile}"] += 1
    return found


def _answers(artifacts: Path, profile: str, notebook: str) -> dict[str, bytes]:
    """Return what a notebook has recorded as arrays, but for seconds, by its name."""
    return {
        f"{path.name}: {name}": array.tobytes()
        for path in artifacts.glob(f"{profile}-*/records/{notebook}[.-]*npz")
        for name, array in np.load(path).items()
        if "seconds" not in name
    }


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have nbval, whose plugin this module is, compare pictures too."""
    for item in items:
        kept = [key for key in item.parent.skip_compare if not key.startswith("image/")]
        item.parent.skip_compare = tuple(kept)
