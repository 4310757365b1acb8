"""Names as they are printed: one line, without control or invisible characters."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

LONGEST = 200  # characters of a name; a longer one says nothing more


def printable(text: object) -> str:
    """Return ``text`` in one line, without control characters and those that reorder or hide text.

    Control characters, escape sequences, marks of the direction of writing and halves of characters come as
    U+FFFD; every run of blanks as one blank.
    """
    words = " ".join(str(text).split())
    return "".join("\ufffd" if hides(c) else c for c in words)


def hides(characters: Iterable[str]) -> bool:
    """Tell whether one of ``characters`` is invisible, an odd blank, or moves what stands beside it."""
    return any(unicodedata.category(c) in _UNSEEN or (c != " " and c.isspace()) for c in characters)


def name(text: object) -> str:
    """Return a name as an output shows it: printable, and no longer than anybody would read."""
    line = printable(text)
    if len(line) <= LONGEST:
        return line
    # Two names that differ stay two.
    return f"{line[: LONGEST - 20]}\u2026{hashlib.sha256(line.encode()).hexdigest()[:8]}"


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
