"""Synthetic writers and pens: HPL's form, reproducible, and letters that can be recognised."""

import io

import numpy as np
import promise
import pytest
import torch
from as_files import packed
from PIL import Image

from handwriting import models, pens
from nbhelpers import profile, tamil
from nbhelpers.tamil import synthetic


@pytest.fixture(scope="module")
def pictures():
    return dict(synthetic.pictures(writers=6, trials=1))


def test_importer_finds_class_and_writer(pictures, tmp_path):
    read = tamil.read_characters(packed(tmp_path / "letters.zip", pictures), 32)
    assert read.labels.tolist() == [*range(156)] * 6
    assert read.writers.tolist() == [writer for writer in range(1, 7) for _ in range(156)]
    height, width = read.sizes.median(dim=0).values
    assert 80 < height < 160 and 90 < width < 180  # HPL's medians: 119 and 133


def test_pictures_have_the_form_of_hpl(pictures):
    for name, content in [*pictures.items()][::7]:
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.mode == "1" and picture.info["compression"] == "raw"
            ink = ~np.asarray(picture)
        rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
        height, width = ink.shape
        edges = rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]
        assert edges == (4, 4, 4, 4), name
        assert 0.002 < ink.mean() < 0.4, name


def test_reproducible_and_writers_independent_of_their_number(pictures):
    before = torch.random.get_rng_state()
    again = dict(synthetic.pictures(writers=2, trials=1))
    assert again == {name: pictures[name] for name in again}
    assert torch.equal(torch.random.get_rng_state(), before), "nobody else's numbers change"
    other = {content for _, content in synthetic.pictures(writers=1, seed=1, classes=3)}
    assert len(other) == 6, "every trial is another picture"
    assert not other & set(pictures.values())


@promise.data("Where the real data is not to be had, a sample stands in, under a banner")
def test_stands_in_for_hpl_tamil_with_writers_apart(monkeypatch, capsys):
    few = list(synthetic.pictures(writers=15, trials=1, classes=12))
    monkeypatch.setattr(synthetic, "pictures", lambda: few)
    monkeypatch.setenv("NBHELPERS_SAMPLE", "always")
    monkeypatch.setenv("NB_PROFILE", "quick")
    official = tamil.tamil(profile.current(), side=32)
    assert "SAMPLE DATA" in capsys.readouterr().out
    assert official.source == "sample" and len(official.classes) == 156
    parts = official.train, official.validation, official.test
    writers = [set(part.writers.tolist()) for part in parts]
    assert sum(map(len, writers)) == len(set.union(*writers)) == 15
    again = tamil.tamil(profile.current(), side=32)  # from what was kept
    assert again.fingerprint == official.fingerprint
    mixed = tamil.tamil(profile.current(), side=32, split="random")
    assert len(mixed.test) == 15 * 12 // 5
    assert mixed.name != official.name and len(mixed.test.writers.unique()) > 10


def test_other_pens_leave_letters_in_the_form_that_models_get():
    letters, labels = pens.strangers(1, seed=3)
    assert letters.shape == (312, 64, 64) and letters.dtype == torch.uint8
    assert torch.equal(labels.bincount(), torch.full((156,), 2))
    before = torch.get_rng_state()
    drawn, again, other = (pens.redrawn(letters[:40], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)  # whoever trains beside it draws as before
    assert torch.equal(drawn, again)
    assert (drawn != other).flatten(1).any(1).all()
    share = (drawn > 127).float().mean((1, 2))
    assert share.min() > 0.02 and share.max() < 0.5


def test_the_course_s_model_reads_hands_and_pens_that_it_has_never_met():
    letters, labels = pens.strangers(2, seed=1_000)
    read = models.reader("compact_cnn").probabilities(letters.numpy()).argmax(1)
    assert (read == labels.numpy()).mean() > 0.7  # 0.61 before it had met other pens, 0.74 now
