"""Codebooks that follow what they quantise: k-means at the start, running means, no dead entries.

They are no parameters but statistics, as those of batch normalisation: entry e is the running mean
of the vectors that chose it (van den Oord et al. 2017, arXiv 1711.00937, appendix A). All processes
of a training see the same statistics and hold the same entries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.chance import shared_generator
from audiogen.nn.processes import from_first_process, of_all_processes, sum_over_processes

KMEANS_ITERATIONS = 10
KMEANS_VECTORS = 32
"""Vectors per entry that k-means looks at, at most."""


class Codebooks(nn.Module):
    """K codebooks of V entries of d numbers each, looked up by direction.

    Attributes:
        entries: (K, V, d).
        counts: how often each entry was chosen of late (K, V): a sum over steps that fades with
            `decay`; zero before the first training batch.
        revive_below: entries chosen less than this share of the mean are replaced.
    """

    entries: Tensor
    counts: Tensor
    averages_itself = True
    """An average of averages would lag behind the averaged weights, and mix an entry with another
    that stood in its place before."""

    def __init__(
        self, num_codebooks: int, vocab_size: int, dim: int, *, decay: float, revive_below: float
    ) -> None:
        super().__init__()
        self.decay, self.revive_below = decay, revive_below
        self.register_buffer("entries", torch.randn(num_codebooks, vocab_size, dim))
        self.register_buffer("counts", torch.zeros(num_codebooks, vocab_size))
        self._initialised: set[int] = set()

    def nearest(self, index: int, vectors: Tensor) -> Tensor:
        """Number (...) of the entry of codebook `index` with the direction nearest to (..., d)."""
        return _nearest(vectors, self.entries[index])

    @torch.no_grad()
    def initialise(self, index: int, vectors: Tensor) -> None:
        """Let the entries be k-means centres of vectors (N, d), unless training has begun."""
        if index in self._initialised:
            return
        self._initialised.add(index)
        if bool(self.counts[index].any()):  # loaded from a checkpoint
            return
        vocab_size = self.counts.shape[1]
        vectors = of_all_processes(vectors, dim=0)
        self.entries[index] = from_first_process(_kmeans(vectors, vocab_size))
        self.counts[index] = self._grace(vectors.new_full((), len(vectors)))

    @torch.no_grad()
    def learn(self, vectors: Tensor, tokens: Tensor) -> None:
        """Move the entries towards the vectors that chose them, and replace those not chosen.

        Vectors that are not finite move nothing.

        Args:
            vectors: (K, N, d).
            tokens: the entries they chose (K, N).
        """
        marked = F.pad(vectors, (0, 1), value=1.0)
        found = marked.new_zeros(*self.counts.shape, marked.shape[2])
        found.scatter_add_(1, tokens[..., None].expand_as(marked), marked)
        found = sum_over_processes(found)
        found = torch.where(found.isfinite().all(), found, 0)  # a step that will be left out
        sums, counts = found[..., :-1], found[..., -1]
        self.counts.mul_(self.decay).add_(counts)
        share = counts / self.counts.clamp_min(1e-9)
        means = sums / counts.clamp_min(1)[..., None]
        self.entries.lerp_(means, share[..., None])
        self._revive(vectors, tokens, counts[0].sum())

    def _grace(self, num_vectors: Tensor) -> Tensor:
        """Count () that a new entry starts with: it may fall to half before the entry is dead."""
        mean = num_vectors / (self.counts.shape[1] * (1 - self.decay))
        return 2 * self.revive_below * mean

    def _revive(self, vectors: Tensor, tokens: Tensor, num_vectors: Tensor) -> None:
        """Put dead entries where present vectors (K, N, d) are coded worst."""
        grace = self._grace(num_vectors)
        dead = self.counts < grace / 2
        if not bool(dead.any()):
            return
        vectors, tokens = of_all_processes(vectors, dim=1), of_all_processes(tokens, dim=1)
        for index in dead.any(dim=1).nonzero().flatten().tolist():
            rows = dead[index].nonzero().flatten()
            error = (vectors[index] - self.entries[index][tokens[index]]).square().sum(dim=1)
            error = error.nan_to_num(0, 0, 0)
            count = min(len(rows), int((error > 0).sum()))
            if count == 0:
                continue
            chance = shared_generator(rows.device)
            order = torch.randperm(len(rows), device=rows.device, generator=chance)
            rows = rows[order[:count]]
            chosen = torch.multinomial(error, count, generator=chance)
            self.entries[index, rows] = vectors[index, chosen]
            self.counts[index, rows] = grace
        from_first_process(self.entries)
        from_first_process(self.counts)


def _nearest(vectors: Tensor, entries: Tensor) -> Tensor:
    """Number (...) of the entry of (V, d) with the direction nearest to vectors (..., d)."""
    return (F.normalize(vectors, dim=-1) @ F.normalize(entries, dim=-1).T).argmax(dim=-1)


def _kmeans(vectors: Tensor, count: int) -> Tensor:
    """Centres (count, d) of vectors (N, d); with fewer vectors than centres, copies that differ."""
    chance = shared_generator(vectors.device)
    order = torch.randperm(len(vectors), device=vectors.device, generator=chance)
    vectors = vectors[order[: KMEANS_VECTORS * count]]
    if len(vectors) <= count:
        centres = vectors[torch.arange(count, device=vectors.device) % len(vectors)]
        jitter = torch.randn(centres.shape, device=centres.device, generator=chance)
        jitter *= 0.1 * vectors.std()
        jitter[: len(vectors)] = 0
        return centres + jitter
    centres = vectors[:count].clone()
    for _ in range(KMEANS_ITERATIONS):
        tokens = _nearest(vectors, centres)
        sums = torch.zeros_like(centres).index_add_(0, tokens, vectors)
        sizes = torch.bincount(tokens, minlength=count)
        places = torch.randint(len(vectors), (count,), device=vectors.device, generator=chance)
        spare = vectors[places]
        means = sums / sizes.clamp_min(1)[:, None]
        centres = torch.where(sizes[:, None] > 0, means, spare)
    return centres
