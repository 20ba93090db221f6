#!/usr/bin/env bash
# Sphinx 9.0.4: the EPUB builder does not declare pages that hold MathML.
#
# Expected: a book of `sphinx-build -b epub` with a formula in MathML is a valid EPUB 3. The
#   standard (EPUB 3.3, 5.5.2, manifest item properties) wants `properties="mathml"` on the entry
#   of each such page in content.opf, and EPUBCheck reports its absence as an error (OPF-014).
# Seen: the page holds the <math> element, its entry in content.opf has no properties; Sphinx
#   builds without a warning.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check sphinx==9.0.4

mkdir source
cat > source/conf.py <<'PYTHON'
project, author, version, copyright = "A book", "Somebody", "1", "2026, Somebody"
epub_show_urls = "no"
PYTHON
cat > source/index.rst <<'REST'
A book
======

.. raw:: html

   <p><math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi><mo>+</mo><mn>1</mn></math></p>
REST
venv/bin/python -m sphinx -q -W -b epub -d doctrees source book
grep -q "<math" book/index.xhtml
if grep "index.xhtml" book/content.opf | grep -q "mathml"; then
  echo "changed: the page with MathML is declared now"
  exit 1
fi
grep -q '<item .*href="index.xhtml"' book/content.opf
echo "as found: a page with MathML is not declared as such in content.opf"
