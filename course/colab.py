"""In Colab: install the course in whose folder this lies, and what Colab lacks; its torch stays."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("torch", "torchvision", "numpy")  # for which much else there is built
UNUSED = (*KEPT, "jupyterlab", "nbval")


def needed(requirements: str) -> list[str]:
    """Return what notebooks need there besides `KEPT`: nothing for the site or for tests."""
    lines = requirements.partition("# for `make site`")[0].splitlines()
    return [line for line in lines if line[:1].isalpha() and line.split(">=")[0] not in UNUSED]


if __name__ == "__main__":  # the first cell runs this; running it again does no harm
    pip, kept = (
        [sys.executable, "-m", "pip", "install", "-qq"],
        [f"{k}=={version(k)}" for k in KEPT],
    )
    lines = needed((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    subprocess.run([*pip, *kept, *lines], check=True)  # leaves what is there and new enough
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)  # for processes that it starts
    sys.path.insert(0, str(ROOT))  # for this one
    print("the course is installed, beside", *kept)
