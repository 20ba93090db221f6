"""What the playground page needs beside it: its scripts, the models with their cards, ONNX Runtime.

`copy` is called by the site's build. The page runs the models in the browser, without a server.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from handwriting import models
from nbhelpers import sources
from nbhelpers.tamil import alphabet

WEB = Path(__file__).with_name("web")
PACKAGES = sources.project_folder() / "course" / "site" / "node_modules"
MODELS = ("lenet", "compact_cnn")
# The smallest build that runs them: WebAssembly on the CPU, without WebGPU and WebNN.
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def copy(out: Path, artifacts: Path | None = None, packages: Path | None = None) -> str | None:
    """Put everything that the page loads into `out`.

    Args:
        out: the folder `playground/` beside the built page; made if need be.
        artifacts: where trained models are, by default this project's `artifacts/`. The best there
            is goes in, else the course's own; see `models.reader`.
        packages: the folder of Node packages, by default `course/site/node_modules`.

    Returns:
        None; or what is left out, why, and what to do, for the build to print.
    """
    runtime = [(packages or PACKAGES) / "onnxruntime-web" / "dist" / name for name in RUNTIME]
    if not all(path.is_file() for path in runtime):
        return (
            "the playground: its Node packages are not installed. "
            "Install Node.js, which brings npm, then run `make site` again"
        )
    try:
        # Read by ONNX Runtime first, so that no page is built around a damaged file.
        readers = {name: models.reader(name, artifacts=artifacts) for name in MODELS}
    except sources.Unavailable:
        return (
            "the playground: its models neither came with the course nor have been trained here. "
            'Run `make run NOTEBOOKS="05 07"` first'
        )
    except models.ModelError as error:
        return f"the playground: {error}"
    for path in (*sorted(WEB.iterdir()), *runtime):
        with sources.written(out / path.name) as unfinished:
            shutil.copyfile(path, unfinished)
    for name, reader in readers.items():
        with sources.written(out / f"{name}.onnx") as unfinished:
            unfinished.write_bytes(reader.content)
        beside = {"origin": reader.origin, **_beside(reader.card)}
        with sources.written(out / f"{name}.json") as unfinished:
            unfinished.write_text(json.dumps(beside, ensure_ascii=False), encoding="utf-8")
    return None


def _beside(card: models.Card) -> dict[str, object]:
    """Return the card, and what the page writes and draws the classes with."""
    if card.form != "tamil":
        return {"card": asdict(card), "transliterations": [], "strokes": []}
    table = dict(alphabet.class_table())
    strokes = dict(zip(table, alphabet.pen_strokes(), strict=True))
    return {
        "card": asdict(card),
        "transliterations": [table.get(text, "") for text in card.classes],
        "strokes": [
            [[[round(x), round(-y)] for x, y in stroke] for stroke in strokes.get(text, ())]
            for text in card.classes
        ],
    }
