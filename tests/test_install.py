"""The two locks agree, and what make chooses between them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def entries(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(line.split("==", 1) for line in text.splitlines() if re.match(r"\w", line))


def test_the_locks_differ_only_in_what_a_gpu_needs():
    large, small = entries("requirements.lock"), entries("requirements-cpu.lock")
    assert small.items() <= large.items()
    left_out = {name: large[name] for name in large.keys() - small.keys()}
    assert {"triton", "cuda-toolkit", "nvidia-cudnn-cu13"} <= left_out.keys()
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in left_out)
    assert all("sys_platform == 'linux'" in pin for pin in left_out.values())
    assert not any(name.startswith(("nvidia-", "cuda-", "triton")) for name in small)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("chosen", "now", "lock"),
    [
        (None, "requirements.lock", None),  # what is there stays, whatever the machine
        (None, "requirements-cpu.lock", None),
        (None, "", None),  # set up before there were two locks
        ("1", "requirements.lock", "requirements-cpu.lock"),
        ("1", "requirements-cpu.lock", None),
        ("0", "requirements-cpu.lock", "requirements.lock"),
        ("0", "", None),
    ],
)
def test_only_another_choice_sets_up_anew(tmp_path, chosen, now, lock):
    names = ["requirements.lock", "requirements.txt", "pyproject.toml", "Makefile"]
    for name in (*names, "nbhelpers/waiting_threads.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "ready").write_text(now, encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if k not in ("CPU", "MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-n", "doctor", *([f"CPU={chosen}"] if chosen else [])]
    said = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    ).stdout
    assert ("venv --clear" in said) == bool(lock)
    assert f"lock={lock};" in said if lock else "lock=" not in said


def test_workflows_name_actions_by_hash():
    for path in ROOT.glob(".github/workflows/*.yml"):
        for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), f"{path.name}: {action}"
