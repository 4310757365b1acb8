"""Huffman coding of small whole numbers: canonical codes of at most 16 bits. Huffman, 1952."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from isoprune.types import IsopruneError

LONGEST = 16  # bits of a code: a window of them is read at a time


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return how many bits the code of each symbol has, 0 of those that do not occur.

    The codes are a Huffman code. Where it would have codes above `LONGEST`, rare symbols are counted as less
    rare until it has none. A single symbol has length 1, and nothing of it is written.
    """
    counts = counts.copy()
    while True:
        lengths = _huffman(counts)
        if lengths.max(initial=0) <= LONGEST:
            return lengths
        counts[counts > 0] = counts[counts > 0] // 2 + 1


def _huffman(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    lengths = np.zeros(len(counts), dtype=np.uint8)
    heap = [(int(n), s, [s]) for s, n in enumerate(counts.tolist()) if n]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left + right] += 1
        heapq.heappush(heap, (a + b, first, left + right))
    return lengths


def encode(symbols: NDArray[np.int64], lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the codes of symbols, one after the other, eight bits a byte."""
    if np.count_nonzero(lengths) < 2:
        return np.zeros(0, dtype=np.uint8)
    each = lengths[symbols].astype(np.int64)
    ends = each.cumsum()
    bits = np.zeros(int(ends[-1]), dtype=np.uint8)
    code = _codes(lengths)[symbols]
    for place in range(int(lengths.max(initial=0))):  # the bit of this place, of all codes at once
        has = each > place
        bits[(ends - each)[has] + place] = code[has] >> (each[has] - 1 - place) & 1
    return np.packbits(bits)


def decode(packed: NDArray[np.uint8], lengths: NDArray[np.uint8], number: int) -> NDArray[np.int64]:
    """Return so many symbols.

    Raises:
        IsopruneError: If these are no lengths of a code, or the bytes are not those of so many symbols.
    """
    used = np.flatnonzero(lengths)
    if len(packed) > -(-number * LONGEST // 8):  # before anything of its size is made
        raise IsopruneError("its bits are not those of its symbols")
    if len(used) < 2:
        if len(packed) or (number and not len(used)):
            raise IsopruneError("its bits are not those of its symbols")
        return np.full(number, used[0] if number else 0, dtype=np.int64)
    if lengths.max() > LONGEST or (2.0 ** -lengths[used].astype(np.float64)).sum() != 1:
        raise IsopruneError("its lengths are of no Huffman code")
    longest = int(lengths.max())
    table = np.zeros(2**longest, dtype=np.int64)
    codes = _codes(lengths)
    for symbol in used:
        free = longest - int(lengths[symbol])
        table[int(codes[symbol]) << free : (int(codes[symbol]) + 1) << free] = symbol
    bits = np.unpackbits(packed).astype(np.int32)
    windows = np.zeros(len(bits), dtype=np.int32)
    padded = np.concatenate([bits, np.zeros(longest, dtype=np.int32)])
    for place in range(longest):
        windows = windows << 1 | padded[place : place + len(bits)]
    found = table[windows]  # the symbol that would begin at each bit
    steps = lengths[found].tolist()
    at, starts = 0, []
    for _ in range(number):
        if at >= len(steps):
            raise IsopruneError("its bits end before its symbols")
        starts.append(at)
        at += steps[at]
    if at > len(bits) or len(bits) - at >= 8 or bits[at:].any():
        raise IsopruneError("its bits are not those of its symbols")
    return found[starts]


def _codes(lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the canonical codes: by length, then by symbol, each the one before it plus one."""
    codes, code, before = np.zeros(len(lengths), dtype=np.int64), 0, 0
    for symbol in sorted(np.flatnonzero(lengths).tolist(), key=lambda s: (lengths[s], s)):
        code <<= int(lengths[symbol]) - before
        codes[symbol], before = code, int(lengths[symbol])
        code += 1
    return codes
