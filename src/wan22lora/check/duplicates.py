"""Pictures that look alike: a difference hash of 64 bits, found in near-linear time.

The hash says of each of 8×8 places whether the picture gets brighter to the right. Copies in another size or format
differ in a bit or two, unrelated pictures in about half. Crops and mirrored copies are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

COLUMNS, ROWS = 9, 8
BITS = 64
APART = 4
"""Bits in which two pictures may differ and still be the same."""
SHADE = 20
"""Mean of a colour, of 255, in which they may differ; flat pictures have nothing else to tell them apart."""
_BANDS = APART + 1
"""Of five bands of two hashes that differ in four bits, one is equal."""
_NEIGHBOURS = 40
"""Pictures of a band that each is compared with. Many share a band only where they are much alike, or flat."""


@dataclass(frozen=True)
class Look:
    bits: int
    colour: tuple[int, int, int]
    """Mean red, green and blue."""


def groups_of_alike(
    looks: Sequence[Look | None], copies: Sequence[Hashable | None] = ()
) -> tuple[tuple[int, ...], ...]:
    """Positions of pictures that look alike, each group in order; of a chain of likenesses, all are one group.

    Equal `copies` are alike too, whatever they look like; None equals nothing.
    """
    first = list(range(len(looks)))

    def head(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    def join(one: int, other: int) -> None:
        first[max(head(one), head(other))] = min(head(one), head(other))

    for one, other in _pairs_alike(looks):
        join(one, other)
    earlier: dict[Hashable, int] = {}
    for index, copy in enumerate(copies):
        if copy is not None:
            join(earlier.setdefault(copy, index), index)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(looks)):
        groups[head(index)].append(index)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _pairs_alike(looks: Sequence[Look | None]) -> Iterator[tuple[int, int]]:
    """Some of them more than once; of many that look like one another not every pair."""
    bands: dict[tuple[int, int], list[tuple[int, tuple[int, int, int], int]]] = defaultdict(list)
    edges = [BITS * band // _BANDS for band in range(_BANDS + 1)]
    masks = [(band, edges[band], (1 << edges[band + 1] - edges[band]) - 1) for band in range(_BANDS)]
    for index, look in enumerate(looks):
        if look is not None:
            for band, edge, mask in masks:
                bands[band, look.bits >> edge & mask].append((look.bits, look.colour, index))
    for members in bands.values():
        members.sort()
        for at, (bits, colour, one) in enumerate(members):
            for other_bits, other_colour, other in members[at + 1 : at + 1 + _NEIGHBOURS]:
                # Bits first, since they are quick and nearly always tell two pictures apart.
                if (bits ^ other_bits).bit_count() <= APART and _same_shade(colour, other_colour):
                    yield one, other


def _same_shade(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= SHADE for a, b in zip(one, other, strict=True))
