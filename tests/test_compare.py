"""Records of one's own runs lie apart from the committed reference, and are set beside it."""

import json

import promise
import pytest
from source import lay
from tiny_project import write

from course import compare, execute

RECORD = """\
import os
from pathlib import Path
for place in ("smoke-cpu", "smoke-cpu-sample"):
    folder = Path(os.environ["NBHELPERS_ARTIFACTS"], place, "records")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("01_tiny.json", "01_tiny.npz", "01_tiny-second-split.json", "01_tiny_other.json"):
        record = '{"notebook": "01_tiny", "models": [], "data": {"source": "full"}}'
        (folder / name).write_text(record)
"""


@promise.results("Your own runs leave the committed results alone; only publishing replaces them")
def test_only_publishing_touches_the_reference(project, capfd):
    write(project, _01_tiny=RECORD)
    committed = project / "results" / "smoke-cpu" / "01_tiny.json"
    lay(committed.parent, {committed.name: "the reference"})
    assert execute.run(["01"]) == 0
    assert committed.read_text() == "the reference"
    assert execute.run(["01"], publish=True) == 0
    assert "unchanged" in capfd.readouterr().out
    assert sorted(path.name for path in (project / "results").rglob("*.*")) == [
        "01_tiny-second-split.json", "01_tiny.json", "01_tiny.npz", "durations.json",
    ]  # fmt: skip
    assert json.loads(committed.read_text())["models"] == []
    assert not (project / "results" / "smoke-cpu-sample").exists()


def record(folder, notebook, accuracy, band=(0.9, 1.0), name="linear"):
    model = {
        "name": name, "test_accuracy": accuracy, "expected_band": band,
        "in_band": band[0] <= accuracy <= band[1],
    }  # fmt: skip
    entry = {"notebook": notebook.split("-")[0], "models": [model], "data": {"source": "full"}}
    lay(folder, {f"{notebook}.json": entry})


def said_of(capsys, *arguments):
    status = compare.run(*arguments)
    return status, [line.split() for line in capsys.readouterr().out.splitlines()]


@promise.results("`make compare` sets your results beside ours and names those outside their band")
def test_each_model_stands_beside_the_reference(project, capsys):
    write(project, _01_tiny="", _02_tiny="")
    artifacts, results = project / "artifacts", project / "results"
    with pytest.raises(FileNotFoundError, match="make run"):
        compare.run([])
    record(results / "full-cpu", "01_tiny", 0.925)
    record(results / "full-cpu", "01_tiny-second-split", 0.8, name="other")
    record(results / "full-cpu", "02_tiny", 0.99)
    record(results / "full-gpu", "01_tiny", 0.93)
    lay(results, {"bench-cpu/training.json": {}})
    record(artifacts / "quick-cpu" / "records", "01_tiny", 0.915)
    record(artifacts / "full-gpu" / "records", "01_tiny", 0.935)
    record(artifacts / "smoke-cpu-sample" / "records", "01_tiny", 0.5, band=(0.0, 1.0))

    status, lines = said_of(capsys, [])
    assert status == 0
    assert [" ".join(line) for line in lines[1:4]] == [
        "01 linear full-gpu 0.9350 0.9300 full-gpu +0.0050 0.9 to 1 yes",
        "01 linear quick-cpu 0.9150 0.9250 full-cpu -0.0100 0.9 to 1 yes",
        "01 linear smoke-cpu-sample 0.5000 – – – 0 to 1 yes",
    ]
    assert " ".join(lines[-2]) == "not run here: 02_tiny" and lines[-1][-1] == "none"
    assert [line[2] for line in said_of(capsys, ["01"], "full")[1][1:-3]] == ["full-gpu"]

    record(artifacts / "quick-cpu" / "records", "02_tiny", 0.85)
    status, lines = said_of(capsys, [])
    assert status == 1 and lines[4][-1] == "NO"
    assert " ".join(lines[-1]) == "outside the expected band: linear (quick-cpu)"
    assert compare.run(["01"]) == 0
