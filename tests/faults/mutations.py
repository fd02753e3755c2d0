"""Damage the bytes of files, reproducibly by a seed."""

import random
from collections.abc import Iterator


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield the offset of each MP4 box, nested boxes included; nothing for other files."""
    inside = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf"}
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or not kind.isalnum():
            return
        yield at
        if kind in inside:
            yield from boxes(data, at + 8, min(at + size, end))
        at += size


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Flip bits, zero a span, copy one from here or from another file, delete one, or cut."""
    damaged = bytearray(data)
    kind = chance.choice(["flip", "flip", "flips", "zero", "splice", "graft", "drop", "cut"])
    size = min(chance.choice([1, 4, 16, 64, 512, 4096]), max(len(data) // 4, 1))
    at = _place(data, chance)
    source = chance.randrange(max(len(data) - size, 1))
    if kind in {"flip", "flips"}:
        for _ in range(1 if kind == "flip" else chance.randint(2, 200)):
            damaged[_place(data, chance)] ^= 1 << chance.randrange(8)
    elif kind == "zero":
        damaged[at : at + size] = bytes(min(size, len(data) - at))
    elif kind == "splice":
        damaged[at : at + size] = data[source : source + size]
    elif kind == "graft":
        begin = chance.randrange(max(len(other) - size, 1))
        damaged[at : at + size] = other[begin : begin + size]
    elif kind == "drop":
        del damaged[at : at + size]
    else:
        del damaged[at:]
    return bytes(damaged)


def _place(data: bytes, chance: random.Random) -> int:
    """Choose an offset: anywhere, or in a third of cases in a box's header."""
    starts = list(boxes(data)) if chance.random() < 0.33 else []
    if starts:
        return min(chance.choice(starts) + chance.randrange(40), len(data) - 1)
    return chance.randrange(len(data))
