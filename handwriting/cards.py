"""The card of a saved model: what a user must know, as JSON in both of the model's files."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nbhelpers import shapes, sources
from nbhelpers.tamil import alphabet

REFERENCE = sources.project_folder() / "results" / "models"  # the course's own models
# Which notebook saves which model.
NOTEBOOKS = {"lenet": "05", "resnet34": "06", "compact_cnn": "07", "resnet18_tamil": "08"}


class ModelError(RuntimeError):
    """A model's file is damaged, was not written by `saving.save`, or is not what it says it is."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a user of a model must know. What is None is measured by `saving.save`.

    `results` has `validation_accuracy`, `test_accuracy`, `test_ci95` and `test_images`; `data` the
    `name`, `source` and `fingerprint` of the data set; `made_with` the `profile`, the versions and
    the hardware. That of a published model also tells the `half_precision_cost` in validation
    accuracy, the `licence`, and how to `retrain` it.
    """

    name: str  # of the files
    title: str  # the model as tables call it
    architecture: str  # of `networks.ARCHITECTURES` or `vision.ARCHITECTURES`
    classes: tuple[str, ...]  # the text of each, in the order of the probabilities
    form: str  # of `shapes.FORMS`: whether `ink.to_mnist` or `ink.to_tamil` prepares a picture
    side: int  # of the images that the model gets, in pixels
    proportions: str  # of the characters in them; see `shapes.fitted`
    mean: float  # the ONNX file contains the normalisation `(value / 255 - mean) / std`
    std: float
    temperature: float | None = None  # by which it divides logits before the softmax
    threshold: float | None = None  # the smallest probability of a sure answer
    strangest: float = 1.0  # the largest strangeness of one, 0 to 1: see `saving.exported`
    results: dict[str, Any]
    data: dict[str, str]
    made_with: dict[str, str | int]
    onnx_difference: float | None = None  # in probability, the largest from PyTorch

    @property
    def noun(self) -> str:
        """What the model reads: `digit` or `letter`."""
        return shapes.FORMS[self.form].noun

    def text(self) -> dict[str, str]:
        """Return the card as the metadata of a file."""
        return {"card": json.dumps(asdict(self), ensure_ascii=False)}

    def transliteration(self, text: str) -> str:
        """Return a Tamil letter in Latin script; of other characters nothing."""
        if self.form != "tamil":
            return ""
        return dict(alphabet.class_table()).get(text, "")

    def strokes(self, text: str) -> list[list[list[int]]]:
        """Return how a pen writes a Tamil letter, in lists of `[x, y]`, y down; of others nothing.

        See `alphabet.pen_strokes`.
        """
        if not self.transliteration(text):
            return []
        strokes = alphabet.pen_strokes()[list(dict(alphabet.class_table())).index(text)]
        return [[[round(x), round(-y)] for x, y in stroke] for stroke in strokes]


def of_weights(path: Path) -> Card:
    """Return the card of a safetensors file, of which only the head is read; see `read`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return read(path, file.metadata() or {})
    except SafetensorError as error:
        raise damaged(path, str(error)) from None


def read(path: Path, metadata: dict[str, str]) -> Card:
    """Return the card in a file's metadata; raise a ModelError if it is missing or incomplete."""
    if "card" not in metadata:
        raise ModelError(
            f"{path}: has no card, so it was not written by handwriting.saving.save. {_again(path)}"
        )
    try:
        values = json.loads(metadata["card"])
        card = Card(**values | {"classes": tuple(values["classes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, f"its card: {error}") from None
    missing = [one.name for one in fields(Card) if getattr(card, one.name) is None]
    if missing or card.form not in shapes.FORMS:
        raise damaged(path, f"its card: {missing or card.form}")
    return card


def damaged(path: Path, reason: str) -> ModelError:
    """Return the error that names a model's file, what is wrong with it and what to do."""
    reason = " ".join(reason.split())[:200]
    return ModelError(f"{path}: damaged, or not a model of this course ({reason}). {_again(path)}")


def is_own(folder: Path) -> bool:
    """Return whether the models in a folder are those that come with the course."""
    return folder.resolve() == REFERENCE.resolve()


def _again(path: Path) -> str:
    if is_own(path.parent):
        return f"Bring it back with: git checkout -- results/models/{path.name}"
    if path.parent.name == "reference":
        return "Delete it; it is made anew."
    notebook = NOTEBOOKS.get(path.stem)
    how = f"make run NOTEBOOKS={notebook} FORCE=1" if notebook else "the notebook that saves it"
    return f"Delete it and train it again with {how}."
