#!/usr/bin/env bash
# nbval 0.11.0 with IPython 9.18.1: a semicolon at the end of a cell does not silence it.
#
# Expected: a cell such as `6 * 7;` shows nothing, as in JupyterLab, under nbclient and in the
#   notebook that these have executed and saved; so `pytest --nbval` passes on that notebook.
# Seen: `pytest --nbval` fails on it with "Unexpected output fields ... text/plain". nbval sends
#   cells with store_history=False, and IPython looks for the semicolon in its history.
# Without the semicolon, or with `None` as the last line, the same notebook passes.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check \
  nbval==0.11.0 pytest==9.2.0 ipython==9.18.1 ipykernel==7.4.0 nbclient==0.11.0

cat > make.py <<'PYTHON'
import nbformat
from nbclient import NotebookClient
from nbformat import v4

for name, source in (("semicolon", "6 * 7;"), ("none", "6 * 7;\nNone")):
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    NotebookClient(notebook, kernel_name="python3").execute()
    assert notebook.cells[0].outputs == [], "nbclient shows nothing"
    nbformat.write(notebook, f"{name}.ipynb")
PYTHON
venv/bin/python make.py 2> /dev/null
venv/bin/python -m pytest -q --nbval --nbval-current-env none.ipynb > none.txt
if venv/bin/python -m pytest -q --nbval --nbval-current-env semicolon.ipynb > semicolon.txt; then
  echo "changed: nbval hears the semicolon now"
  exit 1
fi
grep -q "Unexpected output fields from running code: {'text/plain'}" semicolon.txt
echo "as found: nbval shows the value of a cell that ends with a semicolon"
