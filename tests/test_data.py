import gzip
import os
import socket
import struct
import time

import numpy as np
import promise
import pytest
import torch
from torchvision.ops import masks_to_boxes

from nbhelpers import data, profile, shapes, sources
from nbhelpers.data import Batches, DataError, Split, read_idx

MIRROR = os.environ.get("NBHELPERS_MIRROR")  # which tests do without, but for one


def idx(values):
    """Return bytes as MNIST is published: what they are, their shape, and themselves."""
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


IMAGES = idx(np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8))


@promise.hostile("A damaged archive is named, and one that climbs out of its folder is not read")
@pytest.mark.parametrize(
    ("damaged", "count", "message"),
    [
        (lambda: gzip.compress(IMAGES)[:200], 5, r"a\.gz: damaged gzip archive"),
        (lambda: gzip.compress(b"\0\0\x0d\3" + IMAGES[4:]), 5, "with 00000d03.*with 00000803"),
        (lambda: gzip.compress(IMAGES), 6, r"00000005.*expected 4,720.*shape \(6, 28, 28\)"),
        (lambda: gzip.compress(IMAGES[:6]), 5, "6 bytes or more.*expected 3,936"),
        (lambda: gzip.compress(IMAGES + bytes(50_000_000)), 5, "bytes or more that begin with"),
    ],
)
def test_bad_archives_are_named(tmp_path, damaged, count, message):
    (tmp_path / "a.gz").write_bytes(damaged())
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a.gz", (count, 28, 28))


def test_archives_have_checksums_and_several_homes():
    from torchvision.datasets import MNIST

    archives = {archive.path.removeprefix("mnist/"): archive for archive in data.mnist_archives()}
    assert {name: a.checksum for name, a in archives.items()} == {
        name: f"md5:{md5}" for name, md5 in MNIST.resources
    }
    for name, archive in archives.items():
        assert archive.urls == tuple(url + name for url in MNIST.mirrors) and len(archive.urls) > 1


@pytest.fixture
def sample(monkeypatch):
    monkeypatch.setenv("NBHELPERS_SAMPLE", "always")
    monkeypatch.setenv("NB_PROFILE", "quick")
    return data.mnist(profile.current())


def test_sample_has_mnist_form(sample):
    images = sample.train.images
    assert images.dtype == torch.uint8 and images.shape[1:] == (28, 28)
    assert (len(sample.train), len(sample.validation), len(sample.test)) == (1117, 280, 400)
    assert sample.source == "sample"
    mass = images.float()
    rows = (mass.sum(2) * torch.arange(28)).sum(1) / mass.sum((1, 2))
    assert (rows - 14).abs().max() <= 0.5 + 1e-4  # the centre of mass, to the nearest pixel


@promise.hostile("Without a network a run goes on with the sample within seconds")
@promise.data("Where the real data is not to be had, a sample stands in, under a banner")
def test_without_network_the_sample_stands_in_and_says_so(monkeypatch, capsys):
    """No name server answers, which must be waited for longest: once for each of two homes."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    started = time.perf_counter()
    assert data.mnist(profile.current()).source == "sample"
    assert time.perf_counter() - started < 5
    assert "SAMPLE DATA" in capsys.readouterr().out
    monkeypatch.setenv("NBHELPERS_SAMPLE", "never")
    with pytest.raises(sources.Unavailable):
        data.mnist(profile.current())


PLACED = promise.data("Digits are placed as MNIST's makers placed theirs, to the pixel")


@PLACED
def test_a_stroke_is_placed_as_a_one_of_mnist():
    stroke = np.full((1, 20, 1), 255, np.uint8)
    assert (shapes.place_by_centre_of_mass(stroke, 28)[0, 4:24, 14] == 255).all()


@PLACED
@pytest.mark.skipif(not MIRROR, reason="needs MNIST: set NBHELPERS_MIRROR")
def test_the_ink_of_mnist_is_placed_where_it_was(monkeypatch):
    monkeypatch.setenv("NBHELPERS_MIRROR", MIRROR)
    mnist = data.mnist(profile.Profile("full", torch.device("cpu"), seed=42))
    images = torch.cat([mnist.train.images, mnist.validation.images, mnist.test.images])
    boxes, placed = masks_to_boxes(images > 0).int(), torch.empty_like(images)
    for box in boxes.unique(dim=0):
        (left, top, right, bottom), rows = box, (boxes == box).all(1)
        ink = images[rows, top : bottom + 1, left : right + 1]
        placed[rows] = torch.from_numpy(shapes.place_by_centre_of_mass(ink.numpy(), 28))
    assert (placed != images).any((1, 2)).sum() == 2  # of 70,000; none is a test image


def test_ink_stays_inside_when_the_centre_of_mass_is_far_off():
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, 0, 0] = 255  # all of the mass in a corner
    assert shapes.place_by_centre_of_mass(image, 28).sum() == 255


@promise.data("No image stands in two splits; Tamil writers in training and validation differ")
def test_splits_are_stratified_seeded_and_disjoint(sample, monkeypatch):
    assert sample.fingerprint == data.digits_sample(profile.current()).fingerprint
    everything = Split(torch.arange(100).reshape(100, 1, 1), torch.arange(100) % 4, tuple("abcd"))
    torch.manual_seed(1)  # must not matter
    rest, held = data.stratified_split(everything, 20, seed=3)
    assert held.labels.bincount().tolist() == [5, 5, 5, 5]
    assert rest.labels.bincount().tolist() == [20, 20, 20, 20]
    assert not set(rest.images.flatten().tolist()) & set(held.images.flatten().tolist())
    other, _ = data.stratified_split(everything, 20, seed=4)
    assert not torch.equal(rest.images, other.images)
    monkeypatch.setenv("NB_PROFILE", "smoke")
    small = data.mnist(profile.current())
    assert len(small.test) <= 400 and small.validation.labels.bincount(minlength=10).min() > 0


@promise.training("Accuracy is measured with dropout off, and each image counts once")
def test_batches_hold_every_image_once_scaled(sample):
    batches = Batches(sample.validation, 64, shuffle=True, seed=5)
    labels = torch.cat([labels for _, labels in batches])
    assert len(batches) == 5 and len(labels) == 280
    assert torch.equal(labels.bincount(), sample.validation.labels.bincount())
    inputs, labels = next(iter(Batches(sample.train, 8, mean=0.5, std=0.5)))  # in order
    expected = (sample.train.images[:8, None] / 255 - 0.5) / 0.5
    assert inputs.dtype == torch.float32 and labels.dtype == torch.int64
    assert torch.allclose(inputs, expected, atol=1e-6)
    assert torch.equal(labels, sample.train.labels[:8])


@promise.training("The same seed gives the same batches, weights and numbers")
def test_each_epoch_has_an_order_of_its_own_from_the_seed(sample):
    batches = Batches(sample.train, 2000, shuffle=True, seed=5)
    first, second = (next(iter(batches))[1] for _ in range(2))
    again = next(iter(Batches(sample.train, 2000, shuffle=True, seed=5)))[1]
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_batches_come_in_the_side_of_their_epoch(sample):
    batches = Batches(sample.test, 4, sides=[14, 21])
    for epoch, side in ((0, 14), (1, 21), (5, 21)):  # the last holds for every later epoch
        batches.set_epoch(epoch)
        expected = shapes.resized(sample.test.images[:4], (side, side))[:, None].float() / 255
        assert torch.equal(next(iter(batches))[0], expected)
    assert sample.test.images.shape[1:] == (28, 28), "the split keeps its images"
