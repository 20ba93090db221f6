"""Show how a training run is getting on: a bar and live curves in a notebook, a line at the end.

With `NB_HEADLESS=1`, as `make run` and `make test` set it, and outside a notebook only the closing
line is shown, so that a committed or a compared output holds nothing but text.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbhelpers.training import History

REDRAW_SECONDS = 0.3


class Progress:
    """A context manager that follows one training run.

    Args:
        history: what has been measured so far; read, never changed.
        epochs: epochs of the whole run.
        batches: batches an epoch.
    """

    def __init__(self, history: History, epochs: int, batches: int) -> None:
        """Prepare; nothing is shown before the `with` block starts."""
        self.history, self.epochs, self.batches = history, epochs, batches
        self.first_epoch = history.epochs
        self.batch = 0
        self.live = _in_notebook() and not os.environ.get("NB_HEADLESS")

    def __enter__(self) -> Progress:
        """Start the clock and, in a notebook, show the bar."""
        self.started = self.drawn = time.perf_counter()
        if self.live:
            from IPython.display import HTML, display

            self.bar = display(HTML(self._bar()), display_id=True)
            self.curves = display(HTML(""), display_id=True)
        return self

    def batch_done(self) -> None:
        """Count a batch."""
        self.batch += 1
        if self.live and time.perf_counter() - self.drawn > REDRAW_SECONDS:
            from IPython.display import HTML

            self.drawn = time.perf_counter()
            self.bar.update(HTML(self._bar()))

    def epoch_done(self) -> None:
        """Redraw the curves, now that an epoch more has been measured."""
        if not self.live or self.history.epochs < 2:
            return
        every = max(1, self.epochs // 30)  # drawing must not slow a run of 400 epochs
        if self.history.epochs % every:
            return
        from matplotlib import pyplot

        from nbhelpers.reporting import curves_figure

        figure = curves_figure([self.history])
        self.curves.update(figure)
        pyplot.close(figure)

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        """Take the bar and the live curves away and leave one line."""
        if self.live:
            from IPython.display import HTML

            self.bar.update(HTML(""))
            self.curves.update(HTML(""))
        if kind is None and self.history.epochs and (self.live or _in_notebook()):
            history = self.history
            print(
                f"{history.name}: {history.epochs} epoch{'s' * (history.epochs != 1)} in "
                f"{history.seconds[-1]:.1f} s of training, "
                f"validation accuracy {history.validation_accuracy[-1]:.4f}"
            )

    def _bar(self) -> str:
        total = max(1, (self.epochs - self.first_epoch) * self.batches)
        left = ""
        if self.batch:
            seconds = (time.perf_counter() - self.started) / self.batch * (total - self.batch)
            left = f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
            left += " left"
        epoch = min(self.epochs, self.first_epoch + self.batch // self.batches + 1)
        return (
            f'{self.history.name} <progress value="{self.batch}" max="{total}"></progress> '
            f"epoch {epoch} of {self.epochs} {left}"
        )


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
