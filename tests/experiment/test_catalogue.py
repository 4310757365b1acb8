"""The catalogue, read from source, says what the imported tables say."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from isoprune.experiment.catalogue import REQUIRED, catalogue
from isoprune.experiment.signatures import SHOWN, table
from isoprune.types.method import method_of


@pytest.mark.parametrize("kind", SHOWN)
def test_the_source_says_what_the_imported_table_says(kind: str):
    imported, read = table(kind), catalogue(kind)
    assert list(read) == list(imported)
    for name, function in imported.items():
        empty = inspect.Parameter.empty
        want = {
            option: REQUIRED if p.default is empty else p.default
            for option, p in inspect.signature(function).parameters.items()
            if option not in SHOWN[kind].supplied and p.kind is not p.VAR_KEYWORD
        }
        assert read[name].options == want
        assert read[name].method == method_of(function)
        assert read[name].doc == (inspect.getdoc(function) or "")
        first = (inspect.getdoc(function) or "").partition("\n")[0]
        assert read[name].summary.replace("`", "").split()[-1] == first.replace("`", "").split()[-1]


def test_it_is_read_without_torch():
    code = (
        "import sys; from isoprune.experiment.catalogue import SHOWN, catalogue; "
        "assert all(catalogue(kind) for kind in SHOWN); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
