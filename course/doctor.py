"""Say what this machine has, which profile and data a run would use, and what is missing."""

import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def report() -> int:
    """Print the report; return 0 if every package is here, else 1. A run fetches missing data."""
    missing = []
    print(f"Python             {platform.python_version()} ({sys.executable})")
    for name in required_packages(PROJECT / "requirements.txt"):
        try:
            print(f"{name:<19}{version(name)}")
        except PackageNotFoundError:
            print(f"{name:<19}missing")
            missing.append(name)
    print(f"disk               {shutil.disk_usage(PROJECT).free / 1e9:.0f} GB free")
    if missing:
        print(f"missing            {', '.join(missing)}; `make doctor` installs them")
        return 1
    _report_run()
    return 0


def fetch() -> int:
    """Fetch the data sets, check them and print where they are; return 0."""
    from nbhelpers import data, sources, tamil

    for archives in (*([one] for one in data.mnist_archives()), tamil.TRAIN, tamil.TEST):
        print(sources.fetch(*archives))
    return 0


def required_packages(requirements: Path) -> list[str]:
    """Return the names of the packages that a requirements file lists."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9_-]+", line))]


def _report_run() -> None:
    import torch

    from nbhelpers import data, profile, sources, tamil

    run = profile.current()
    reason = "NB_PROFILE" if os.environ.get("NB_PROFILE") else f"the default on a {run.device.type}"
    print(f"profile            {run.name} ({reason})")
    print(f"device             {run.device}, trains in {str(run.precision).removeprefix('torch.')}")
    print(f"threads            {torch.get_num_threads()}, {_waiting()}")
    print(f"data               {_place(sources.data_folder(), 'NBHELPERS_DATA')}")
    print(f"artifacts          {_place(sources.artifacts_root(), 'NBHELPERS_ARTIFACTS')}")
    mirror = os.environ.get("NBHELPERS_MIRROR")
    print(f"mirror             {mirror or 'none (see NBHELPERS_MIRROR)'}")
    mnist = [bool(sources.cached(archive)) for archive in data.mnist_archives()]
    hpl = [bool(sources.cached(*part)) for part in (tamil.TRAIN, tamil.TEST)]
    for name, here, stand_in in (
        ("MNIST", mnist, "the embedded sample"), ("HPL Tamil", hpl, "synthetic writers"),
    ):  # fmt: skip
        said = f"{sum(here)} of {len(here)} archives here; `make data` fetches the others. "
        said = "here, verified" if all(here) else f"{said}Where it cannot, runs use {stand_in}."
        if sources.mode("NBHELPERS_SAMPLE") == "always":
            said = f"{stand_in}, as NBHELPERS_SAMPLE says"
        print(f"{name:<19}{said}")


def _waiting() -> str:
    """Say how torch's threads wait for one another; each OpenMP library has a setting of its own.

    Sources: libgomp's manual (GOMP_SPINCOUNT, Linux), LLVM's OpenMP runtime (KMP_BLOCKTIME, macOS
    and Windows).
    """
    name = "GOMP_SPINCOUNT" if sys.platform == "linux" else "KMP_BLOCKTIME"
    if any(os.environ.get(setting) for setting in (name, "OMP_WAIT_POLICY")):
        return "which wait without keeping a core busy for long"
    return f"which keep a core busy while they wait: set {name}, as nbhelpers/waiting_threads.pth"


def _place(folder: Path, setting: str) -> str:
    """Return the folder, and what to do if it can neither be written to nor made."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(nearest, os.W_OK):
        return str(folder)
    return f"{folder} (cannot be written to: set {setting} to a folder that can be)"
