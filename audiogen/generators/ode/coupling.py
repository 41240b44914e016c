"""Minibatch optimal transport between noise and latents (Tong et al. 2024, arXiv 2302.00482)."""

from __future__ import annotations

import torch
from torch import Tensor

EXACT_UP_TO = 256
"""Items up to which the assignment is exact: it costs the cube of their number."""
SINKHORN_STEPS = 50
SINKHORN_BLUR = 0.02
"""Entropy of the approximate plan, over the mean cost."""


@torch.no_grad()
def couple(clean: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Choose a noise for each item so that the sum of squared distances is small.

    Args:
        clean: (B, D, L).
        noise: (B, D, L).
        mask: (B, L), True where a frame of `clean` is real; others do not count.

    Returns:
        A permutation (B,): item b goes with noise[permutation[b]].
    """
    target = (clean * mask[:, None]).flatten(1)
    # |c - n|^2 over real frames is, up to what the plan cannot change, |n|^2 there minus 2 c n.
    size = noise.square().sum(dim=1)  # (B, L)
    cost = mask.to(size) @ size.T - 2 * target @ noise.flatten(1).T
    if len(cost) <= EXACT_UP_TO:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)

        return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=clean.device)
    return _draw_from_plan(_sinkhorn(cost))


def _sinkhorn(cost: Tensor) -> Tensor:
    """Logarithm of a transport plan (B, B) between uniform weights (Cuturi 2013)."""
    centred = cost - cost.mean()
    plan = -centred / (SINKHORN_BLUR * centred.abs().mean().clamp_min(1e-8))
    for _ in range(SINKHORN_STEPS):
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
        plan = plan - plan.logsumexp(dim=0, keepdim=True)
    return plan


def _draw_from_plan(plan: Tensor) -> Tensor:
    """Turn a plan (B, B) into a permutation: the surest items choose first."""
    order = plan.max(dim=1).values.argsort(descending=True)
    free = torch.zeros(len(plan), device=plan.device)
    chosen = torch.empty(len(plan), dtype=torch.long, device=plan.device)
    for item in order.tolist():
        place = (plan[item] + free).argmax()
        chosen[item] = place
        free[place] = -torch.inf
    return chosen
