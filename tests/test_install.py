"""The two locks agree, what make chooses between them, and workflows name actions by hash."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def entries(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if re.match(r"\w", line))


def test_the_locks_differ_only_in_what_a_gpu_needs():
    large, small = entries("requirements.lock"), entries("requirements-cpu.lock")
    left_out = {name for name in large if re.match("nvidia-|cuda-|triton$", name)}
    assert {"triton", "cuda-toolkit", "nvidia-cudnn-cu13"} <= left_out
    assert all("sys_platform == 'linux'" in large[name] for name in left_out)
    assert small == {name: pin for name, pin in large.items() if name not in left_out}


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("now", ["", "requirements.lock", "requirements-cpu.lock"])
@pytest.mark.parametrize("chosen", ["", "0", "1"])
def test_only_a_choice_that_differs_sets_up_anew(tmp_path, chosen, now):
    """`now` is what .venv/ready says; nothing, where it was made before there were two locks."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    inputs = ["requirements.lock", "requirements.txt", "pyproject.toml"]
    for name in (*inputs, "nbhelpers/waiting_threads.pth", ".venv/ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(now, encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    how = {"cwd": tmp_path, "env": clean, "capture_output": True, "text": True, "check": True}
    said = subprocess.run(["make", "-n", "doctor", f"CPU={chosen}"], **how).stdout
    lock = {"": "", "0": "requirements.lock", "1": "requirements-cpu.lock"}[chosen]
    if lock in ("", now or "requirements.lock"):
        assert "venv" not in re.sub(r"\.venv/\w+/python -m course doctor", "", said)
    else:
        assert "venv --clear" in said and f"lock={lock};" in said


def test_containers_read_the_locked_set_and_ask_for_no_gpu():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert "gpu" not in container["hostRequirements"] and "runArgs" not in container
    assert container["postCreateCommand"] == "make doctor CPU=1"
    binder = (ROOT / ".binder/requirements.txt").read_text(encoding="utf-8")
    index, lock = [line for line in binder.splitlines() if line[0] != "#"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH_CPU ?= {index.removeprefix('--extra-index-url ')}" in makefile
    assert (ROOT / ".binder" / lock.removeprefix("-r ")).resolve() == ROOT / "requirements-cpu.lock"
    python = (ROOT / ".binder/runtime.txt").read_text(encoding="utf-8").strip()
    assert container["image"].partition(":")[2] == python.removeprefix("python-")
    assert "pip install --no-cache-dir --no-deps -e ." in (ROOT / ".binder/postBuild").read_text()


def test_workflows_use_github_s_own_actions_and_name_them_by_hash():
    for path in ROOT.glob(".github/workflows/*.yml"):
        for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            pinned = re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v[\d.]+", action)
            assert pinned, f"{path.name}: {action}"
