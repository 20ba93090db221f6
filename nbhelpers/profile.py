"""How much a run does: the profiles `smoke`, `quick` and `full`, and where they run.

Every epoch count, data size, seed and expected band of the notebooks stands in `profiles.toml`
beside this file and is read through `current()`; no notebook names one of its own.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

NAMES = ("smoke", "quick", "full")


class ProfileError(ValueError):
    """The profile, or a setting that a notebook asks it for, does not exist."""


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("profiles.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Profile:
    """The settings of one run."""

    name: str  # `smoke` (does the wiring hold?), `quick` or `full` (the published settings, too)
    device: torch.device  # where models and batches are moved to
    seed: int  # of splits, initial weights and batch order

    def epochs(self, experiment: str) -> int:
        """Return how many times `experiment` goes through its training images."""
        return self._setting("epochs", experiment)

    def sides(self, experiment: str) -> list[int]:
        """Return the side of training images in each epoch, in pixels; small ones cost less."""
        return [side for side, epochs in self._setting("stages", experiment) for _ in range(epochs)]

    def side(self, experiment: str) -> int:
        """Return the side of all images of `experiment`, in pixels."""
        return self._setting("sides", experiment)

    def size(self, what: str) -> int | None:
        """Return how many images are used; None means all there are."""
        return self._setting("sizes", what) or None

    def count(self, what: str) -> int:
        """Return how many times something is done: seeds, steps, trials."""
        return self._setting("counts", what)

    def share(self, what: str) -> float:
        """Return how much of something is done, as a share of all of it."""
        return self._setting("shares", what)

    def band(self, model: str, source: str) -> tuple[float, float]:
        """Return the lowest and the highest test accuracy that `model` should reach.

        They were measured over several seeds; in `smoke` and on the sample any accuracy will do.
        """
        low, high = self._setting("bands", model) if source == "full" else (0.0, 1.0)
        return low, high

    def published(self, model: str) -> float:
        """Return the test accuracy that the recipe of `model` was published with."""
        return self._setting("published", model)

    @property
    def precision(self) -> torch.dtype:
        """The fastest number format for training here: bfloat16 where the hardware has it."""
        has_bfloat16: Any = False  # on an Apple GPU, and where torch 2.9 cannot tell
        if self.device.type == "cuda":
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        elif self.device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
            # Emulated, as where ATEN_CPU_CAPABILITY holds torch back, it is ten times slower.
            abilities = torch.cpu.get_capabilities()
            used = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
            has_bfloat16 = used and (abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
        return torch.bfloat16 if has_bfloat16 else torch.float32

    @property
    def place(self) -> str:
        """`<profile>-cpu`, `-gpu` or `-mps`: the name of this run's folder under `artifacts/`."""
        return f"{self.name}-{self.device.type.replace('cuda', 'gpu')}"

    def _setting(self, group: str, name: str) -> Any:
        table = _table()[group]
        if name not in table:
            known = ", ".join(sorted(table))
            raise ProfileError(f"profiles.toml has no [{group}] entry {name!r}. It has: {known}.")
        values = table[name]
        if not isinstance(values, list):
            return values  # the same in every profile
        if self.place == "full-gpu":
            return values[-1]  # the fourth where there is one
        return values[NAMES.index(self.name)]


def current() -> Profile:
    """Return the profile of this run.

    The environment variable `NB_PROFILE` names it; without one it is `full` on a CUDA GPU, else
    `quick`. `NB_DEVICE` (for example `cpu`) overrides the device.

    Raises:
        ProfileError: `NB_PROFILE` is none of `smoke`, `quick`, `full`, or `NB_DEVICE` is not here.
    """
    wanted = os.environ.get("NB_DEVICE")
    try:
        device = torch.device(wanted or torch.accelerator.current_accelerator(True) or "cpu")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if wanted:
            message = f"NB_DEVICE is {wanted!r}, which this machine cannot use: {error}"
            raise ProfileError(message) from None
        device = torch.device("cpu")  # virtual Macs show a GPU without memory
    name = os.environ.get("NB_PROFILE") or ("full" if device.type == "cuda" else "quick")
    if name not in NAMES:
        raise ProfileError(f"NB_PROFILE is {name!r}. Expected {', '.join(NAMES)}, or none at all.")
    return Profile(name, device, _table()["seed"])
