"""Run Python in a process of its own, as a learner would."""

import os
import subprocess
import sys


def run(*arguments, folder=None, **settings):
    """Return what became of it; a setting, an environment variable, of None is unset.

    It is given up after four minutes, before pytest gives up the test.
    """
    environment = {k: v for k, v in (os.environ | settings).items() if v is not None}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, encoding="utf-8", timeout=240,
    )  # fmt: skip
