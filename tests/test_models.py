import ast
import contextlib
import copy
import functools
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import nbformat
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from handwriting import ink, models
from nbhelpers import data, networks, profile, records, small_maps, sources, training
from nbhelpers.data import Dataset, Split
from nbhelpers.tamil import alphabet

RUN = profile.Profile("smoke", torch.device("cpu"), 0)
LENET = {"form": "mnist", "architecture": "lenet", "side": 28, "mean": 0.5, "std": 0.5}
WEIGHTS, GRAPH = "lenet.safetensors", "lenet.onnx"
PUBLISHED = sorted(models.REFERENCE.glob("*.safetensors"))


@functools.cache
def trained():
    """A LeNet trained on the embedded sample, channels last and in training mode."""
    with contextlib.redirect_stdout(io.StringIO()):
        digits = data.digits_sample(profile.Profile("quick", torch.device("cpu"), 0))
    torch.manual_seed(0)
    model = networks.lenet().to(memory_format=torch.channels_last)
    batches = [
        data.Batches(part, 64, shuffle=part is digits.train, mean=0.5, std=0.5)
        for part in (digits.train, digits.validation, digits.test)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), 0.002)
    with contextlib.redirect_stdout(io.StringIO()):
        history = training.fit(
            model, *batches[:2], optimizer=optimizer, epochs=4, name="LeNet on the sample"
        )
        probabilities, _ = training.predict(model, batches[2])
        result = records.test_result(
            model, history, digits.test, probabilities, recipe="R0", band=(0, 1)
        )
    return model.train(), digits, result


@functools.cache
def saved():
    """The folder with its files, the card, and everything that was printed meanwhile."""
    model, digits, result = trained()
    folder = tempfile.TemporaryDirectory()  # removed when the process ends
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        card = models.save(
            model, "lenet", RUN, digits, result, **LENET, folder=Path(folder.name) / "new"
        )
    saved.folder = folder
    return Path(folder.name) / "new", card, printed.getvalue() + "".join(map(str, warned))


@pytest.fixture(autouse=True)
def reference(tmp_path, monkeypatch):
    """A place for published models, so that those of the course are left out."""
    monkeypatch.setattr(models, "REFERENCE", tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def folder(tmp_path):
    """A folder with files of its own, to be damaged."""
    return Path(shutil.copytree(saved()[0], tmp_path / "models"))


def change_card(folder, **changes):
    graph = onnx.load(folder / GRAPH)
    card = json.loads(graph.metadata_props[0].value) | changes
    graph.metadata_props[0].value = json.dumps(card)
    onnx.save(graph, folder / GRAPH)
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {"card": json.dumps(card)})


def picture_of(image, paper=255):
    """A drawing of an image uint8 [28, 28] on a large sheet, ink dark."""
    sheet = np.full((300, 400), paper, np.uint8)
    large = Image.fromarray(image.numpy()).resize((196, 196), Image.Resampling.BICUBIC)
    sheet[60:256, 100:296] = np.clip(paper - np.asarray(large, np.int16), 0, 255)
    return Image.fromarray(sheet)


# ----------------------------------------------------------------------------------------- saving


def test_one_line_is_printed_and_nothing_half_written_is_left():
    where, card, printed = saved()
    assert re.fullmatch(
        r"saved lenet.safetensors and lenet.onnx \(1\.7 MB each\); "
        r"ONNX and PyTorch differ by at most \de-\d\d\n",
        printed,
    )
    assert sorted(path.name for path in where.iterdir()) == [GRAPH, WEIGHTS]
    assert 0 < card.onnx_difference < 1e-5


def test_card_says_what_a_user_must_know():
    where, card, _ = saved()
    _, digits, result = trained()
    assert (card.name, card.title, card.architecture) == ("lenet", "LeNet on the sample", "lenet")
    assert (card.form, card.side, card.proportions, card.mean, card.std) == (
        "mnist", 28, "kept", 0.5, 0.5,
    )  # fmt: skip
    assert card.classes == tuple("0123456789")
    assert card.results["test_accuracy"] == result.test_accuracy
    assert card.results["test_images"] == len(digits.test)
    assert card.data == {
        "name": "MNIST", "source": "sample", "fingerprint": digits.fingerprint,
    }  # fmt: skip
    assert card.made_with["profile"] == "smoke" and "torch" in card.made_with
    reader, (_, loaded) = models.reader("lenet", where), models.load("lenet", where)
    assert asdict(reader.card) == asdict(loaded) == asdict(card)


def test_model_is_left_as_it_was(tmp_path, monkeypatch):
    model, digits, result = trained()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    monkeypatch.setattr(models, "_exported", lambda *_: onnx.load(saved()[0] / GRAPH))
    temperature = saved()[1].temperature
    models.save(
        model, "again", RUN, digits, result, **LENET, temperature=temperature, folder=tmp_path
    )
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and all(layer.training for layer in model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_are_plain_float32():
    weights = load_file(saved()[0] / WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    model, _, _ = trained()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def expected_probabilities(images, temperature):
    model = nn.Sequential(*trained()[0])
    training_mode = model.training
    with torch.inference_mode():
        logits = model.eval()((images[:, None].float() / 255 - 0.5) / 0.5)
    model.train(training_mode).apply(lambda layer: layer.train())
    return (logits / temperature).softmax(1)


@pytest.mark.promise(
    "Results", "A saved model (ONNX) answers as PyTorch does, to 0.0001, or is not written"
)
def test_onnx_alone_needs_only_the_picture():
    """Any program can use it: one file, ink of 0 to 1 in, probabilities out."""
    where, card, _ = saved()
    images = trained()[1].test.images[:30]
    graph = onnx.load(where / GRAPH)
    onnx.checker.check_model(graph, full_check=True)
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 18)]
    session = onnxruntime.InferenceSession((where / GRAPH).read_bytes())
    expected = expected_probabilities(images, card.temperature)
    for count in (30, 1):
        inputs = images[:count, None].numpy().astype(np.float32) / 255
        (found,) = session.run(None, {"images": inputs})
        assert found.dtype == np.float32
        assert np.abs(found - expected[:count].numpy()).max() < 1e-5
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    assert (inputs.name, inputs.shape[1:]) == ("images", [1, 28, 28])
    assert (outputs.name, outputs.shape[1:]) == ("probabilities", [10])


def test_files_do_not_tell_where_they_were_made():
    where, _, _ = saved()
    for name in (GRAPH, WEIGHTS):
        content = (where / name).read_bytes()
        assert b".py" not in content and str(sources.project_folder()).encode() not in content


@pytest.mark.promise(
    "Results", "The probabilities of a saved model are calibrated on validation images"
)
def test_temperature_and_threshold_are_those_of_the_validation_images():
    where, card, _ = saved()
    validation = trained()[1].validation
    logits = expected_probabilities(validation.images, 1).log()
    assert card.temperature == pytest.approx(
        models.fit_temperature(logits, validation.labels), rel=0.01
    )
    found = models.reader("lenet", where).probabilities(validation.images.numpy())
    right = found.argmax(1) == validation.labels.numpy()
    sure = found.max(1) >= card.threshold - 1e-6
    assert right[sure].mean() >= models.wanted_share(right.mean())
    assert 0.5 < sure.mean() <= 1


def test_temperature_can_be_given(tmp_path):
    model, digits, result = trained()
    card = models.save(
        model, "bold", RUN, digits, result, **LENET, temperature=0.5, folder=tmp_path
    )
    assert card.temperature == 0.5
    images = digits.test.images[:20]
    found = models.reader("bold", tmp_path).probabilities(images.numpy())
    assert np.abs(found - expected_probabilities(images, 0.5).numpy()).max() < 1e-5


@pytest.mark.promise(
    "Results", "A saved model (ONNX) answers as PyTorch does, to 0.0001, or is not written"
)
def test_difference_from_pytorch_is_an_error_and_writes_nothing(tmp_path, monkeypatch):
    model, digits, result = trained()
    monkeypatch.setattr(models, "_exported", lambda *_: onnx.load(saved()[0] / GRAPH))
    with pytest.raises(models.ModelError, match=r"x\.onnx: .* differ .* at most 0.0001"):
        models.save(model, "x", RUN, digits, result, **LENET, temperature=9.0, folder=tmp_path)
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "greek"}, "form is 'greek'. Expected 'mnist' or 'tamil'"),
        ({"architecture": "vgg"}, "architecture is 'vgg'. Expected one of linear, two_layers"),
        ({"architecture": "compact_cnn"}, "not those of a compact_cnn: Missing key"),
    ],
)
def test_wrong_arguments(changes, message, tmp_path):
    model, digits, result = trained()
    with pytest.raises(ValueError, match=message):
        models.save(model, "x", RUN, digits, result, **LENET | changes, folder=tmp_path)


@pytest.mark.promise(
    "Results", "A saved model (ONNX) answers as PyTorch does, to 0.0001, or is not written"
)
@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")
def test_fastai_model_in_bfloat16_with_resizing(tmp_path, capfd):
    from nbhelpers import vision

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 28, 28), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(60) % 3, ("a", "b", "c"))
    dataset = Dataset("noise", "full", split, split[:40], split[40:])
    dls = vision.dataloaders(dataset, 40, 20, statistics=((0.5,), (0.3,)))
    start = vision.scratch(split)
    learn = vision.learner(dls, "resnet18", start, tmp_path, torch.bfloat16, ps=0.1)
    learn.model.train()
    assert type(learn.model) is vision.Bfloat16
    capfd.readouterr()
    resnet = {"form": "tamil", "architecture": "resnet18", "side": 40, "mean": 0.5, "std": 0.3}
    result = replace(trained()[2], name="ResNet-18")
    card = models.save(learn.model, "resnet18", RUN, dataset, result, **resnet, folder=tmp_path)
    out, err = capfd.readouterr()
    assert out.startswith("saved resnet18.safetensors") and out.count("\n") == 1 and err == ""
    assert (card.proportions, card.side, card.onnx_difference < 1e-4) == ("adapted", 40, True)
    assert learn.model.training and type(learn.model) is vision.Bfloat16

    nodes = [node.op_type for node in onnx.load(tmp_path / "resnet18.onnx").graph.node]
    assert nodes.count("Conv") == 20, "small maps, too, are convolutions for other programs"
    loaded, _ = models.load("resnet18", tmp_path)
    assert type(loaded) is nn.Sequential and not loaded.training
    inputs = next(iter(dls.valid))[0]  # resized and normalised by fastai's side of the course
    with torch.inference_mode():
        expected = nn.Sequential(*learn.model.eval())(inputs)
        assert torch.allclose(loaded(inputs), expected, atol=1e-4)
        whole = (inputs * 0.3 + 0.5).mul(255).round().to(torch.uint8)[:, 0]
        found = models.reader("resnet18", tmp_path).probabilities(whole.numpy())
    assert np.abs(found - (expected / card.temperature).softmax(1).numpy()).max() < 1e-4


# ---------------------------------------------------------------------- temperature and threshold


@pytest.mark.promise(
    "Results", "The probabilities of a saved model are calibrated on validation images"
)
@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_makes_probabilities_honest(true_temperature):
    """Labels drawn from the softmax of logits: any factor on the logits is found again."""
    generator = torch.Generator().manual_seed(1)
    honest = torch.randn(20_000, 5, generator=generator) * 2
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]
    found = models.fit_temperature(honest * true_temperature, labels)
    assert found == pytest.approx(true_temperature, rel=0.03)


def test_temperature_has_the_least_cross_entropy():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(300, 4, generator=generator, dtype=torch.float64)
    labels = (logits + torch.randn(300, 4, generator=generator)).argmax(1)
    best = models.fit_temperature(logits, labels)
    losses = {t: functional.cross_entropy(logits / t, labels) for t in (best / 1.05, best * 1.05)}
    assert functional.cross_entropy(logits / best, labels) < min(losses.values())


def test_temperature_stays_within_bounds():
    logits = torch.eye(3)
    assert models.fit_temperature(logits, torch.arange(3)) == pytest.approx(0.1, rel=0.01)
    assert models.fit_temperature(logits, (torch.arange(3) + 1) % 3) == pytest.approx(10, rel=0.01)


def two_classes(sureness, right):
    first = torch.tensor(sureness, dtype=torch.float64)
    return torch.stack([first, 1 - first], 1), 1 - torch.tensor(right, dtype=torch.int64)


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [
        (1.0, 0.9),  # down to the first mistake
        (0.75, 0.7),  # not 0.8: below it, the share recovers
        (0.6, 0.6),
        (0.5, 0.6),  # every answer will do: the least sure one
    ],
)
def test_threshold_by_hand(wanted, threshold):
    probabilities, labels = two_classes([0.6, 0.9, 0.8, 0.7, 0.95], [0, 1, 0, 1, 1])
    assert models.threshold_for(probabilities, labels, wanted) == threshold


def test_threshold_takes_equal_probabilities_together():
    probabilities, labels = two_classes([0.9, 0.8, 0.8], [1, 1, 0])
    assert models.threshold_for(probabilities, labels, 1.0) == 0.9


def test_threshold_that_no_answer_reaches():
    probabilities, labels = two_classes([1.0, 0.8], [0, 1])
    assert models.threshold_for(probabilities, labels, 0.9) == 2


def test_wanted_share():
    assert models.wanted_share(0.5) == models.wanted_share(0.97) == 0.99
    assert models.wanted_share(0.994) == pytest.approx(0.998)
    assert models.wanted_share(1.0) == 1


# ---------------------------------------------------------------------------------------- reading


def test_reads_pictures_in_every_form(tmp_path):
    where, card, _ = saved()
    reader = models.reader("digits", where)
    test = trained()[1].test
    sheets = [picture_of(image) for image in test.images[:20]]
    answers = [reader.read(sheet) for sheet in sheets]
    truth = [card.classes[label] for label in test.labels[:20]]
    assert (
        sum(a.choices[0].text == true for a, true in zip(answers, truth, strict=True)) >= 12
    )  # ink is not like the sample

    file = tmp_path / "one.png"
    sheets[0].save(file)
    content, array = file.read_bytes(), np.asarray(sheets[0])
    for form in (file, str(file), content, array, np.stack([array] * 3, 2)):
        assert reader.read(form).choices == answers[0].choices

    first = answers[0]
    expected = reader.probabilities(first.steps.normalised[None].numpy())[0]
    assert len(first.choices) == 5 and isinstance(first.choices[0].probability, float)
    assert [c.probability for c in first.choices] == sorted(expected.tolist(), reverse=True)[:5]
    assert all(c.text == card.classes[expected.tolist().index(c.probability)]
               for c in first.choices)  # fmt: skip
    for answer in answers:
        assert answer.sure == (answer.choices[0].probability >= card.threshold)


def test_a_model_of_larger_images_reads_the_same_digit_enlarged(tmp_path):

    _, digits, result = trained()
    torch.manual_seed(0)
    network = networks.compact_cnn(10)
    how = {"form": "mnist", "architecture": "compact_cnn", "side": 48, "mean": 0.0, "std": 1.0}
    with contextlib.redirect_stdout(io.StringIO()):
        models.save(network, "larger", RUN, digits, result, **how, folder=tmp_path)
    reader = models.reader("larger", tmp_path)
    picture = picture_of(digits.test.images[0])
    answer = reader.read(picture)
    enlarged = data.resized(ink.to_mnist(picture).normalised[None], (48, 48))
    expected = reader.probabilities(enlarged.numpy())[0]
    assert answer.choices[0].probability == pytest.approx(expected.max(), abs=0.01)
    assert answer.choices[0].text == digits.classes[expected.argmax()]


def test_answer_in_words():
    steps = None
    seven = (models.Choice("7", "", 0.981), models.Choice("1", "", 0.01))
    assert str(models.Answer(seven, True, steps)) == "7, probability 0.98"
    either = (models.Choice("4", "", 0.484), models.Choice("9", "", 0.45))
    assert str(models.Answer(either, False, steps)) == "not sure between 4 (0.48) and 9 (0.45)"
    a = (models.Choice("அ", "a", 0.97), models.Choice("ஆ", "ā", 0.02))
    assert str(models.Answer(a, True, steps)) == "அ (a), probability 0.97"
    assert str(models.Answer(a, False, steps)) == "not sure between அ (a, 0.97) and ஆ (ā, 0.02)"


def test_tamil_pictures_are_prepared_as_the_card_says(folder, monkeypatch):
    texts = [text for text, _ in alphabet.class_table()[:10]]
    change_card(folder, form="tamil", proportions="adapted", classes=texts)
    asked = []

    def to_tamil(picture, side=64, proportions="adapted"):
        asked.append((side, proportions))  # the form's own side; the card's comes after
        return ink.to_mnist(picture)

    monkeypatch.setattr(ink, "to_tamil", to_tamil, raising=False)
    test = trained()[1].test
    answer = models.reader("lenet", folder).read(picture_of(test.images[0]))
    assert asked == [(64, "adapted")] and answer.steps.normalised.shape == (28, 28)
    assert (answer.choices[0].text, answer.choices[0].transliteration) in alphabet.class_table()


def test_bad_pictures_are_ink_errors():
    reader = models.reader("lenet", saved()[0])
    with pytest.raises(ink.InkError, match="not a picture"):
        reader.read(b"no picture")
    with pytest.raises(ink.InkError, match="nothing is drawn"):
        reader.read(np.full((40, 40), 255, np.uint8))
    for images in (np.zeros((1, 28, 28)), np.zeros((28, 28), np.uint8)):
        with pytest.raises(ValueError, match=r"Expected uint8 \[n, 28, 28\]"):
            reader.probabilities(images)
    assert reader.probabilities(np.zeros((0, 28, 28), np.uint8)).shape == (0, 10)


def test_reader_does_without_torch():
    program = (
        "import sys, pathlib, numpy as np; from nbhelpers import models\n"
        "reader = models.reader('lenet', pathlib.Path(sys.argv[1]))\n"
        "print(reader.probabilities(np.zeros((2, 28, 28), np.uint8)).shape)\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'onnx'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(saved()[0])], capture_output=True, text=True
    )
    assert answer.stderr == "" and answer.stdout == "(2, 10)\n[]\n"


def test_best_place_is_taken(tmp_path, folder):
    with pytest.raises(
        sources.Unavailable,
        match=r"lenet: no such model .* with: make run NOTEBOOKS=05$",
    ):
        models.reader(artifacts=tmp_path / "artifacts")
    places = [
        "smoke-cpu-sample", "quick-gpu-sample", "smoke-cpu", "quick-cpu", "full-cpu", "full-gpu",
    ]  # fmt: skip
    for place in places:
        change_card(folder, title=place)
        shutil.copytree(folder, tmp_path / "artifacts" / place)
        reader = models.reader(artifacts=tmp_path / "artifacts")
        _, card = models.load(artifacts=tmp_path / "artifacts")
        assert reader.card.title == card.title == place
    (tmp_path / "artifacts" / "full-gpu" / GRAPH).unlink()  # weights that no `save` wrote
    assert models.load(artifacts=tmp_path / "artifacts")[1].title == "full-cpu"


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


@pytest.mark.promise(
    "Hostile conditions", "A damaged model or checkpoint is named and never half used"
)
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_text("not a model"), "damaged"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "damaged"),
        (without_card, "has no card"),
        (lambda path: change_card(path.parent, form="greek"), "damaged.*card: greek"),
        (lambda path: change_card(path.parent, temperature=None), "damaged.*temperature"),
        (lambda path: change_card(path.parent, more=1), "damaged.*card.*more"),
        (lambda path: change_card(path.parent, classes=list("01")), "damaged"),
    ],
    ids=["cut", "head", "empty", "text", "pickle", "no card", "form", "value", "field", "classes"],
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


@pytest.mark.promise(
    "Hostile conditions", "No data file, model or checkpoint can run a program when it is opened"
)
def test_models_py_has_nothing_that_runs_what_a_file_says():
    tree = ast.parse(inspect.getsource(models))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {"pickle", "dill", "joblib"} & imported
    assert not any(
        isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load"
        for node in ast.walk(tree)
    )
    assert "unpickle" not in names


def test_loaded_model_goes_on_learning():
    where, _, _ = saved()
    model, _ = models.load("lenet", where)
    images = trained()[1].test.images[:50]
    assert not model.training
    with torch.inference_mode():
        found = model((images[:, None].float() / 255 - 0.5) / 0.5).softmax(1)
    assert torch.allclose(found, expected_probabilities(images, 1), atol=1e-6)
    model.train()(torch.zeros(2, 1, 28, 28)).sum().backward()
    assert model[0].weight.grad is not None


# ------------------------------------------------------------------- the course's own models


def publish(folder=None):
    """Publish the LeNet that was trained at `smoke`, from `folder`; return card and output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        card = models.publish("lenet", folder or saved()[0], trained()[1].validation)
    return card, printed.getvalue()


def change_published(reference, **changes):
    with safe_open(reference / WEIGHTS, framework="pt") as file:
        card = json.loads(file.metadata()["card"]) | changes
    save_file(load_file(reference / WEIGHTS), reference / WEIGHTS, {"card": json.dumps(card)})


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


@pytest.mark.promise(
    "Results",
    "The models that come with the course say where they are from and how to retrain them",
)
def test_a_published_card_tells_its_origin(reference):
    """LeNet is trained at `smoke`, published, and read back: where is it from?"""
    _, digits, result = trained()
    card, printed = publish()
    assert re.fullmatch(
        r"published lenet\.safetensors \(0\.9 MB\); half precision costs 0\.0\d\d percentage .*\n",
        printed,
    )
    assert sorted(path.name for path in reference.iterdir()) == ["README.md", WEIGHTS]
    _, found = models.load("lenet", reference)
    assert asdict(found) == asdict(card)
    assert (found.made_with["profile"], found.data["source"]) == ("smoke", "sample")
    assert found.data["fingerprint"] == digits.fingerprint
    assert found.made_with["retrain"] == "make publish NOTEBOOKS=05"
    page = (reference / "README.md").read_text(encoding="utf-8")
    low, high = result.test_ci95
    for words in (
        "LeNet on the sample", "`smoke` profile", "MNIST (sample)", digits.fingerprint,
        f"{result.test_accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}", "MIT",
        found.made_with["torch"], "`make publish NOTEBOOKS=05`",
    ):  # fmt: skip
        assert words in page, words


def test_half_precision_of_filters_and_matrices_only(reference):
    publish()
    whole, half = load_file(saved()[0] / WEIGHTS), load_file(reference / WEIGHTS)
    assert whole.keys() == half.keys()
    for key, value in half.items():
        assert value.dtype == (torch.float16 if value.ndim > 1 else torch.float32)
        assert torch.allclose(value.float(), whole[key], rtol=1e-3, atol=1e-7)
    loaded, _ = models.load("lenet", reference)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_numbers_that_float16_cannot_hold_stay():
    counts, running = torch.tensor(7), torch.tensor([1e-9, 1e9])
    assert models._halved(counts) is counts and models._halved(running) is running
    large = torch.tensor([[1e6, 0.1]])
    assert models._halved(large) is large and models._halved(large / 100).dtype == torch.float16


@pytest.mark.promise("Results", "Half precision costs the course's own models at most 0.05 points")
def test_half_precision_that_costs_too_much_is_not_published(reference, monkeypatch):
    monkeypatch.setattr(models, "_halved", lambda value: value.sign())
    with pytest.raises(models.ModelError, match=r"lenet\.safetensors: in half .* at most 0\.0005"):
        publish()
    assert not reference.exists()


@pytest.mark.promise("Results", "Half precision costs the course's own models at most 0.05 points")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_models_that_come_with_the_course(path):
    """Of `full` on the real data, small, and of networks that we still have."""
    _, card = models.load(path.stem, path.parent)
    assert (card.made_with["profile"], card.data["source"]) == ("full", "full")
    assert card.results["half_precision_cost"] <= 0.0005
    assert card.data["licence"] and sum(one.stat().st_size for one in PUBLISHED) < 4e6
    assert f"## {path.name}: {card.title}" in (path.parent / "README.md").read_text("utf-8")


def test_reads_before_anything_is_trained(tmp_path, reference, monkeypatch):
    publish()
    artifacts, calls, export = tmp_path / "artifacts", [], models._exported
    monkeypatch.setattr(models, "_exported", lambda *how: calls.append(1) or export(*how))
    first, again = (models.reader("digits", artifacts=artifacts) for _ in range(2))
    assert len(calls) == 1, "it is exported once"
    assert first.content == again.content and first.card == again.card
    assert first.own and first.origin == "the course's own (smoke run, sample data)"
    assert models.reader("lenet", reference, artifacts=artifacts).own and len(calls) == 1
    (kept,) = (artifacts / "reference").iterdir()
    kept.write_bytes(b"no model")
    with pytest.raises(models.ModelError, match=r"lenet-\w+\.onnx: damaged.* Delete it; it is"):
        models.reader("digits", artifacts=artifacts)
    change_published(reference, title="another")
    assert models.reader("digits", artifacts=artifacts).card.title == "another"
    assert len(calls) == 2 and len(list((artifacts / "reference").iterdir())) == 1

    images = trained()[1].test.images[:50]
    network, card = models.load("digits", artifacts=artifacts)
    with torch.inference_mode():
        logits = network((images[:, None].float() / 255 - 0.5) / 0.5)
    expected = (logits / card.temperature).softmax(1).numpy()
    assert np.abs(first.probabilities(images.numpy()) - expected).max() < 1e-5


def test_reads_where_nothing_can_be_written(tmp_path):
    publish()
    (tmp_path / "artifacts").write_text("a file, in which there can be no folder")
    assert models.reader("digits", artifacts=tmp_path / "artifacts").own


@pytest.mark.promise(
    "Results", "A model that you have trained is used where it is at least as good"
)
def test_the_better_model_comes_first(tmp_path, folder):
    card, _ = publish()
    best = card.results["validation_accuracy"]
    artifacts = tmp_path / "artifacts"

    def taken():
        (found,) = {
            models.load(artifacts=artifacts)[1].title,
            models.reader(artifacts=artifacts).card.title,
        }
        return found

    place_of(artifacts, "full-cpu-sample", 1.0, folder, source="sample")
    place_of(artifacts, "smoke-cpu", 1.0, folder)
    assert taken() == card.title, "neither the sample nor a part of the images is comparable"
    place_of(artifacts, "full-gpu", best - 0.001, folder)
    assert taken() == card.title
    place_of(artifacts, "quick-cpu", best, folder)
    assert taken() == "quick-cpu"
    reader = models.reader(artifacts=artifacts)
    assert not reader.own and reader.origin == "trained here (quick run)"
    place_of(artifacts, "full-cpu", best + 0.001, folder)
    assert taken() == "full-cpu"


@pytest.mark.promise(
    "Hostile conditions", "A damaged model or checkpoint is named and never half used"
)
@pytest.mark.parametrize("kept", [0, 50, -1000])
@pytest.mark.parametrize("bring", [models.reader, models.load])
def test_a_damaged_reference_is_named(bring, kept, reference, tmp_path):
    publish()
    content = (reference / WEIGHTS).read_bytes()
    (reference / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(models.ModelError, match="damaged") as error:
        bring("lenet", artifacts=tmp_path / "artifacts")
    line = str(error.value)
    assert line.startswith(f"{reference / WEIGHTS}: ") and "\n" not in line
    assert line.endswith("Bring it back with: git checkout -- results/models/lenet.safetensors")


# --------------------------------------------------------------------------------------- networks


@pytest.mark.promise(
    "Notebooks", "Networks and recipes that are trained elsewhere are those the notebooks write out"
)
@pytest.mark.parametrize(
    ("notebook", "name", "side"),
    [("05_lenet", "lenet", 28), ("07_tamil_from_scratch", "compact_cnn", 64)],
)
def test_networks_are_those_of_the_notebooks(notebook, name, side):
    path = sources.project_folder() / "notebooks" / f"{notebook}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and f"def {name}(" in c.source]
    scope = {"torch": torch, "nn": nn, "functional": functional}
    exec(source, scope)
    torch.manual_seed(3)
    theirs = scope[name]()
    ours = networks.ARCHITECTURES[name](len(theirs[-1].bias))
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(8, 1, side, side)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    outputs = []
    for network in (ours, theirs):  # dropout too
        torch.manual_seed(4)
        outputs.append(network.train()(images))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    "kernel, stride", [(3, 1), (3, 2), (1, 1), (1, 2), (7, 2), ((3, 1), (2, 1))]
)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (2, 3), (9, 9)])
def test_convolutions_of_small_maps_give_what_torch_s_give(kernel, stride, size, monkeypatch):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
    theirs = nn.Conv2d(5, 6, kernel, stride, padding).double()
    (ours,) = small_maps.fast_on_small_maps(nn.Sequential(copy.deepcopy(theirs)))
    assert dict(ours.named_parameters()).keys() == dict(theirs.named_parameters()).keys()
    images = torch.rand(4, 5, *size, dtype=torch.double)
    results = []
    for layer in (theirs, ours):
        inputs = images.clone().requires_grad_()
        outputs = layer(inputs)
        outputs.square().sum().backward()
        results.append([outputs, inputs.grad, layer.weight.grad, layer.bias.grad])
    small = max(results[0][0].shape[2:]) <= 4
    for expected, measured in zip(*results, strict=True):
        torch.testing.assert_close(measured, expected)
    calls = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, images: calls.append(layer))
    ours(images)
    assert bool(calls) != small, "the shapes that are slow in torch, and no others, are ours"


def test_other_convolutions_stay_torch_s():
    others = ({"groups": 2}, {"dilation": 2}, {"padding": "same"}, {"padding_mode": "circular"})
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, **other) for other in others))
    assert {type(layer) for layer in small_maps.fast_on_small_maps(model)} == {nn.Conv2d}
