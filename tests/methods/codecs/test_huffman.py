"""Huffman codes: optimal, free of prefixes, read back; what is no code is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoprune.methods.codecs import huffman
from isoprune.types import IsopruneError

texts = st.lists(st.integers(0, 9), max_size=60)


@settings(deadline=None, max_examples=60)
@given(texts)
def test_what_is_encoded_is_read_back(text):
    symbols = np.array(text, dtype=np.int64)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=10))
    packed = huffman.encode(symbols, lengths)
    assert huffman.decode(packed, lengths, len(symbols)).tolist() == text
    if len(set(text)) > 1:
        assert len(packed) == -(-int(lengths[symbols].sum()) // 8)
        probabilities = np.bincount(symbols)[np.unique(symbols)] / len(symbols)
        entropy = -(probabilities * np.log2(probabilities)).sum()
        assert entropy - 1e-9 <= lengths[symbols].mean() < entropy + 1


def test_no_other_code_of_whole_bits_is_shorter():
    counts = np.array([8, 5, 3, 1, 1])
    got = int((counts * huffman.code_lengths(counts)).sum())
    possible = (
        sum(n * w for n, w in zip(counts.tolist(), ways, strict=True))
        for ways in itertools.product(range(1, 5), repeat=5)
        if sum(2.0**-w for w in ways) <= 1
    )
    assert got == min(possible)


def test_codes_are_never_longer_than_a_window():
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(np.array(fibonacci))
    assert lengths.max() <= huffman.LONGEST
    assert math.fsum(2.0 ** -lengths.astype(float)) == 1
    symbols = np.arange(40).repeat(3)
    packed = huffman.encode(symbols, lengths)
    assert huffman.decode(packed, lengths, 120).tolist() == symbols.tolist()


@pytest.mark.parametrize(
    ("packed", "lengths", "number", "message"),
    [
        ([0], [1, 2], 3, "no Huffman code"),
        ([0], [1, 1, 1], 3, "no Huffman code"),
        ([0], [17] * 2, 3, "no Huffman code"),
        ([0], [1, 1], 9, "end before"),
        ([0, 0], [1, 1], 3, "not those"),
        ([255], [1, 1], 3, "not those"),
        ([0], [1], 3, "not those"),
        ([], [0, 0], 3, "not those"),
    ],
)
def test_what_is_no_code_is_refused(packed, lengths, number, message):
    with pytest.raises(IsopruneError, match=message):
        huffman.decode(np.array(packed, dtype=np.uint8), np.array(lengths, dtype=np.uint8), number)
