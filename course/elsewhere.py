"""Where a chapter runs without installing anything: Colab, Codespaces, Binder.

`python course/elsewhere.py FOLDER` writes what Colab opens; it needs no packages.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_CELL = """\
# @title Run this, restart the session once (Matplotlib is newer now), and run it again
![ -d {0} ] || git clone -q --filter=blob:none https://github.com/{1} {0}
!git -C {0} checkout -q {2}
!sed -E '/make site/,$d; /^(torch|numpy|jupyterlab|nbval)/d' {0}/requirements.txt > /tmp/needed
!pip list --format=freeze | grep -E '^(torch|torchvision|numpy)=' > /tmp/kept
!pip install -qq -r /tmp/needed -c /tmp/kept && pip install -qq --no-deps -e {0}
import sys; sys.path.insert(0, "{0}")
%cd -q {0}/notebooks"""


def links(name: str) -> dict[str, str]:
    """Return the addresses that open a notebook, named without `.ipynb`; none but on GitHub."""
    repository, commit = (os.environ.get(f"GITHUB_{what}") for what in ("REPOSITORY", "SHA"))
    if not repository or "//github.com" not in os.environ.get("GITHUB_SERVER_URL", "//github.com"):
        return {}  # other forges set the same variables
    path, colab = f"notebooks/{name}.ipynb", "https://colab.research.google.com/github"
    found = {"Colab": f"{colab}/{repository}/blob/colab/{path}"}
    found["Codespaces"] = f"https://codespaces.new/{repository}"
    if name < "04":  # what Binder's 2 GB of memory are enough for
        found["Binder"] = (
            f"https://mybinder.org/v2/gh/{repository}/{commit or 'HEAD'}?labpath={path}"
        )
    return found


def write_for_colab(folder: Path) -> None:
    """Write the notebooks without results, with a cell before them that gets the course."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_SHA"]
    first = {"id": "get-the-course", "cell_type": "code", "metadata": {"cellView": "form"}}
    first["source"] = FIRST_CELL.format("/content/handwriting-course", *here)
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"].insert(0, first)
        for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
            cell.update(outputs=[], execution_count=None)
        (folder / path.name).write_text(json.dumps(notebook, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write_for_colab(Path(sys.argv[1]))
