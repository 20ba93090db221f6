"""Synthetic writers: HPL's form, reproducible, and letters that can be recognised."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from nbhelpers import profile, tamil
from nbhelpers.tamil import synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic")
    synthetic.write_synthetic_writers(path, writers=6, trials=1)
    return path


def digests(folder):
    files = sorted(folder.rglob("*.tiff"))
    return {f.relative_to(folder).as_posix(): hashlib.md5(f.read_bytes()).digest() for f in files}


def test_importer_finds_class_and_writer(folder):
    read = tamil.read_characters(folder, 32)
    assert read.skipped == 0
    assert np.array_equal(read.labels, np.tile(np.arange(156), 6))
    assert np.array_equal(read.writers, np.repeat(np.arange(1, 7), 156))
    height, width = np.median(read.sizes, axis=0)
    assert 80 < height < 160 and 90 < width < 180  # HPL's medians: 119 and 133


def test_pictures_have_the_form_of_hpl(folder):
    for path in sorted(folder.rglob("*.tiff"))[::7]:
        with Image.open(path) as picture:
            assert picture.mode == "1" and picture.info["compression"] == "raw"
            ink = ~np.asarray(picture)
        rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
        height, width = ink.shape
        edges = rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]
        assert edges == (4, 4, 4, 4), path
        assert 0.002 < ink.mean() < 0.4, path


def test_reproducible_and_writers_independent_of_their_number(folder, tmp_path):
    synthetic.write_synthetic_writers(tmp_path / "a", writers=2, trials=1)
    first, again = digests(folder), digests(tmp_path / "a")
    assert again == {name: first[name] for name in again}
    synthetic.write_synthetic_writers(tmp_path / "b", writers=1, trials=2, seed=1, classes=3)
    other = digests(tmp_path / "b")
    assert len(set(other.values())) == 6, "every trial is another picture"
    assert not set(other.values()) & set(first.values())


def test_letters_can_be_recognised_across_writers(folder):
    """The nearest mean image of five writers, on a sixth: far above chance (0.6 %), not easy."""
    read = tamil.read_characters(folder, 16)
    images = torch.from_numpy(read.images).float().flatten(1)
    images = torch.nn.functional.normalize(images, dim=1)
    held = torch.from_numpy(read.writers == 6)
    means = images[~held].reshape(5, 156, -1).mean(0)
    found = torch.cdist(images[held], means).argmin(1)
    accuracy = (found == torch.arange(156)).float().mean().item()
    assert 0.15 < accuracy < 0.98


@pytest.mark.promise(
    "Data", "Where the real data is not to be had, a sample stands in, under a banner"
)
def test_stands_in_for_hpl_tamil_with_writers_apart(monkeypatch, capsys):
    write = synthetic.write_synthetic_writers
    monkeypatch.setattr(
        synthetic, "write_synthetic_writers", lambda place: write(place, 15, 1, classes=12)
    )
    monkeypatch.setenv("NBHELPERS_SAMPLE", "always")
    monkeypatch.setenv("NB_PROFILE", "quick")
    official = tamil.tamil(profile.current(), side=32)
    assert "SAMPLE DATA" in capsys.readouterr().out
    assert official.source == "sample" and len(official.classes) == 156
    writers = [
        set(s.writers.tolist()) for s in (official.train, official.validation, official.test)
    ]
    assert sum(map(len, writers)) == len(set.union(*writers)) == 15
    again = tamil.tamil(profile.current(), side=32)  # from what was kept
    assert again.fingerprint == official.fingerprint
    mixed = tamil.tamil(profile.current(), side=32, split="random")
    assert len(mixed.test) == 15 * 12 // 5
    assert mixed.name != official.name and len(mixed.test.writers.unique()) > 10
    learn, test, source = tamil.characters(32, "adapted")
    assert source == "sample" and not set(learn.writers) & set(test.writers)
    assert len(learn.labels) + len(test.labels) == len(learn.sizes) + len(test.sizes) == 15 * 12
