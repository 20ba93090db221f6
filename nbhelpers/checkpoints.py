"""Keep the state of a training run in one file, and take it up again.

The file is a `safetensors` file: the tensors, and in its header, as JSON, everything else. Neither
can hold a program, so a checkpoint from anywhere is safe to open.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nbhelpers.sources import written

PLAIN = (str, int, float, bool, type(None))


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, or it belongs to another training."""


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
    with written(path) as unfinished:
        save_file(tensors, unfinished, metadata={"state": form})


def load(path: Path) -> dict[str, Any]:
    """Return what `save` was given; tensors are on the CPU.

    Raises:
        CheckpointError: the file is damaged or is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            form = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _put_together(form, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({error}). Delete it to train from the beginning."
        ) from None


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
        return {type(value).__name__: [_taken_apart(inner, tensors) for inner in value]}
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
