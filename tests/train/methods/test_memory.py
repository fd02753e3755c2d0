"""The reservoir: uniform over all that was offered, whole rows, exact after a checkpoint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.methods.host_memory import RehearsalMemory


def fill(memory: RehearsalMemory, count: int, batch: int) -> None:
    for start in range(0, count, batch):
        number = torch.arange(start, min(count, start + batch))
        memory.add({"x": number.float()[:, None].expand(-1, 3), "id": number})


def contents(memory: RehearsalMemory) -> list[int]:
    return memory.state_dict()["rows"]["id"].tolist()


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 9), count=st.integers(1, 40), batch=st.integers(1, 7))
def test_rows_stay_whole_and_distinct(capacity: int, count: int, batch: int) -> None:
    memory = RehearsalMemory(capacity)
    fill(memory, count, batch)
    assert len(memory) == min(capacity, count)
    ids = contents(memory)
    assert len(set(ids)) == len(ids)
    if count <= capacity:
        assert ids == list(range(count))
    slots, rows = memory.sample(4)
    assert len(slots) == min(4, len(memory))
    assert torch.equal(rows["x"][:, 2].long(), rows["id"])
    assert len(set(rows["id"].tolist())) == len(slots)


def test_every_row_is_kept_as_often() -> None:
    torch.manual_seed(0)
    kept = torch.zeros(20)
    for _ in range(3000):
        memory = RehearsalMemory(5)
        fill(memory, 20, 6)
        kept[contents(memory)] += 1
    # Binomial(3000, 1/4): the standard deviation of the share is 0.0079.
    assert (kept / 3000 - 0.25).abs().max() < 0.035


def test_state_comes_back_and_edits_are_kept() -> None:
    memory = RehearsalMemory(4)
    fill(memory, 9, 2)
    memory.write(torch.tensor([1]), {"x": torch.full((1, 3), -1.0)})
    other = RehearsalMemory(4)
    other.load_parts([memory.state_dict()], 0)
    assert contents(other) == contents(memory)
    assert other.state_dict()["rows"]["x"][1].tolist() == [-1.0] * 3
    torch.manual_seed(3)
    fill(memory, 5, 5)
    torch.manual_seed(3)
    fill(other, 5, 5)
    assert contents(other) == contents(memory)
    with pytest.raises(ValueError, match="same memory size"):
        RehearsalMemory(5).load_parts([memory.state_dict()], 0)
    with pytest.raises(ValueError, match="not 0"):
        RehearsalMemory(0)
