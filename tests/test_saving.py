"""Saved models: the two files, their card, calibration, and the course's own models."""

import re
from dataclasses import asdict, replace

import numpy as np
import onnx
import onnxruntime
import promise
import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file
from small_models import GRAPH, LENET, RUN, WEIGHTS, noise, publish, pytorch_answers, saved, trained
from torch import nn

from handwriting import cards, models, saving
from nbhelpers import sources

AS_PYTORCH = promise.results(
    "A saved model (ONNX) answers as PyTorch does, to 0.0001, or is not written"
)
CALIBRATED = promise.results(
    "The probabilities of a saved model are calibrated on validation images"
)
HALF = promise.results("Half precision costs the course's own models at most 0.05 points")

PUBLISHED = sorted(cards.REFERENCE.glob("*.safetensors"))

pytestmark = pytest.mark.usefixtures("reference")


def card_of(name, **changes):
    _, digits, result = trained()
    return saving.card(name, RUN, digits, result, **LENET | changes)


def test_one_line_is_printed_and_the_card_says_what_a_user_must_know():
    where, card, printed = saved()
    assert re.fullmatch(
        r"saved lenet.safetensors and lenet.onnx \(1\.9 MB each\); "
        r"ONNX and PyTorch differ by at most \de-\d\d\n",
        printed,
    )
    assert sorted(path.name for path in where.iterdir()) == [GRAPH, WEIGHTS]
    _, digits, result = trained()
    about = {"name": "lenet", "title": "LeNet on the sample", "proportions": "kept"} | LENET
    assert about.items() <= vars(card).items()
    assert card.classes == tuple("0123456789") and 0 < card.onnx_difference < 1e-5
    assert card.results["test_accuracy"] == result.test_accuracy
    assert card.results["test_images"] == len(digits.test)
    reader, (_, loaded) = models.reader("lenet", where), models.load("lenet", where)
    assert asdict(reader.card) == asdict(loaded) == asdict(card)


def test_model_is_left_as_it_was_and_its_weights_are_plain_float32(tmp_path, monkeypatch):
    model, digits, _ = trained()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    graph = onnx.load(saved()[0] / GRAPH)  # before `saved` would need it itself
    monkeypatch.setattr(saving, "exported", lambda *_: graph)
    card = card_of("again", temperature=saved()[1].temperature)
    assert saving.save(model, card, digits, tmp_path).temperature == card.temperature
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and all(layer.training for layer in model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    weights = load_file(saved()[0] / WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[key], value) for key, value in before.items())


@AS_PYTORCH
def test_onnx_alone_needs_only_the_picture():
    """Any program can use it: one file, ink of 0 to 1 in, probabilities out."""
    where, card, _ = saved()
    images = trained()[1].test.images[:30]
    graph = onnx.load(where / GRAPH)
    onnx.checker.check_model(graph, full_check=True)
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 18)]
    session = onnxruntime.InferenceSession((where / GRAPH).read_bytes())
    expected = pytorch_answers(images, card.temperature)
    for count in (30, 1):
        inputs = images[:count, None].numpy().astype(np.float32) / 255
        found, _ = session.run(None, {"images": inputs})
        assert found.dtype == np.float32
        assert np.abs(found - expected[:count].numpy()).max() < 1e-5
    found = [(one.name, one.shape[1:]) for one in (*session.get_inputs(), *session.get_outputs())]
    assert found == [("images", [1, 28, 28]), ("probabilities", [10]), ("strangeness", [])]
    for name in (GRAPH, WEIGHTS):  # and they do not tell where they were made
        content = (where / name).read_bytes()
        assert b".py" not in content and str(sources.project_folder()).encode() not in content


@CALIBRATED
def test_temperature_and_threshold_are_those_of_the_validation_images():
    where, card, _ = saved()
    validation = trained()[1].validation
    logits = pytorch_answers(validation.images, 1).log()
    assert card.temperature == pytest.approx(
        saving.fit_temperature(logits, validation.labels), rel=0.01
    )
    found = models.reader("lenet", where).probabilities(validation.images.numpy())
    right = found.argmax(1) == validation.labels.numpy()
    sure = found.max(1) >= card.threshold - 1e-6
    assert right[sure].mean() >= saving.wanted_share(right.mean())
    assert 0.5 < sure.mean() <= 1


@CALIBRATED
def test_strangeness_is_the_share_of_features_that_is_not_usual():
    where, card, _ = saved()
    reader, (network, _) = models.reader("lenet", where), models.with_usual(where / WEIGHTS)
    validation = trained()[1].validation
    with torch.inference_mode():
        away = network[:-1]((validation.images[:, None].float() / 255 - 0.5) / 0.5)
        away -= network.usual_mean
        usual = (away @ network.usual_directions).square().sum(1) / away.square().sum(1)
    images = validation.images.numpy()
    inputs = {"images": images[:, None].astype(np.float32) / 255}
    probabilities, strangeness = reader.session.run(None, inputs)
    assert np.abs(strangeness - (1 - usual).sqrt().numpy()).max() < 0.005  # by Pythagoras
    right = probabilities.argmax(1) == validation.labels.numpy()
    sure = right & (probabilities.max(1) >= card.threshold - 1e-6)
    assert (strangeness[sure] > card.strangest).mean() == pytest.approx(0.05, abs=0.03)
    assert (reader.judged(images)[1] == (strangeness > card.strangest)).all()


@AS_PYTORCH
def test_difference_from_pytorch_is_an_error_and_writes_nothing(tmp_path, monkeypatch):
    model, digits, _ = trained()
    graph = onnx.load(saved()[0] / GRAPH)  # before `saved` would need it itself
    monkeypatch.setattr(saving, "exported", lambda *_: graph)
    with pytest.raises(models.ModelError, match=r"x\.onnx: .* differ .* at most 0.0001"):
        saving.save(model, card_of("x", temperature=9.0), digits, tmp_path)
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
    model, digits, _ = trained()
    with pytest.raises(ValueError, match=message):
        saving.save(model, card_of("x", **changes), digits, tmp_path)


# Seen to fail with torch 2.9 and 2.11.
@pytest.mark.xfail(
    Version(torch.__version__) < Version("2.13"), reason="no aten.adaptive_max_pool2d"
)
@AS_PYTORCH
@pytest.mark.filterwarnings(
    "error",
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore:numpy.core is deprecated:DeprecationWarning",
)
def test_fastai_model_in_bfloat16_with_resizing(tmp_path, capfd):
    from nbhelpers import vision

    dataset = noise(28, 3, 60)
    dls = vision.dataloaders(dataset, 40, 20, statistics=((0.5,), (0.3,)))
    start = vision.scratch(dataset.train)
    learn = vision.learner(dls, "resnet18", start, tmp_path, torch.bfloat16, ps=0.1)
    learn.model.train()
    capfd.readouterr()
    resnet = {"form": "tamil", "architecture": "resnet18", "side": 40, "mean": 0.5, "std": 0.3}
    result = replace(trained()[2], name="ResNet-18")
    card = saving.card("resnet18", RUN, dataset, result, **resnet)
    card = saving.save(learn.model, card, dataset, tmp_path)
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


@CALIBRATED
@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_makes_probabilities_honest(true_temperature):
    """Labels drawn from the softmax of logits: any factor on the logits is found again."""
    generator = torch.Generator().manual_seed(1)
    honest = torch.randn(20_000, 5, generator=generator) * 2
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]
    found = saving.fit_temperature(honest * true_temperature, labels)
    assert found == pytest.approx(true_temperature, rel=0.03)


def test_temperature_stays_within_bounds():
    logits = torch.eye(3)
    assert saving.fit_temperature(logits, torch.arange(3)) == pytest.approx(0.1, rel=0.01)
    assert saving.fit_temperature(logits, (torch.arange(3) + 1) % 3) == pytest.approx(10, rel=0.01)


def test_threshold_is_the_smallest_from_which_on_enough_are_right():
    """By definition, on random answers of which many are equally sure."""
    random = np.random.default_rng(0)
    for trial in range(500):
        count = int(random.integers(1, 60))
        first = random.integers(50, 101, count) / 100
        probabilities = np.stack([first, 1 - first], 1).astype(random.choice(["f4", "f8"]))
        labels = (random.random(count) < random.random()).astype(int)
        wanted = random.choice([0.5, 0.9, 0.99, 1.0])
        sureness = probabilities.max(1)
        right = probabilities.argmax(1) == labels
        enough = [s for s in sureness if right[sureness >= s].mean() >= wanted]
        found = saving.threshold_for(probabilities, torch.from_numpy(labels), wanted)
        assert found == min(enough, default=2.0), trial


def test_wanted_share():
    assert saving.wanted_share(0.5) == saving.wanted_share(0.97) == 0.99
    assert saving.wanted_share(0.994) == pytest.approx(0.998)
    assert saving.wanted_share(1.0) == 1


@promise.results(
    "The models that come with the course say where they are from and how to retrain them"
)
def test_a_published_card_tells_its_origin(reference):
    """LeNet is trained at `smoke`, published, and read back: where is it from?"""
    _, digits, result = trained()
    card, printed = publish()
    assert re.fullmatch(
        r"published lenet\.safetensors \(1\.0 MB\); half precision costs 0\.0\d\d percentage .*\n",
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
    large = torch.tensor([[1e6, 0.1]])
    assert saving._halved(large) is large, "numbers that float16 cannot hold stay"


@HALF
def test_half_precision_that_costs_too_much_is_not_published(reference, monkeypatch):
    monkeypatch.setattr(saving, "_halved", lambda value: value.sign())
    with pytest.raises(models.ModelError, match=r"lenet\.safetensors: in half .* at most 0\.0005"):
        publish()
    assert not reference.exists()


@HALF
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_models_that_come_with_the_course(path):
    """Of `full` on the real data, small, and of networks that we still have."""
    _, card = models.load(path.stem, path.parent)
    assert (card.made_with["profile"], card.data["source"]) == ("full", "full")
    assert card.results["half_precision_cost"] <= 0.0005
    assert card.data["licence"] and sum(one.stat().st_size for one in PUBLISHED) < 4e6
    assert f"## {path.name}: {card.title}" in (path.parent / "README.md").read_text("utf-8")
