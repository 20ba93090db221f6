"""What the playground page needs beside it: its scripts, the models with their cards, ONNX Runtime.

`copy` is called by the site's build. The page runs the models in the browser, without a server.
"""

import hashlib
import json
import lzma
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx

from handwriting import models
from nbhelpers import shapes, sources
from nbhelpers.tamil import archive, synthetic

WEB = Path(__file__).with_name("web")
PACKAGES = sources.project_folder() / "course" / "site" / "node_modules"
MODELS = ("lenet", "compact_cnn")
WRITERS = 3  # synthetic ones, whose letters show what a last layer forgets: see `web/hand.js`
# The smallest build that runs them: WebAssembly on the CPU, without WebGPU and WebNN.
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
MISSING = (
    "its Node packages are not installed. "
    "Install Node.js, which brings npm, then run `make site` again"
)


def copy(out: Path) -> str | None:
    """Put all that the page loads into `out`, the folder `playground/` beside the built page.

    Returns None; or what is left out, why, and what to do, for the build to print.
    """
    try:
        files = scripts() | runtime()
        # Read by ONNX Runtime first, so that no page is built around a damaged file.
        readers = {name: models.reader(name) for name in MODELS}
    except (sources.Unavailable, sources.WriteError, models.ModelError) as error:  # says what to do
        return f"the playground: {error}"
    for name, reader in readers.items():
        files[f"{name}.onnx"], card = reader.content, reader.card
        if card.form == "tamil":
            files[f"{name}.onnx"] = with_features(reader.content)
            files[f"{name}.others.bin"] = others(files[f"{name}.onnx"], reader)
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
    """Return the page's scripts and styles by name; tables are made scripts, too."""
    files = {path.name: path.read_bytes() for path in WEB.iterdir()}
    table, language = files.pop("words.json"), files.pop("language.js")
    files["words.js"] = b"globalThis.courseWords = " + table + b";\n" + language
    return files | {"forms.js": b"export default " + shapes.TABLE.read_bytes()}


def runtime() -> dict[str, bytes]:
    """Return ONNX Runtime's script and, packed, its WebAssembly, as `web/runtime.js` wants them.

    Raises:
        sources.Unavailable: npm has not fetched it, and what to do.
    """
    script, binary = (PACKAGES / "onnxruntime-web" / "dist" / name for name in RUNTIME)
    if not (script.is_file() and binary.is_file()):
        raise sources.Unavailable(MISSING)
    content = binary.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = sources.artifacts_root() / "site" / f"runtime-{digest}.lzma"  # packing takes seconds
    small = sources.kept(
        path,
        lambda: path.read_bytes() if path.is_file() else None,
        lambda unfinished: unfinished.write_bytes(packed(content)),
    )
    return {script.name: script.read_bytes(), "runtime.lzma": small}


def packed(content: bytes) -> bytes:
    """Return bytes as `web/lzma.js` unpacks them."""
    coder = {"id": lzma.FILTER_LZMA1, "preset": 9, "lc": 4, "lp": 0, "pb": 0}
    made = lzma.compress(content, lzma.FORMAT_ALONE, filters=[coder])
    return made[:5] + len(content).to_bytes(8, "little") + made[13:]  # else "until it ends"


def with_features(content: bytes) -> bytes:
    """Return a model's file that also gives `features`, which its last layer gets, and that layer.

    The layer is `weight`, float32 `[classes, features]`, and `bias`.
    """
    model = onnx.load_from_string(content)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    for name, inside in zip(("features", "weight", "bias"), last.input, strict=True):
        model.graph.node.append(onnx.helper.make_node("Identity", [inside], [name]))
        kind = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(kind)
    return model.SerializeToString()


def others(content: bytes, reader: models.Reader) -> bytes:
    """Return the features of letters by synthetic writers, float32 `[writers, classes, width]`."""
    card, images = reader.card, []
    for _, tiff in synthetic.pictures(WRITERS, trials=1, classes=len(card.classes)):
        images.append(archive.square(tiff, card.side, card.proportions)[0])
    inputs = np.stack(images)[:, None].astype(np.float32) / 255
    return models.session_of(content).run(["features"], {"images": inputs})[0].tobytes()
