"""Saved models are found, opened and read with."""

import json
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import in_python
import numpy as np
import onnx
import promise
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import (
    GRAPH,
    WEIGHTS,
    change_card,
    picture_of,
    publish,
    pytorch_answers,
    saved,
    trained,
)

from handwriting import ink, models, saving
from nbhelpers import sources
from nbhelpers.tamil import alphabet

NAMED = promise.hostile("A damaged model or checkpoint is named and never half used")
pytestmark = pytest.mark.usefixtures("reference")


def test_reads_pictures():
    where, card, _ = saved()
    reader = models.reader("digits", where)
    test = trained()[1].test
    sheets = [picture_of(image) for image in test.images[:20]]
    answers = [reader.read(sheet) for sheet in sheets]
    truth = [card.classes[label] for label in test.labels[:20]]
    right = [a.choices[0].text == true for a, true in zip(answers, truth, strict=True)]
    assert sum(right) >= 12  # ink is not like the sample

    first = answers[0]
    expected = reader.probabilities(first.steps.normalised[None].numpy())[0]
    assert len(first.choices) == 5 and isinstance(first.choices[0].probability, float)
    assert [c.probability for c in first.choices] == sorted(expected.tolist(), reverse=True)[:5]
    assert all(c.text == card.classes[expected.tolist().index(c.probability)]
               for c in first.choices)  # fmt: skip
    for answer in answers:
        plain = answer.steps.doubt < models.DOUBTFUL
        assert answer.sure == (answer.choices[0].probability >= card.threshold and plain)


@pytest.mark.parametrize(("strangest", "strange"), [(0.0, True), (1.0, False)])
def test_what_is_unlike_all_digits_is_not_sure(strangest, strange, folder):
    change_card(folder, strangest=strangest, threshold=0.0)
    answer = models.reader("lenet", folder).read(picture_of(trained()[1].test.images[0]))
    assert answer.sure != strange and ("not sure that it is" in str(answer)) == strange


def test_a_file_from_before_strangeness_was_measured_is_read(folder):
    old = onnx.load(change_card(folder) / "lenet.onnx")
    del old.graph.output[1]
    onnx.save(old, folder / "lenet.onnx")
    probabilities, strange = models.reader("lenet", folder).judged(np.zeros((2, 28, 28), np.uint8))
    assert probabilities.shape == (2, 10) and not strange.any()


def test_answer_in_words():
    steps = SimpleNamespace(doubt=0.0)
    seven = (models.Choice("7", "", 0.981), models.Choice("1", "", 0.01))
    assert str(models.Answer(seven, True, steps)) == "7, probability 0.98"
    either = (models.Choice("4", "", 0.484), models.Choice("9", "", 0.45))
    assert str(models.Answer(either, False, steps)) == "not sure between 4 (0.48) and 9 (0.45)"
    doubtful = models.Answer(seven, False, SimpleNamespace(doubt=0.5))
    says = "not sure that it is one character; 7 (0.98) or 1 (0.01), if it is"
    assert str(doubtful) == says
    a = (models.Choice("அ", "a", 0.97), models.Choice("ஆ", "ā", 0.02))
    assert str(models.Answer(a, True, steps)) == "அ (a), probability 0.97"
    assert str(models.Answer(a, False, steps)) == "not sure between அ (a, 0.97) and ஆ (ā, 0.02)"


def test_tamil_pictures_are_prepared_as_the_card_says(folder, monkeypatch):
    texts = [text for text, _ in alphabet.class_table()[:10]]
    change_card(folder, form="tamil", proportions="adapted", classes=texts)
    asked = []
    steps = ink.to_mnist(picture_of(trained()[1].test.images[0]))
    monkeypatch.setattr(ink, "to_form", lambda *form: asked.append(form[1:]) or steps)
    answer = models.reader("lenet", folder).read("picture")
    assert asked == [("tamil", 28, "adapted")] and answer.steps is steps
    assert (answer.choices[0].text, answer.choices[0].transliteration) in alphabet.class_table()


def test_images_of_another_form_are_refused():
    reader = models.reader("lenet", saved()[0])
    for images in (np.zeros((1, 28, 28)), np.zeros((28, 28), np.uint8)):
        with pytest.raises(ValueError, match=r"Expected uint8 \[n, 28, 28\]"):
            reader.probabilities(images)
    assert reader.probabilities(np.zeros((0, 28, 28), np.uint8)).shape == (0, 10)


def test_a_picture_is_read_without_torch():
    """Nor without anything else that takes a second or more to import."""
    program = (
        "import sys, pathlib, numpy as np; from handwriting import models\n"
        "from nbhelpers.tamil import alphabet; alphabet.class_table()\n"
        "reader = models.reader('lenet', pathlib.Path(sys.argv[1]))\n"
        "print(reader.probabilities(np.zeros((2, 28, 28), np.uint8)).shape)\n"
        "page = np.full((90, 60), 255, np.uint8); page[20:70, 28:33] = 0; reader.read(page)\n"
        "slow = {'torch', 'sklearn', 'pandas', 'matplotlib', 'onnx', 'scipy.stats'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    answer = in_python.run("-c", program, saved()[0])
    assert answer.stderr == "" and answer.stdout == "(2, 10)\n[]\n"


@pytest.mark.parametrize(
    ("usable", "quota", "threads"),
    [(3, "max 100000", 3), (3, "250000 100000", 2), (8, "50000 100000", 1), (2, None, 2)],
)
def test_as_many_threads_as_processors_may_be_used(usable, quota, threads, tmp_path, monkeypatch):
    """In a container, or bound to some of the machine's processors."""
    content = (saved()[0] / GRAPH).read_bytes()
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(models.os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    monkeypatch.setattr(models, "Path", {"/sys/fs/cgroup/cpu.max": tmp_path / "cpu.max"}.get)
    options = models.session_of(content).get_session_options()
    assert options.intra_op_num_threads == threads


def test_best_place_is_taken(tmp_path, folder):
    with pytest.raises(sources.Unavailable, match=r"lenet: no such .*make run NOTEBOOKS=05$"):
        models.reader()
    places = [
        "smoke-cpu-sample", "quick-gpu-sample", "smoke-cpu", "quick-cpu", "full-cpu", "full-gpu",
    ]  # fmt: skip
    for place in places:
        change_card(folder, title=place)
        shutil.copytree(folder, tmp_path / "artifacts" / place)
        assert models.reader().card.title == models.load()[1].title == place
    (tmp_path / "artifacts" / "full-gpu" / GRAPH).unlink()  # weights that no `save` wrote
    assert models.load()[1].title == "full-cpu"


@pytest.mark.parametrize("bring", [models.reader, models.load])
def test_missing_models_are_named(bring, tmp_path):
    with pytest.raises(sources.Unavailable, match=r"compact_cnn\.\w+: no such .* NOTEBOOKS=07"):
        bring("tamil", tmp_path)
    with pytest.raises(sources.Unavailable, match=r"mine\.\w+: no such model. Known names are"):
        bring("mine", tmp_path)


def without_card(path):
    if path.suffix == ".onnx":
        graph = onnx.load(path)
        del graph.metadata_props[:]
        onnx.save(graph, path)
    else:
        save_file(load_file(path), path)


@NAMED
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_text("not a model"), "damaged"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "damaged"),
        (without_card, "has no card"),
        (lambda path: change_card(path.parent, form="greek"), "damaged.*card: greek"),
        (lambda path: change_card(path.parent, temperature=None), "damaged.*temperature"),
        (lambda path: change_card(path.parent, more=1), "damaged.*card.*more"),
        (lambda path: change_card(path.parent, classes=list("01")), "damaged"),
    ],
    ids=["cut", "empty", "text", "pickle", "no card", "form", "value", "field", "classes"],
)
def test_damaged_files_are_named(name, damage, message, folder):
    damage(folder / name)
    bring = models.reader if name == GRAPH else models.load
    with pytest.raises(models.ModelError, match=message) as error:
        bring("lenet", folder)
    line = str(error.value)
    assert line.startswith(f"{folder / name}: ") and "\n" not in line
    assert line.endswith("Delete it and train it again with make run NOTEBOOKS=05 FORCE=1.")


def test_weights_of_another_shape_are_refused(folder):
    card = json.dumps(asdict(saved()[1]))
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"10.bias": torch.zeros(11)}, folder / WEIGHTS, {"card": card})
    with pytest.raises(models.ModelError, match=r"size mismatch for 10\.bias"):
        models.load("lenet", folder)
    change_card(folder, side=32)
    with pytest.raises(models.ModelError, match=r"\[1, 28, 28\].*, its card says 32×32 and 10"):
        models.reader("lenet", folder)


def test_loaded_model_goes_on_learning():
    where, _, _ = saved()
    model, _ = models.load("lenet", where)
    images = trained()[1].test.images[:50]
    assert not model.training
    found = pytorch_answers(images, 1, model)
    assert torch.allclose(found, pytorch_answers(images, 1), atol=1e-6)
    model.train()(torch.zeros(2, 1, 28, 28)).sum().backward()
    assert model[0].weight.grad is not None


def place_of(artifacts, name, accuracy, folder, source="full"):
    """Put the trained model where a run of a profile would, with that validation accuracy."""
    profile_name = name.partition("-")[0]
    card = asdict(saved()[1])
    change_card(
        folder,
        title=name,
        results=card["results"] | {"validation_accuracy": accuracy},
        data=card["data"] | {"source": source},
        made_with=card["made_with"] | {"profile": profile_name},
    )
    shutil.copytree(folder, artifacts / name)


def test_reads_before_anything_is_trained(tmp_path, reference, monkeypatch):
    publish()
    artifacts, calls, export = tmp_path / "artifacts", [], saving.exported
    monkeypatch.setattr(saving, "exported", lambda *how: calls.append(1) or export(*how))
    first, again = (models.reader("digits") for _ in range(2))
    assert len(calls) == 1, "it is exported once"
    assert first.content == again.content and first.card == again.card
    assert first.own and first.origin == "the course's own (smoke run, sample data)"
    assert models.reader("lenet", reference).own and len(calls) == 1
    (kept,) = (artifacts / "reference").iterdir()
    kept.write_bytes(b"no model")
    with pytest.raises(models.ModelError, match=r"lenet-\w+\.onnx: damaged.* Delete it; it is"):
        models.reader("digits")
    another = asdict(models.load("lenet", reference)[1]) | {"title": "another"}
    weights = load_file(reference / WEIGHTS)
    save_file(weights, reference / WEIGHTS, {"card": json.dumps(another)})
    assert models.reader("digits").card.title == "another"
    assert len(calls) == 2 and len(list((artifacts / "reference").iterdir())) == 1

    images = trained()[1].test.images[:50]
    network, card = models.load("digits")
    expected = pytorch_answers(images, card.temperature, network).numpy()
    assert np.abs(first.probabilities(images.numpy()) - expected).max() < 1e-5


def test_reads_where_nothing_can_be_written(tmp_path):
    publish()
    (tmp_path / "artifacts").write_text("a file, in which there can be no folder")
    assert models.reader("digits").own


@promise.results("A model that you have trained is used where it is at least as good")
def test_the_better_model_comes_first(tmp_path, folder):
    card, _ = publish()
    best = card.results["validation_accuracy"]
    artifacts = tmp_path / "artifacts"

    def taken():
        (found,) = {models.load()[1].title, models.reader().card.title}
        return found

    place_of(artifacts, "full-cpu-sample", 1.0, folder, source="sample")
    place_of(artifacts, "smoke-cpu", 1.0, folder)
    assert taken() == card.title, "neither the sample nor a part of the images is comparable"
    place_of(artifacts, "full-gpu", best - 0.001, folder)
    assert taken() == card.title
    place_of(artifacts, "quick-cpu", best, folder)
    assert taken() == "quick-cpu"
    reader = models.reader()
    assert not reader.own and reader.origin == "trained here (quick run)"
    place_of(artifacts, "full-cpu", best + 0.001, folder)
    assert taken() == "full-cpu"


@NAMED
@pytest.mark.parametrize("bring", [models.reader, models.load])
def test_a_damaged_reference_is_named(bring, reference):
    publish()
    (reference / WEIGHTS).write_bytes((reference / WEIGHTS).read_bytes()[:-1000])
    with pytest.raises(models.ModelError, match="damaged") as error:
        bring("lenet")
    line = str(error.value)
    assert line.startswith(f"{reference / WEIGHTS}: ") and "\n" not in line
    assert line.endswith("Bring it back with: git checkout -- results/models/lenet.safetensors")
