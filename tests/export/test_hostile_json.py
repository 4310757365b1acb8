"""Any JSON in any place of a saved directory is refused in words, or changes nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isoprune.export import load
from isoprune.types import IsopruneError

from .networks import Convolutions, bits
from .test_hostile import forge

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "class",
    "sha256",
    "tensors",
    "tied",
    "attributes",
    "other_mode",
    "version",
    "format",
    "source",
    "plan",
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), value=JSON)
def test_any_json_in_any_place_is_refused_in_words_or_changes_nothing(saved, good, tmp_path, key, value):
    there = tmp_path / "fuzz"
    there.mkdir(exist_ok=True)
    for file in saved.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    forge(there, **{key: value})
    try:
        model = load(there, build=Convolutions)
    except IsopruneError:
        return
    assert bits(model) == good
