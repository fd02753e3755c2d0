"""Draw patches by importance, without the pruned ones (STELLA, Lee et al., ICML 2024)."""

import torch
from torch import Tensor

from avstore.train import dist


def sample_order(weight: Tensor) -> Tensor:
    """Draw all entries of each row without replacement, with odds `weight`.

    Gumbel top-k: sorting log-weight plus Gumbel noise equals drawing one after the other. Entries
    of weight 0 come last.

    Args:
        weight: Odds [B, L], 0 or more.

    Returns:
        Order [B, L].
    """
    uniform = dist.rand(*weight.shape, device=weight.device).clamp_min(1e-20)
    noise = -(-uniform.log()).clamp_min(1e-20).log()
    return (weight.float().log() + noise).argsort(dim=1, descending=True)


def select_video(importance: Tensor, pruned: Tensor) -> Tensor:
    """Draw an order of video patches; the first κ are trained on.

    Args:
        importance: Odds [B, L].
        pruned: Patches to put last, bool [B, L].

    Returns:
        Order [B, L].
    """
    return sample_order(importance.masked_fill(pruned, 0.0))


def select_audio(
    importance: Tensor, pruned: Tensor, keep: int, bands: int, steps_per_chunk: int
) -> Tensor:
    """Draw an order of audio patches, in chunks of time; the first `keep` are trained on.

    Tokens are time-major, so a chunk of time is a run of consecutive tokens. Chunks are drawn by
    importance until they have `keep` tokens that are not pruned. The last chunk gives up the excess
    at its end if only the chunk before it is selected, at its start if only the one after it is,
    else at a random side.

    Args:
        importance: Odds [B, L].
        pruned: Patches to leave out, bool [B, L].
        keep: Patches to keep.
        bands: Tokens of a time step.
        steps_per_chunk: Time steps of a chunk.

    Returns:
        Order [B, L].

    Raises:
        ValueError: L is not a multiple of a chunk's tokens.
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
    edge = chunk_order.gather(1, last)  # the chunk to cut, [B, 1]
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
    """Return whether the edge chunk gives up tokens at its end, [B, 1]."""
    padded = torch.nn.functional.pad(full, (1, 1))
    before, after = padded.gather(1, edge), padded.gather(1, edge + 2)
    coin = dist.rand(*edge.shape, device=edge.device) < 0.5
    return torch.where(before == after, coin, before)
