"""Doubt the labels of HPL Tamil's test part, and lay them out for readers who do not see them.

`python -m course.audit FOLDER` trains three networks (an hour on one core) and writes contact
sheets and, apart from them, the key; `data/README.md` tells how they were read. It needs one more
package: `pip install cleanlab==2.9.0`.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont

from handwriting import models
from nbhelpers import data, networks, profile, recipes, shapes, sources, tamil, training, vision
from nbhelpers.tamil import alphabet

SEED, LARGE, SMALL = 42, 152, 76  # sides of pictures on a sheet, in pixels
PLANTED = 100  # wrong labels put there on purpose
WAYS = {  # network, sides of images in each epoch, highest rate, decay
    "compact CNN": (networks.compact_cnn, [24, 24, 32], 0.004, 0.05),
    "LeNet": (partial(networks.lenet, 156, 32), [32] * 6, 0.002, 0.01),
    "ResNet-18": (partial(vision.ARCHITECTURES["resnet18"], 156), [16, 32], 0.003, 0.05),
}
# Training images that show their letter badly, or another one, and a writer who scribbles: no
# examples for a reader. Found by looking at the letters that are confused most.
UNCLEAR = [44295, 41894, 30447, 16079, 41898, 16524, 16529, 33559, 7404, 28799, 16555, 16562]
UNCLEAR += [41985, 7439, 16583, 7478, 30555, 41937]
SCRIBBLER = 100


def probabilities(name: str, learn: data.Split, judged: data.Split) -> np.ndarray:
    """Train on `learn` and return what the network gives for `judged`: float32 `[n, 156]`."""
    make, sides, rate, decay = WAYS[name]
    torch.manual_seed(SEED)
    model = vision.fast_on_small_maps(make()).to(memory_format=torch.channels_last)
    batches = data.Batches(learn, 128, shuffle=True, seed=SEED, sides=sides)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    schedule = training.one_cycle(optimizer, rate, len(batches), len(sides), pct_start=0.2)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    how = {"optimizer": optimizer, "schedule": schedule, "loss_function": loss}
    how |= {"epochs": len(sides), "augment": recipes.COMPACT_CNN.augment, "name": name}
    training.fit(model, batches, data.Batches(learn[:512], 512, sides=sides), **how)
    return training.predict(model, data.Batches(judged, 512, sides=sides[-1:]))[0].numpy()


def items(labels: np.ndarray, answers: list[np.ndarray]) -> pd.DataFrame:
    """Return what readers see, in random order, and the key to it.

    The candidates, which two networks make cleanlab doubt; as many others with the same labels;
    and some of these under the label that is second likeliest. `label` is the one shown, `first`
    the one whose examples are called A.
    """
    from cleanlab.filter import find_label_issues  # not in the course's list of packages

    rng, mean = np.random.default_rng(SEED), np.mean(answers, axis=0)
    doubts = np.sum([find_label_issues(labels, p, n_jobs=1) for p in answers], axis=0)
    given = mean[np.arange(len(labels)), labels]
    other = np.where(np.arange(alphabet.CLASSES) == labels[:, None], -1, mean).argmax(1)
    doubtful = np.flatnonzero(doubts >= 2)
    doubtful = doubtful[given[doubtful].argsort()]

    def alike(of: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Draw from `free` a row with the same label for each row in `of`, while there are any."""
        left = {label: list(rng.permutation(free[labels[free] == label])) for label in labels[of]}
        return np.array([left[label].pop() for label in labels[of] if left[label]])

    plain = (doubts == 0) & np.all([p.argmax(1) == labels for p in answers], axis=0)
    wrong = alike(rng.choice(doubtful, PLANTED), np.flatnonzero(plain))
    rest = np.setdiff1d(np.flatnonzero(doubts < 2), wrong)
    others = alike(rng.permutation(doubtful), rest)
    rows = np.concatenate([doubtful, others, wrong])
    names, counts = ["candidate", "unflagged", "planted"], [len(doubtful), len(others), len(wrong)]
    kinds = np.repeat(names, counts)
    shown = np.where(kinds == "planted", other[rows], labels[rows])
    second = np.where(kinds == "planted", labels[rows], other[rows])
    table = {"image": rows, "kind": kinds, "label": shown, "other": second}
    table |= {"first": np.where(rng.random(len(rows)) < 0.5, shown, second), "doubts": doubts[rows]}
    return pd.DataFrame(table).sample(frac=1, random_state=SEED, ignore_index=True)


def exemplars(learn: data.Split) -> np.ndarray:
    """Return rows of `learn`, three of each class by three writers, int64 `[156, 3]`.

    Those that the course's own compact CNN, which never saw these writers, is surest of.
    """
    strange = torch.isin(learn.writers, tamil.tamil(profile.current()).validation.writers)
    strange &= learn.writers != SCRIBBLER
    strange[UNCLEAR] = False
    rows, chosen = strange.nonzero()[:, 0], []
    sure = training.predict(models.load("compact_cnn")[0], data.Batches(learn[rows], 512))[0]
    for label in range(alphabet.CLASSES):
        best = sure[:, label].masked_fill(learn.labels[rows] != label, 0).argsort(descending=True)
        _, firsts = np.unique(learn.writers[rows[best[:20]]], return_index=True)
        chosen.append(rows[best[np.sort(firsts)[:3]]].numpy())
    return np.stack(chosen)


def drawn(label: int) -> np.ndarray:
    """Return a letter as the course's font draws it: uint8 `[SMALL, SMALL]`, 255 is ink."""
    strokes = alphabet.pen_strokes()[label]
    low, high = np.concatenate(strokes).min(0), np.concatenate(strokes).max(0)
    scale = 190 / (high - low).max()
    picture = Image.new("L", [int(side) for side in (high - low) * scale + 10])
    pen = ImageDraw.Draw(picture)
    for x, y in (((stroke - low) * scale + 5).T for stroke in strokes):
        pen.line(list(zip(x, picture.height - y, strict=True)), 255, 5, "curve")
        pen.circle((x[0], picture.height - y[0]), 5 if len(x) == 1 else 2, 255)
    return shapes.placed(picture, SMALL)


def sheet(table: pd.DataFrame, letters: np.ndarray, examples: list[list]) -> Image.Image:
    """Return a contact sheet of 21 items: number, letter, and examples of A above those of B."""
    font, wide, high = ImageFont.load_default(22), LARGE + 4 * SMALL + 50, LARGE + 36
    page = Image.new("L", (3 * wide, 7 * high), 255)
    pen = ImageDraw.Draw(page)
    for place, item in enumerate(table.itertuples()):
        x, y = place % 3 * wide, place // 3 * high
        pen.rectangle((x, y, x + wide - 1, y + high - 1), outline=160)
        pen.text((x + 6, y + 2), f"{item.Index + 1}", 0, font)
        page.paste(Image.fromarray(255 - letters[item.image]), (x + 6, y + 30))
        second = item.label + item.other - item.first
        for name, label, down in (("A", item.first, 30), ("B", second, 30 + SMALL)):
            pen.text((x + LARGE + 14, y + down + 24), name, 0, font)
            for i, example in enumerate(examples[label]):
                corner = x + LARGE + 38 + i * SMALL, y + down
                page.paste(Image.fromarray(255 - example), corner)
    return page


def main(folder: Path) -> None:
    """Write `sheets/` and `key.csv` below `folder`; what the networks gave is kept there, too."""
    (folder / "sheets").mkdir(parents=True, exist_ok=True)
    learn, test, _ = tamil.characters(64, "adapted")
    for name in WAYS:
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", probabilities(name, learn, test))
    table = items(test.labels.numpy(), [np.load(folder / f"{name}.npy") for name in WAYS])
    known, letters = (
        tamil.read_characters(sources.fetch(*part), side, "kept").images.numpy()
        for part, side in ((tamil.TRAIN, SMALL), (tamil.TEST, LARGE))
    )
    examples = [[drawn(label), *known[rows]] for label, rows in enumerate(exemplars(learn))]
    for start in range(0, len(table), 21):
        page = sheet(table[start : start + 21], letters, examples)
        page.save(folder / "sheets" / f"sheet_{start // 21 + 1:03d}.png")
    table.to_csv(folder / "key.csv", index_label="number")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
