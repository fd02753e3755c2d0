"""Write tars: byte for byte what tarfile writes."""

import io
import tarfile

import pytest

from avstore.pipelines.build.shard_tar import ShardTar

NAMES = [
    "k.json",
    "-id_0000000_000030.convnext-audio.npy",
    "é" * 20 + ".npy",
    "k" * 99,
    "k" * 100,
    "folder/" + "k" * 99,  # split into prefix and name
]


def expected(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 123_008])
def test_a_tar_has_the_bytes_that_tarfile_writes(size: int) -> None:
    members = [(name, bytes([number]) * size) for number, name in enumerate(NAMES)]
    buffer = io.BytesIO()
    tar = ShardTar(buffer)
    offsets = tar.add_all(members[:4]) + [tar.add(*member) for member in members[4:]]
    tar.close()
    assert buffer.getvalue() == expected(members)
    for offset, (_, content) in zip(offsets, members, strict=True):
        assert buffer.getvalue()[offset : offset + size] == content


def test_a_name_that_a_tar_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="name is too long"):
        ShardTar(io.BytesIO()).add("k" * 101, b"")
