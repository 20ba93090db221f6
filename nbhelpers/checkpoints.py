"""Keep the state of a training run in one file, and take it up again.

The file is a `safetensors` file: the tensors, and in its header, as JSON, everything else. Neither
can hold a program, so a checkpoint from anywhere is safe to open. Its name ends with a digest of
how the training began: a training with other settings, weights or images has another file.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from nbhelpers.sources import written

PLAIN = (str, int, float, bool, type(None))


class CheckpointError(RuntimeError):
    """A checkpoint is damaged."""


def path(folder: Path | str, name: str, beginning: dict[str, Any]) -> Path:
    """Return where the checkpoint of a training lies, whether it exists or not.

    Args:
        folder: of the checkpoints.
        name: of the model; the file's name begins with it.
        beginning: all that decides how the training goes: what `save` takes. Two trainings that
            begin alike have the same file.
    """
    tensors: dict[str, torch.Tensor] = {}
    digest = hashlib.sha256(json.dumps(_taken_apart(beginning, tensors)).encode())
    for tensor in tensors.values():
        digest.update(_bytes(tensor))
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Path(folder) / f"{readable}-{digest.hexdigest()[:12]}.safetensors"


def settings(*parts: object) -> list[str]:
    """Return what functions and objects say of themselves, without their places in memory."""
    return [re.sub(r" at 0x[0-9a-fA-F]+", "", repr(part)) for part in parts]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`; until the new file is whole, the old one stays.

    Args:
        path: of the file.
        state: dicts (with keys that are text or whole numbers), lists and tuples of tensors,
            numbers, texts, booleans and None, nested in any way: what `state_dict()` gives.

    Raises:
        TypeError: something else is in `state`.
    """
    tensors: dict[str, torch.Tensor] = {}
    form = json.dumps(_taken_apart(state, tensors))
    facts = {"state": form, "crc32": _checksum(form, tensors)}
    with written(path) as unfinished:
        # As bytes: safetensors would write to a file of its own first, which a kill leaves behind.
        unfinished.write_bytes(to_safetensors(tensors, metadata=facts))


def load(path: Path) -> dict[str, Any]:
    """Return what `save` was given; tensors are on the CPU.

    Raises:
        CheckpointError: the file is damaged or is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _checksum(facts["state"], tensors) != facts["crc32"]:
            raise ValueError("its bytes have changed")
        return _put_together(json.loads(facts["state"]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({error}). Delete it to train from the beginning."
        ) from None


def _checksum(form: str, tensors: dict[str, torch.Tensor]) -> str:
    """Return a checksum of all that a checkpoint holds: `safetensors` has none of its own."""
    crc = zlib.crc32(form.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {[*tensor.shape]}".encode(), crc)
        crc = zlib.crc32(_bytes(tensor), crc)
    return f"{crc:08x}"


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """Return the bytes of a tensor whose rows lie one after the other."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _taken_apart(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # safetensors stores rows only; the layout is noted, because fused optimizers insist on it.
        rows = value.is_contiguous()
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name, "channels_last": not rows and value.dim() == 4}
    if isinstance(value, dict):
        items = [[_key(key), _taken_apart(inner, tensors)] for key, inner in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"  # a torch.Size is one, too
        return {kind: [_taken_apart(inner, tensors) for inner in value]}
    if isinstance(value, PLAIN):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}: {value!r}")


def _key(key: Any) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"a checkpoint cannot hold the key {key!r}")


def _put_together(form: Any, tensors: dict[str, torch.Tensor]) -> Any:
    match form:
        case {"tensor": name, "channels_last": channels_last}:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            return tensors[name].contiguous(memory_format=layout)
        case {"dict": items}:
            return {key: _put_together(inner, tensors) for key, inner in items}
        case {"list": items}:
            return [_put_together(inner, tensors) for inner in items]
        case {"tuple": items}:
            return tuple(_put_together(inner, tensors) for inner in items)
        case _:
            return form
