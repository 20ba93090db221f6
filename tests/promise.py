"""Marks for tests that prove what the README promises, by the group that the promise stands in."""

from functools import partial

import pytest

from course import promises

data, training, results, notebooks, site, hostile, speed = (
    partial(pytest.mark.promise, group) for group in promises.GROUPS
)
