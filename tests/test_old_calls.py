"""The page on old tutorials says what their lines do today."""

import io
import warnings
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import sklearn.datasets
import sklearn.metrics
import torch
import torchvision
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.autograd import Variable
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import v2

with warnings.catch_warnings(action="ignore"):  # of fastai, while it is imported
    import fastai.vision.all

PAGE = Path(__file__).parent.parent / "course" / "site" / "old_calls.md"
TABLE = PAGE.read_text(encoding="utf-8").split("\n\n")[2].splitlines()[2:]
ROWS = [[cell.strip(" `") for cell in row.strip("|").split(" | ")][:2] for row in TABLE]
NAMES = {"Image": Image, "Variable": Variable, "StepLR": StepLR, "v2": v2, "nn": nn, "np": np}
NAMES |= {"LogisticRegression": LogisticRegression, "fastai": fastai, "pd": pd, "plt": plt}
NAMES |= {"sklearn": sklearn, "torch": torch, "torchvision": torchvision, "transforms": transforms}


@pytest.mark.parametrize(("line", "today"), ROWS, ids=[line for line, _ in ROWS])
def test_an_old_line_does_what_the_page_says(line, today):
    model, whole_model = nn.Sequential(nn.Linear(2, 2)), io.BytesIO()
    torch.save(model, whole_model)
    whole_model.seek(0)
    weight, study = torch.zeros(2, 2, requires_grad=True), optuna.create_study()
    names = NAMES | {"frame": pd.DataFrame({"a": [1]}), "images": torch.zeros(2), "model": model}
    names |= {"loader": DataLoader(torch.zeros(4, 2)), "logits": torch.zeros(2, 3)}
    names |= {"loss": torch.zeros(()), "optimizer": torch.optim.SGD([weight], 0.1)}
    names |= {"trial": study.ask(), "weight": weight, "whole_model": whole_model}
    does, _, kind = today.replace(",", " ").partition(" ")
    raised = None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            exec(line, names)
        except Exception as error:
            raised = type(error).__name__
    plt.close("all")
    assert raised == (kind.split()[0] if does == "raises" else None)
    warned = {warning.category.__name__ for warning in seen}
    if does == "warns":
        assert kind.split()[0] in warned
    elif does == "works":
        assert not warned
