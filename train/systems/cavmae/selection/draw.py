"""The draw of patches by importance, with the pruned ones left out (spec 3.3, step 4)."""

import torch
from torch import Tensor


def sample_order(weight: Tensor) -> Tensor:
    """A draw without replacement of all L entries of each row, with odds `weight` [B, L].

    Gumbel top-k: sorting log-weight plus Gumbel noise is the same as drawing one after the
    other, and weight 0 is legal: it comes last.
    """
    uniform = torch.rand(weight.shape, device=weight.device).clamp_min(1e-20)
    noise = -(-uniform.log()).clamp_min(1e-20).log()
    return (weight.float().log() + noise).argsort(dim=1, descending=True)


def select_video(importance: Tensor, pruned: Tensor) -> Tensor:
    """Order [B, L] of video patches; the first κ are trained on. pruned: bool [B, L]."""
    return sample_order(importance.masked_fill(pruned, 0.0))


def select_audio(
    importance: Tensor, pruned: Tensor, keep: int, bands: int, steps_per_chunk: int
) -> Tensor:
    """Order [B, L] of audio patches; the first `keep` are trained on, in whole chunks of time.

    Tokens are time-major, so a chunk of `steps_per_chunk` time steps is a run of consecutive
    tokens. Chunks are drawn by importance until `keep` tokens that are not pruned are together.
    The chunk that makes it too many gives back the excess at its far side: at its end where the
    chunk before it is selected and the one after it is not, at its start the other way round,
    else at either by a coin.
    """
    batch, length = importance.shape
    size = bands * steps_per_chunk
    chunks = length // size
    if length % size:
        raise ValueError(f"{length} audio tokens cannot be split into chunks of {size}")
    weight = importance.reshape(batch, chunks, size).sum(-1)
    chunk_order = sample_order(weight)
    free = ~pruned.reshape(batch, chunks, size)
    count = free.sum(-1)

    total = count.gather(1, chunk_order).cumsum(1)  # after each chunk, in drawn order
    last = (total < keep).sum(1, keepdim=True).clamp_max(chunks - 1)
    place = torch.arange(chunks, device=importance.device).expand(batch, -1)
    full = torch.zeros_like(place, dtype=torch.bool).scatter(1, chunk_order, place < last)
    edge = chunk_order.gather(1, last)  # the chunk that is cut, [B, 1]
    room = keep - (total.gather(1, last) - count.gather(1, edge))

    from_end = _cut_at_end(full, edge)
    edge_free = free.gather(1, edge[:, :, None].expand(-1, -1, size))[:, 0]
    rank = edge_free.cumsum(1) - 1
    kept = torch.where(from_end, rank < room, rank >= count.gather(1, edge) - room) & edge_free

    chosen = (free & full[:, :, None]).scatter(
        1, edge[:, :, None].expand(-1, -1, size), kept[:, None, :]
    )
    return (~chosen.reshape(batch, length)).int().argsort(dim=1, stable=True)


def _cut_at_end(full: Tensor, edge: Tensor) -> Tensor:
    """Whether the excess leaves the edge chunk at its end, [B, 1]."""
    padded = torch.nn.functional.pad(full, (1, 1))
    before, after = padded.gather(1, edge), padded.gather(1, edge + 2)
    coin = torch.rand(edge.shape, device=edge.device) < 0.5
    return torch.where(before == after, coin, before)
