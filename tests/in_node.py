"""Run a script in Node beside the playground's own."""

import shutil
import subprocess

import pytest
from source import lay

from handwriting import playground


def run(folder, script, **others):
    """Put the scripts into `folder`, with this one, and run it there; `others` replace theirs."""
    if not shutil.which("node"):
        pytest.skip("Node.js is not installed: the playground's JavaScript cannot be tried")
    scripts = {"package.json": {"type": "module"}, "try.js": script}
    scripts |= {f"{name}.js": text for name, text in others.items()}
    lay(folder, playground.scripts() | scripts)
    done = subprocess.run(["node", "try.js"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
