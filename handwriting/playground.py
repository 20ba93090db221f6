"""What the playground page needs beside it: its scripts, the models with their cards, ONNX Runtime.

`copy` is called by the site's build. The page runs the models in the browser, without a server.
"""

import json
from dataclasses import asdict
from pathlib import Path

from handwriting import models
from nbhelpers import shapes, sources

WEB = Path(__file__).with_name("web")
PACKAGES = sources.project_folder() / "course" / "site" / "node_modules"
MODELS = ("lenet", "compact_cnn")
# The smallest build that runs them: WebAssembly on the CPU, without WebGPU and WebNN.
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def copy(out: Path) -> str | None:
    """Put all that the page loads into `out`, the folder `playground/` beside the built page.

    Returns None; or what is left out, why, and what to do, for the build to print.
    """
    runtime = [PACKAGES / "onnxruntime-web" / "dist" / name for name in RUNTIME]
    if not all(path.is_file() for path in runtime):
        return (
            "the playground: its Node packages are not installed. "
            "Install Node.js, which brings npm, then run `make site` again"
        )
    try:
        # Read by ONNX Runtime first, so that no page is built around a damaged file.
        readers = {name: models.reader(name) for name in MODELS}
    except (sources.Unavailable, models.ModelError) as error:  # says what to do, too
        return f"the playground: {error}"
    files = scripts() | {path.name: path.read_bytes() for path in runtime}
    for name, reader in readers.items():
        files[f"{name}.onnx"], card = reader.content, reader.card
        beside = {
            "origin": reader.origin,
            "card": asdict(card),
            "transliterations": [card.transliteration(text) for text in card.classes],
            "strokes": [card.strokes(text) for text in card.classes],
        }
        files[f"{name}.json"] = json.dumps(beside, ensure_ascii=False).encode()
    for name, content in files.items():
        with sources.written(out / name) as unfinished:
            unfinished.write_bytes(content)
    return None


def scripts() -> dict[str, bytes]:
    """Return the page's scripts and styles by name.

    `forms.js` is the table of `shapes`; `words.js`, a plain script, that of all words, and what
    chooses their language.
    """
    files = {path.name: path.read_bytes() for path in WEB.iterdir()}
    table, language = files.pop("words.json"), files.pop("language.js")
    files["words.js"] = b"globalThis.courseWords = " + table + b";\n" + language
    return files | {"forms.js": b"export default " + shapes.TABLE.read_bytes()}
