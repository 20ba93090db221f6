from dataclasses import replace

import numpy as np
import promise
import pytest
import torch
from matplotlib import pyplot as plt
from source import lay

from course import results
from course.readme import ladder_figure
from nbhelpers import profile, records, reporting
from nbhelpers.data import Dataset, Split
from nbhelpers.training import History


@pytest.fixture
def split():
    images = torch.zeros(6, 8, 8, dtype=torch.uint8)
    images[:, 2:5, 3] = 255
    return Split(images, torch.tensor([0, 0, 0, 1, 1, 2]), ("a", "b", "c"))


PROBABILITIES = torch.tensor(
    [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0.1, 0.9, 0], [0, 0.4, 0.6], [0, 0.1, 0.9]]
)


@promise.notebooks("Every figure is described for those who cannot see it")
def test_figures_carry_alternative_text_and_are_closed(shown, split):
    history = History("m", [1.0, 0.5], [0.5, 0.8], [0.9, 0.6], [0.6, 0.75], [1.0, 2.0])
    reporting.show_curves(history)
    reporting.show_images(split.images, list("aabbbc"), "Letters", columns=3)
    reporting.show_confusion(split.labels, PROBABILITIES.argmax(1), split.classes, "Confusion")
    rows = reporting.show_mistakes(split, PROBABILITIES, "Mistakes")
    assert rows.tolist() == [1, 2, 4], "by how sure the model was"
    alts = [metadata["image/png"]["alt"] for _, metadata in shown]
    assert "0.7500 after epoch 2" in alts[0]
    assert "6 pictures in 2 rows" in alts[1]
    assert "a taken for b: 2 times; b taken for c: 1 times" in alts[2]
    assert "a as b 0.80" in alts[3]
    assert all(data["image/png"].startswith(b"\x89PNG") for data, _ in shown)
    assert plt.get_fignums() == []


@promise.results("Accuracies come with the 95 % interval by Wilson's formula")
def test_wilson_interval():
    """By hand for 9,165 of 10,000, as Brown, Cai, DasGupta (2001) give the formula."""
    z, n, p = 1.959964, 10_000, 0.9165
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    expected = pytest.approx((centre - half, centre + half), abs=1e-6)
    assert records.confidence_interval(9165, 10_000) == expected


@promise.results("A record names its data by a fingerprint, and is not used for other data")
def test_record_holds_what_was_measured(split, tmp_path, capsys):
    model = torch.nn.Linear(4, 3)
    history = History("tiny", [1.0], [0.5], [0.9], [0.6], [1.234])
    result = records.test_result(model, history, split, PROBABILITIES, recipe="R1", band=(0.4, 0.6))
    assert "test accuracy 0.5000" in capsys.readouterr().out
    assert result.test_class_averaged_accuracy == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    run, dataset = profile.current(), Dataset("letters", "full", split, split, split)
    path = records.record(run, dataset, "99_nothing", [result])
    assert path == tmp_path / "artifacts" / run.place / "records" / "99_nothing.json"
    entry = records.read(path)
    assert (entry["models"][0]["parameters"], entry["models"][0]["in_band"]) == (15, True)
    assert entry["data"]["fingerprint"] == dataset.fingerprint
    assert entry["environment"]["torch"] == torch.__version__.split("+")[0]

    (again,) = records.recorded(run, dataset, "99_nothing")
    assert again == result
    assert again.answers.predictions.tolist() == [0, 1, 1, 1, 2, 2]
    assert again.answers.confidence[:2].tolist() == pytest.approx([0.9, 0.8], abs=1e-3)
    assert again.answers.seconds.tolist() == pytest.approx([1.234])
    assert again.answers.validation_accuracy.tolist() == pytest.approx([0.6])
    assert records.recorded(run, dataset, "98_not_run") == []
    assert records.recorded(run, replace(dataset, train=split[1:]), "99_nothing") == []

    path = records.record(run, replace(dataset, source="sample"), "99_nothing", [result])
    assert path.parent == tmp_path / "artifacts" / f"{run.place}-sample" / "records"


def test_a_damaged_record_is_named(tmp_path):
    for number, text in enumerate(('{"models": [', "[]", '{"data": {}}')):
        path = tmp_path / f"0{number}_damaged.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"0{number}_damaged\.json: no results record"):
            records.read(path)


def test_ladder_has_a_panel_for_each_data_set():
    model = {"name": "m", "test_accuracy": 0.9, "test_ci95": [0.8, 0.95], "published": None}
    figure = ladder_figure({"A": [{"models": [model]}], "B": [{"models": [model] * 2}]})
    assert [axis.get_title() for axis in figure.axes] == ["A", "B"]
    assert [len(axis.get_yticks()) for axis in figure.axes] == [1, 2]
    plt.close(figure)


def test_accuracy_on_audited_labels_mends_what_both_readers_doubt(tmp_path):
    (tmp_path / "results" / "full-cpu").mkdir(parents=True)
    rows = ["image,label,reader_1,reader_2,written"]
    rows += ["0,அ,other,other,ஆ", "1,அ,other,label,", "2,அ,neither,other,", "3,அ,label,label,அ"]
    lay(tmp_path, {"data/hpl_label_audit.csv": "\n".join(rows)})
    np.savez(tmp_path / "results/full-cpu/07.npz", **{"0_predictions": np.uint8([1, 0, 0, 0, 5])})
    entry = {"notebook": "07", "models": [{"test_accuracy": 0.8, "test_images": 5}]}
    # Right by the labels: 1, 2, 3 and the last. Image 0 becomes right, image 2 is left out.
    (cell,) = results.on_audited_labels(tmp_path, entry)
    assert cell.startswith("**1.0000** (")
