"""The facts that a recording has of each live tensor of a forward, by weak references."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from isoprune.graph.labels import Planes
from isoprune.graph.memory import memory_of, place_of


@dataclass(slots=True)
class Facts:
    """What is known of one tensor."""

    key: int  # under which operations read and write it: those of two tensors are never equal
    planes: Planes | None = None  # None: it depends on neither activations nor weights
    activation: bool = False  # depends on the input
    blank: bool = False  # a constant of equal values, into which nothing has been written
    loose: bool = False  # made of inputs that are no floats
    flag: bool = False  # made of a single number of those
    positions: Planes = ()  # those along which it says where something was found


class _Ref(weakref.ref[Tensor]):
    __slots__ = ("name",)
    name: int


class TensorFacts:
    """The facts of every tensor that lives. Cost: a weak reference a tensor, and one a storage."""

    def __init__(self, names: Collection[int]) -> None:
        """Keep facts; tensors with these identities live longer than this and have those as keys."""
        self._names, self._last = names, -1
        self._known: dict[int, tuple[_Ref, Facts]] = {}
        # With a weak reference to it, no other storage gets the address of one that is gone.
        self._storages: dict[int, StorageWeakRef] = {}
        self._places: dict[tuple, Facts] = {}
        own = weakref.ref(self)

        def forget(ref: _Ref) -> None:
            facts = own()
            if facts is not None:
                facts._known.pop(ref.name, None)

        self._forget = forget

    def get(self, tensor: Tensor) -> Facts | None:
        """Return the facts of a tensor; None if there are none."""
        found = self._known.get(id(tensor))
        return None if found is None else found[1]

    def each(self, tensors: Iterable[Tensor]) -> Iterator[Facts]:
        """Yield the facts of those tensors that have any."""
        return (found[1] for t in tensors if (found := self._known.get(id(t))) is not None)

    def of(self, tensor: Tensor) -> Facts:
        """Return the facts of a tensor, made if there are none, to be added to."""
        found = self._known.get(id(tensor))
        if found is None:
            self._last -= 1
            ref = _Ref(tensor, self._forget)
            ref.name = id(tensor)
            found = ref, Facts(id(tensor) if id(tensor) in self._names else self._last)
            self._known[id(tensor)] = found
        return found[1]

    def forget_data(self, tensors: Iterable[Tensor]) -> None:
        """Know nothing any more of those of these tensors, and of their memory, that hold data."""
        for tensor in tensors:
            facts = self.get(tensor)
            if facts is not None and facts.activation:
                self._known.pop(id(tensor))
                if tensor.layout is torch.strided:
                    self._storages.pop(memory_of(tensor), None)
                    self._places.pop(place_of(tensor), None)

    def key(self, tensor: Tensor) -> int:
        """Return the key of a tensor; -1 if nothing is known of it."""
        found = self._known.get(id(tensor))
        return found[1].key if found else id(tensor) if id(tensor) in self._names else -1

    def mark(self, tensor: Tensor, planes: Planes) -> None:
        """Say what the channels of a tensor are."""
        facts = self.of(tensor)
        facts.planes = planes
        if tensor.layout is torch.strided:  # a sparse tensor has no views
            memory = memory_of(tensor)
            if memory not in self._storages:
                self._storages[memory] = StorageWeakRef(tensor.untyped_storage())
            self._places[place_of(tensor)] = facts

    def adopted(self, tensor: Tensor) -> bool:
        """Mark a tensor that no operation made (a subclass of tensors did) as what has its place in memory.

        Returns whether anything is known of that memory.
        """
        if tensor.layout is not torch.strided or memory_of(tensor) not in self._storages:
            return False
        twin = self._places.get(place_of(tensor))
        self.mark(tensor, (twin and twin.planes) or ())
        self.of(tensor).activation |= twin is not None and twin.activation
        return True
