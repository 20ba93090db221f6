"""Marks for tests that prove what the README promises, by the group that the promise stands in."""

from functools import partial

import pytest

data = partial(pytest.mark.promise, "Data")
training = partial(pytest.mark.promise, "Training")
results = partial(pytest.mark.promise, "Results")
notebooks = partial(pytest.mark.promise, "Notebooks")
site = partial(pytest.mark.promise, "Site and playground")
hostile = partial(pytest.mark.promise, "Hostile conditions")
speed = partial(pytest.mark.promise, "Speed")
