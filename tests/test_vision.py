import hashlib
import io
import subprocess
import sys
import time
from unittest import mock

import conftest
import pytest
import torch
import torchvision
from matplotlib import pyplot as plt
from safetensors.torch import load_file, save_file
from torch.nn import functional

from nbhelpers import reporting, sources, training, vision
from nbhelpers.data import Dataset, Split

pytestmark = pytest.mark.filterwarnings(
    "error",
    # What numpy says to fastai, and Python shows to no one.
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore:numpy.core is deprecated:DeprecationWarning",
)
CLASSES = ("two", "one", "three")  # not in alphabetical order
PLAIN = ((0.0,), (1.0,))  # statistics that change nothing
RESNET = "resnet18"
SMALL = "squeezenet1_1"  # a tenth of its size, where any network will do


def bars(count, seed):
    """A bar of ink on noise: high, in the middle or low."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    images = torch.randint(0, 60, (count, 28, 28), generator=generator, dtype=torch.uint8)
    for label in range(3):
        images[labels == label, 9 * label + 1 : 9 * label + 7, 4:24] += 180
    return Split(images, labels, CLASSES)


@pytest.fixture(scope="module")
def dataset():
    return Dataset("bars", "full", bars(150, 1), bars(50, 2), bars(20, 3))


@pytest.fixture
def numbered():
    """Image number i has i everywhere, and the label i modulo 3."""
    images = torch.arange(100, dtype=torch.uint8)[:, None, None].repeat(1, 28, 28)
    split = Split(images, torch.arange(100) % 3, CLASSES)
    return Dataset("numbered", "full", split, split[10:60], split[:5])


@pytest.fixture(autouse=True)
def own_torch_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NB_HEADLESS", "1")
    yield
    plt.close("all")


@pytest.fixture
def tables(monkeypatch):
    """The tables that were shown."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda table, **_: shown.append(table))
    return shown


def loaders(dataset, channels=1, weights=None, batch_size=32, **options):
    weights = weights or vision.scratch(dataset.train)
    return vision.dataloaders(
        dataset, 24, batch_size, channels, statistics=weights.statistics, **options
    )


def new_learner(dataset, folder, weights=None, channels=1, batch_size=32, of=RESNET, **options):
    torch.manual_seed(0)
    weights = weights or vision.scratch(dataset.train)
    dls = loaders(dataset, channels, weights, batch_size)
    return vision.learner(dls, of, weights, folder, **options)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A learner after two fits, with its tables; do not train it any more."""
    learn = new_learner(dataset, tmp_path_factory.mktemp("trained"), batch_size=16)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("IPython.display.display", lambda table: learn.tables.append(table))
        learn.tables = []
        learn.fit(1, 0.003)
        learn.fit_one_cycle(3, 0.005)
        learn.measured = learn.recorder.values[-1]  # get_preds makes the recorder forget
    return learn


# ---------------------------------------------------------------------------------------- batches


def numbers_in(batches):
    """Which of the numbered images came, with which labels."""
    pairs = [((inputs[:, 0, 0, 0] * 255).round().long(), labels) for inputs, labels in batches]
    return [torch.cat(part).as_subclass(torch.Tensor) for part in zip(*pairs, strict=True)]


def test_training_batches_are_shuffled_and_keep_their_labels(numbered):
    dls = loaders(numbered, weights=vision.Weights("", PLAIN))
    first, labels = numbers_in(dls.train)
    second, _ = numbers_in(dls.train)
    assert len(first) == len(first.unique()) == 96  # whole batches of 32
    assert torch.equal(labels, first % 3)
    assert not torch.equal(first, second)
    same_seed = loaders(numbered, weights=vision.Weights("", PLAIN))
    assert torch.equal(numbers_in(same_seed.train)[0], first)
    other_seed = loaders(numbered, weights=vision.Weights("", PLAIN), seed=1)
    assert not torch.equal(numbers_in(other_seed.train)[0], first)


def test_validation_batches_keep_the_order_and_the_short_last_one(numbered):
    dls = loaders(numbered, weights=vision.Weights("", PLAIN), batch_size=4)
    numbers, labels = numbers_in(dls.valid)
    assert torch.equal(numbers, torch.arange(10, 60))
    assert torch.equal(labels, torch.arange(10, 60) % 3)
    assert (len(dls.train), len(dls.valid)) == (25, 4)


@pytest.mark.parametrize(("batch_size", "without_gradients"), [(4, 16), (64, 128), (200, 200)])
def test_small_batches_are_for_training_only(numbered, batch_size, without_gradients):
    dls = loaders(numbered, weights=vision.Weights("", PLAIN), batch_size=batch_size)
    assert dls.train.bs == batch_size
    assert dls.valid.bs == dls.test_dl(numbered.test).bs == without_gradients


def test_fewer_images_than_a_batch_are_one_batch(numbered):
    dls = vision.dataloaders(numbered, 24, 512, statistics=PLAIN)
    assert len(dls.train) == 1 and len(dls.one_batch()[0]) == 100


@pytest.mark.parametrize("side", [20, (24, 16), (40, 56)])
def test_images_are_resized_to_the_side(dataset, side):
    dls = vision.dataloaders(dataset, side, 32, statistics=PLAIN)
    size = (side, side) if isinstance(side, int) else side
    inputs, _ = dls.valid.one_batch()
    whole = dataset.validation.images[:, None].float()
    expected = functional.interpolate(whole, size, mode="bilinear", antialias=True) / 255
    assert inputs.shape == (50, 1, *size) and inputs.dtype == torch.float32
    assert (inputs - expected).abs().max() < 0.6 / 255
    kept = dls.train_ds.images
    assert kept.dtype == torch.uint8
    assert kept[0].numel() == min(size[0] * size[1], 28 * 28)  # a large side costs no memory


def test_batches_are_normalised_into_as_many_channels(dataset):
    plain = vision.dataloaders(dataset, 28, 50, statistics=PLAIN).valid.one_batch()[0]
    colour = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    three = vision.dataloaders(dataset, 28, 50, 3, statistics=colour).valid.one_batch()[0]
    for channel, (mean, std) in enumerate(zip(*colour, strict=True)):
        assert torch.allclose(three[:, channel], (plain[:, 0] - mean) / std, atol=1e-6)
    averaged = vision.dataloaders(dataset, 28, 50, 1, statistics=colour).valid.one_batch()[0]
    assert torch.allclose(averaged, (plain - 0.5) / 0.2, atol=1e-6)
    same = vision.dataloaders(dataset, 28, 50, 3, statistics=((0.5,), (0.2,))).valid.one_batch()[0]
    assert torch.equal(same, averaged.expand(-1, 3, -1, -1))


def test_scratch_measures_the_statistics(dataset):
    (mean,), (std,) = vision.scratch(dataset.train).statistics
    pixels = dataset.train.images.double() / 255
    assert mean == pytest.approx(pixels.mean().item())
    assert std == pytest.approx(pixels.std(correction=0).item())


def test_augmentation_changes_training_batches_only(dataset):
    seen = []

    def blank(inputs):
        seen.append((inputs.shape, inputs.amin() >= 0, inputs.amax() <= 1))
        return torch.zeros_like(inputs)

    dls = loaders(dataset, 3, vision.Weights("", ((0.5,), (0.5,))), augment=blank)
    assert (dls.train.one_batch()[0] == -1).all()
    assert not (dls.valid.one_batch()[0] == -1).all()
    assert not (dls.train.new(shuffle=False).one_batch()[0] == -1).all()  # as get_preds asks for
    assert seen == [((32, 1, 24, 24), True, True)]


def test_show_batch_shows_dark_ink_under_the_class(numbered, dataset):
    for channels in (1, 3):
        dls = loaders(dataset, channels)
        assert list(dls.vocab) == list(CLASSES) and dls.c == 3
        inputs, labels = dls.valid.one_batch()
        dls.valid.show_batch((inputs, labels), max_n=4)
        axes = plt.gcf().axes
        assert [axis.get_title() for axis in axes] == [CLASSES[i] for i in labels[:4]]
        (picture,) = axes[0].get_images()
        assert picture.get_cmap().name == "Greys"  # the largest value is black
        shown = torch.tensor(picture.get_array())
        assert shown.shape == (24, 24)
        assert torch.allclose(shown * 255, dls.valid_ds.images[0].float(), atol=0.01)


# --------------------------------------------------------------------------------------- learners


def test_learns(trained, dataset):
    assert vision.history(trained).validation_accuracy[-1] > 0.9
    test = trained.dls.test_dl(dataset.test)
    probabilities, labels = trained.get_preds(dl=test)
    assert torch.equal(labels, dataset.test.labels)
    assert (probabilities.argmax(1) == labels).float().mean() > 0.9
    assert torch.allclose(probabilities.sum(1), torch.ones(20))


def test_history_is_what_training_measures(trained, dataset):
    history = vision.history(trained)
    assert history.name == "resnet18, scratch" and history.epochs == 4  # of both fits
    assert history.seconds == sorted(history.seconds) and history.seconds[0] > 0
    assert history.train_loss[-1] < history.train_loss[0]
    assert 0 < history.train_accuracy[0] < 1
    score = training.evaluate(trained.model, trained.dls.valid)
    assert history.validation_accuracy[-1] == score.accuracy
    assert history.validation_loss[-1] == pytest.approx(score.loss, rel=1e-4)
    assert list(trained.measured[1:]) == pytest.approx([score.loss, score.accuracy], rel=1e-4)


def test_history_goes_into_a_report(trained, dataset, tables, capsys):
    reporting.show_curves(vision.history(trained))
    probabilities, _ = trained.get_preds(dl=trained.dls.test_dl(dataset.test))
    result = reporting.test_result(
        trained.model, vision.history(trained), dataset.test, probabilities,
        recipe="R4", band=(0.9, 1.0),
    )  # fmt: skip
    assert result.epochs == 4 and result.in_band
    assert "resnet18, scratch: test accuracy" in capsys.readouterr().out


def test_images_without_labels_and_single_ones(trained, dataset):
    images = dataset.test.images
    with_labels, _ = trained.get_preds(dl=trained.dls.test_dl(dataset.test))
    without, labels = trained.get_preds(dl=trained.dls.test_dl(images))
    assert torch.equal(with_labels, without) and labels is None
    text, number, probabilities = trained.predict(images[0])
    assert text == CLASSES[number]
    assert torch.allclose(probabilities, without[0], atol=1e-5)


def test_interpretation(trained, dataset):
    test = dataset.test[torch.arange(20)]
    test.labels[:3] = (test.labels[:3] + 1) % 3  # three wrong labels, to be found again
    interpretation = vision.ClassificationInterpretation.from_learner(
        trained, dl=trained.dls.test_dl(test)
    )
    predictions = trained.get_preds(dl=trained.dls.test_dl(test))[0].argmax(1)
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for label, prediction in zip(test.labels, predictions, strict=True):
        expected[label, prediction] += 1
    with mock.patch.object(trained, "get_preds", wraps=trained.get_preds) as asked:
        for _ in range(2):
            interpretation.most_confused()
            assert interpretation.confusion_matrix().tolist() == expected.tolist()
    assert asked.call_count == 1
    ours = reporting.most_confused(test.labels, predictions, CLASSES)
    assert sorted(interpretation.most_confused()) == sorted(ours)
    losses, rows = interpretation.top_losses(3)
    assert set(rows.tolist()) == {0, 1, 2} and losses[0] >= losses[1]
    interpretation.plot_top_losses(3)
    titles = [axis.get_title() for axis in plt.gcf().axes if axis.get_title()]
    for row, title in zip(rows, titles, strict=True):
        texts = f"{CLASSES[predictions[row]]}/{CLASSES[test.labels[row]]} / "
        assert title.startswith(texts)
    picture = plt.gcf().axes[0].get_images()[0].get_array()
    assert torch.allclose(
        torch.tensor(picture) * 255, trained.dls.test_dl(test).images[rows[0]].float(), atol=0.01
    )


def test_learning_rate_finder_is_quiet_and_changes_nothing(dataset, tmp_path, tables, capfd):
    learn = new_learner(dataset, tmp_path, batch_size=16, of=SMALL)
    before = {key: value.clone() for key, value in learn.model.state_dict().items()}
    assert 0 < learn.lr_find(num_it=40).valley < 10
    for key, value in learn.model.state_dict().items():
        assert torch.equal(value, before[key])
    assert vision.history(learn).epochs == 0
    assert tables == [] and capfd.readouterr() == ("", "")
    assert list(tmp_path.rglob("*.pth")) == []


def test_learning_rate_finder_survives_a_difficult_batch_at_its_start(dataset, tmp_path, capfd):
    learn = new_learner(dataset, tmp_path, batch_size=8, of=SMALL)
    losses, true_loss = [], learn.loss_func

    def as_if_trained(*batch):
        losses.append(true_loss(*batch))
        return losses[-1] * (1e-3 if len(losses) < 3 else 1)  # then comes the difficult one

    learn.loss_func = as_if_trained
    before = [weight.clone() for weight in learn.model.parameters()]
    assert 0 < vision.lr_find(learn).valley <= 1
    plt.close("all")
    assert 100 < len(losses) < 110  # the first try was over at once
    assert all(map(torch.equal, before, learn.model.parameters()))
    assert capfd.readouterr().err == ""


def test_one_table_a_fit(trained):
    assert [list(table.index) for table in trained.tables] == [[1], [2, 3, 4]]
    assert [*trained.tables[0]] == ["train loss", "validation loss", "accuracy", "seconds"]
    history, row = vision.history(trained), trained.tables[1].loc[3]
    assert row["train loss"] == f"{history.train_loss[2]:.4f}"
    assert row["accuracy"] == f"{history.validation_accuracy[2]:.4f}"
    assert row["seconds"] == f"{history.seconds[2] - history.seconds[1]:.1f}"


def test_nothing_but_tables_is_shown(dataset, tmp_path, tables, capfd):
    learn = new_learner(small(dataset), tmp_path, of=SMALL)
    learn.fit_one_cycle(1, 0.01)
    learn.validate()
    learn.get_preds()
    assert len(tables) == 1
    assert capfd.readouterr() == ("", "")


def small(dataset):
    return Dataset("small", "full", dataset.train[:32], dataset.validation[:8], dataset.test)


def test_stages_are_saved_and_loaded(trained, dataset, tmp_path):
    file = trained.save("stage-1")
    assert file == trained.path / "stage-1.pth"
    learn = new_learner(dataset, trained.path)
    assert not torch.allclose(learn.get_preds()[0], trained.get_preds()[0])
    learn.load("stage-1")
    assert torch.allclose(learn.get_preds()[0], trained.get_preds()[0], atol=1e-6)


def test_bfloat16_learns(trained, dataset, tmp_path, tables, capfd):
    vision.save_body(trained, tmp_path / "body", "bars")
    weights = vision.load_body(tmp_path / "body")
    learn = new_learner(dataset, tmp_path, weights, batch_size=16, precision=torch.bfloat16)
    before = training.evaluate(learn.model, learn.dls.valid).loss
    learn.fit(1, 0.003)
    assert vision.history(learn).validation_loss[-1] < before / 2
    assert {value.dtype for value in learn.model.parameters()} == {torch.float32}
    assert learn.model[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    probabilities = learn.get_preds()[0]
    assert probabilities.dtype == torch.float32
    precise = torch.nn.Sequential(*learn.model)(learn.dls.valid.one_batch()[0]).softmax(1)
    assert torch.allclose(probabilities, precise, atol=0.05)
    assert not torch.equal(probabilities, precise)
    assert capfd.readouterr().err == ""


def test_exported_learner_works_in_a_fresh_process(trained, dataset, tmp_path):
    expected, _ = trained.get_preds(dl=trained.dls.test_dl(dataset.test))
    trained.export("model.pkl")
    assert (trained.path / "model.pkl").stat().st_size < 60e6  # the model, not the images
    save_file({"images": dataset.test.images}, tmp_path / "images.safetensors")
    program = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
from nbhelpers import vision
model, folder = map(Path, sys.argv[1:])
learn = vision.load_exported(model)
images = load_file(folder / "images.safetensors")["images"]
probabilities, _ = learn.get_preds(dl=learn.dls.test_dl(images))
save_file({"probabilities": probabilities}, folder / "answers.safetensors")
print(learn.predict(images[0])[0], *learn.dls.vocab)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, str(trained.path / "model.pkl"), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.stderr == ""
    assert answer.stdout.split() == [CLASSES[expected[0].argmax()], *CLASSES]
    answers = load_file(tmp_path / "answers.safetensors")["probabilities"]
    assert torch.allclose(answers, expected, atol=1e-6)


# ---------------------------------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def checkpoint():
    """A stand-in for torchvision's file: its state and its bytes."""
    torch.manual_seed(5)
    state = torchvision.models.resnet18(weights=None).state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    return state, file.getvalue()


@pytest.fixture
def published(checkpoint, monkeypatch):
    """A function that has the stand-in expected, under its own name, from some addresses."""
    digest = hashlib.sha256(checkpoint[1]).hexdigest()
    name = f"resnet18-{digest[:8]}.pth"

    def publish(url="http://127.0.0.1:9"):
        archive = sources.Archive(f"weights/{name}", f"sha256:{digest}", (f"{url}/{name}",))
        monkeypatch.setattr(vision, "imagenet_archive", lambda architecture: archive)
        return archive

    return publish


def write(folder, name, content):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)


def is_stand_in(weights, checkpoint):
    assert (weights.name, weights.architecture) == ("ImageNet", "resnet18")
    assert weights.statistics == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    state = checkpoint[0]
    assert torch.equal(weights.body["0.weight"], state["conv1.weight"])
    assert torch.equal(weights.body["7.1.bn2.running_var"], state["layer4.1.bn2.running_var"])
    assert len(weights.body) == len(state) - 2  # without fc.weight and fc.bias
    return True


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34"])
def test_published_names_carry_the_checksum(architecture):
    archive = vision.imagenet_archive(architecture)
    _, _, digest = archive.checksum.partition(":")
    assert archive.path == f"weights/{architecture}-{digest}.pth" and len(digest) == 8
    assert archive.urls[0].startswith("https://download.pytorch.org/")


def test_imagenet_weights_from_torch_hub_s_cache(published, checkpoint, tmp_path):
    name = published().path.rpartition("/")[2]
    write(tmp_path / "torch/hub/checkpoints", name, checkpoint[1])
    assert is_stand_in(vision.imagenet("resnet18"), checkpoint)


def test_imagenet_weights_from_a_mirror(published, checkpoint, tmp_path, monkeypatch):
    name = published().path.rpartition("/")[2]
    write(tmp_path / "stick/weights", name, checkpoint[1])
    monkeypatch.setenv("NBHELPERS_MIRROR", str(tmp_path / "stick"))
    assert is_stand_in(vision.imagenet("resnet18"), checkpoint)


def test_imagenet_weights_from_the_internet(published, checkpoint, server, monkeypatch):
    monkeypatch.setattr(conftest, "CONTENT", checkpoint[1])
    published(f"{server.url}/good")
    assert is_stand_in(vision.imagenet("resnet18"), checkpoint)
    assert is_stand_in(vision.imagenet("resnet18"), checkpoint)
    assert len(server.seen) == 1


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
def test_wrong_weights_are_refused_and_leave_nothing(published, checkpoint, server, tmp_path):
    """From the server, and a damaged file in torch hub's cache, which is not ours to delete."""
    archive = published(f"{server.url}/good")  # serves something else
    name = archive.path.rpartition("/")[2]
    write(tmp_path / "torch/hub/checkpoints", name, checkpoint[1][:-1])
    with pytest.raises(sources.Unavailable, match="are not here"):
        vision.imagenet("resnet18")
    folder = sources.cached_path(archive).parent
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


def test_without_network_one_line_says_how_to_get_them(published):
    archive = published()
    started = time.perf_counter()
    with pytest.raises(sources.Unavailable) as error:
        vision.imagenet("resnet18")
    assert time.perf_counter() - started < 5
    line = str(error.value)
    assert "\n" not in line
    assert archive.urls[0] in line and "a mirror" in line and "checkpoints" in line


def test_pretrained_body_starts_frozen_with_the_weights(published, checkpoint, dataset, tmp_path):
    weights = published() and vision.Weights("ImageNet", PLAIN, "resnet18", body_of(checkpoint[0]))
    three = new_learner(dataset, tmp_path, weights, channels=3)
    assert torch.equal(three.model[0][0].weight, checkpoint[0]["conv1.weight"])
    frozen = [p.requires_grad for name, p in three.model[0].named_parameters() if "conv" in name]
    assert not any(frozen) and three.model[1][-1].weight.requires_grad
    one = new_learner(dataset, tmp_path, weights, channels=1)
    assert one.model[0][0].weight.shape[1] == 1
    inputs = one.dls.valid.one_batch()[0]
    body = three.model[0].eval()(inputs.expand(-1, 3, -1, -1))
    assert torch.allclose(one.model[0].eval()(inputs), body, atol=1e-4)
    assert all(p.requires_grad for p in new_learner(dataset, tmp_path).model.parameters())


def body_of(state):
    model = torchvision.models.resnet18(weights=None)
    model.load_state_dict(state)
    return torch.nn.Sequential(*list(model.children())[:-2]).state_dict()


def test_saved_body_goes_into_a_model_with_other_classes(trained, dataset, tmp_path):
    file = tmp_path / "deep/body.safetensors"
    vision.save_body(trained, file, "bars")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    weights = vision.load_body(file)
    assert (weights.name, weights.architecture) == ("bars", "resnet18")
    assert weights.statistics == vision.scratch(dataset.train).statistics

    split = Split(dataset.train.images, dataset.train.labels * 2, tuple("abcde"))
    five = Dataset("five", "full", split, split[:50], split[:20])
    learn = new_learner(five, tmp_path, weights, channels=3)
    inputs = trained.dls.valid.one_batch()[0]
    expected = trained.model[0].eval()(inputs)
    found = learn.model[0].eval()(inputs.expand(-1, 3, -1, -1))
    assert torch.allclose(found, expected, atol=1e-3)
    assert learn.get_preds()[0].shape == (50, 5)
    with pytest.raises(ValueError, match="of resnet18, the model is resnet34"):
        vision.learner(learn.dls, "resnet34", weights, tmp_path)


def test_missing_body_is_named_in_one_line(tmp_path):
    with pytest.raises(sources.Unavailable, match=r"tamil.safetensors is not here. Run notebook 8"):
        vision.load_body(tmp_path / "tamil.safetensors", "Run notebook 8.")


# ----------------------------------------------------------------------------------- small memory


class Greedy(torch.nn.Module):
    """Can take so many images and no more."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.layer = most, error, torch.nn.Linear(28 * 28, 3)

    def forward(self, inputs):
        if len(inputs) > self.most:
            raise self.error
        return self.layer(inputs.flatten(1))


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


def maker(dataset, folder, most, error):
    """Make learners whose models take at most so many images."""

    def make(batch_size):
        made.append(batch_size)
        dls = vision.dataloaders(dataset, 28, batch_size, statistics=PLAIN)
        learn = vision.learner(dls, SMALL, vision.Weights("scratch", PLAIN), folder)
        learn.model = Greedy(most, error)
        learn.splitter, learn.opt = vision.Learner(dls, learn.model).splitter, None
        return learn

    made = []
    return make, made


@pytest.mark.promise(
    "Hostile conditions", "Where memory is short the batch shrinks, says so, and training goes on"
)
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_batch_size_is_halved_until_it_fits(dataset, tmp_path, capfd, tables, error):
    make, made = maker(dataset, tmp_path, 20, error)
    assert vision.batch_size_that_fits(make, 64) == 16
    assert made == [64, 32, 16]
    assert capfd.readouterr() == ("Batch size 16: 32 images do not fit in memory.\n", "")
    assert tables == []


def test_largest_batch_size_is_kept_if_it_fits(dataset, tmp_path, capfd):
    make, made = maker(dataset, tmp_path, 64, MemoryError())
    assert vision.batch_size_that_fits(make, 64) == 64
    assert made == [64]
    assert capfd.readouterr().out == "Batch size 64: fits in memory.\n"


@pytest.mark.promise(
    "Hostile conditions", "Where memory is short the batch shrinks, says so, and training goes on"
)
def test_no_batch_size_fits(dataset, tmp_path):
    make, _ = maker(dataset, tmp_path, 0, torch.OutOfMemoryError("out of memory"))
    with pytest.raises(MemoryError, match="smaller side"):
        vision.batch_size_that_fits(make, 2)


def test_other_errors_are_not_taken_for_a_lack_of_memory(dataset, tmp_path):
    make, made = maker(dataset, tmp_path, 0, RuntimeError("mat1 and mat2 shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        vision.batch_size_that_fits(make, 64)
    assert made == [64]


def test_real_step_fits(dataset, tmp_path, capfd):
    assert vision.batch_size_that_fits(lambda size: new_learner(dataset, tmp_path), 32) == 32
    assert capfd.readouterr() == ("Batch size 32: fits in memory.\n", "")


# ---------------------------------------------------------------------------------- checkpoints


class PulledOut(Exception):
    """What happens to a kernel that is restarted."""


class PullOut(vision.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def after_batch(self):
        if self.training and self.epoch == self.at:
            raise PulledOut("in mid-epoch")


def two_stages(dataset, folder, checkpoint, stage=None, epoch=None):
    """Train frozen, then all layers, interrupted in one epoch; return the weights and history."""
    learn = new_learner(dataset, folder, checkpoint=checkpoint, of=SMALL)
    learn.freeze()
    learn.fit_one_cycle(2, 0.01, cbs=PullOut(epoch) if stage == 1 else None)
    learn.unfreeze()
    learn.lr_find(num_it=20, stop_div=False, show_plot=False)
    learn.fit_one_cycle(2, slice(0.001, 0.01), cbs=PullOut(epoch) if stage == 2 else None)
    return learn.model.state_dict(), vision.history(learn)


def test_an_interrupted_learner_ends_with_the_same_weights(dataset, tmp_path, tables, capsys):
    weights, history = two_stages(dataset, tmp_path, None)
    kept = tmp_path / "checkpoints"
    for stage, epoch in ((1, 0), (1, 1), (2, 1)):
        with pytest.raises(PulledOut):
            two_stages(dataset, tmp_path, kept, stage, epoch)
    capsys.readouterr()
    again, history_again = two_stages(dataset, tmp_path, kept)
    assert capsys.readouterr().out.count("goes on after epoch") == 2, "in each of the two stages"
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert history_again.train_loss == history.train_loss
    assert history_again.validation_loss == history.validation_loss
    assert tables[-1].index.tolist() == tables[1].index.tolist() == [3, 4]
    assert len(list(kept.iterdir())) == 2
