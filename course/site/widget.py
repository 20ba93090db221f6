"""The boxes "Train it here" of the site's pages inside JupyterLab, from the same files.

The notebook's browser trains, as on the page; this module hands it the files.
"""

import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from course.site import training
from handwriting import playground
from nbhelpers.sources import project_folder

HERE = Path(__file__).parent
STYLES = (HERE / "widget.css", HERE / "static" / "language.css")


class TrainBox(anywidget.AnyWidget):
    """The box of a chapter; shown when it is a cell's last line.

    Args:
        number: of the chapter: 1, 2, 3 or 5.

    Raises:
        ValueError: the chapter has no box.
    """

    _esm = HERE / "widget.js"
    _css = "".join(path.read_text(encoding="utf-8") for path in STYLES)
    chapter = traitlets.Unicode().tag(sync=True)

    def __init__(self, number: int) -> None:
        """Prepare the box; files are put together once it is shown."""
        names = {int(name[:2]): name for name in training.boxes_by_chapter()}
        if number not in names:
            raise ValueError(f"Chapter {number!r} has no box. Expected one of {sorted(names)}.")
        super().__init__(chapter=names[number])
        self.on_msg(self._send_files)

    def _send_files(self, *_: object) -> None:
        try:
            files = playground.scripts() | playground.runtime()
            files |= {path.name: path.read_bytes() for path in training.SCRIPTS.iterdir()}
            files |= training.files(project_folder(), [self.chapter])
        except training.ERRORS as error:
            self.send({"error": str(error)})
        else:
            self.send({"names": list(files)}, list(files.values()))

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the widget; in a headless run, words that stand for it."""
        if os.environ.get("NB_HEADLESS"):
            return {"text/plain": f"<“Train it here”, of {self.chapter}>"}, {}
        return super()._repr_mimebundle_(**kwargs)
