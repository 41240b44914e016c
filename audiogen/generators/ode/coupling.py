"""Minibatch optimal transport between noise and latents (Tong et al. 2024, arXiv 2302.00482)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def couple(clean: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Choose a noise for each item so that the sum of squared distances is the smallest.

    It costs about the cube of B, on the CPU: 25 ms for 256 items, 0.4 s for 1000.

    Args:
        clean: (B, D, L).
        noise: (B, D, L).
        mask: (B, L), True where a frame of `clean` is real; others do not count.

    Returns:
        A permutation (B,): item b goes with noise[permutation[b]].
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)

    with torch.autocast(clean.device.type, enabled=False):  # numpy has no bf16
        clean, noise = clean.float(), noise.float()
        target = (clean * mask[:, None]).flatten(1)
        # |c - n|^2 over real frames is, up to what the plan cannot change, |n|^2 there minus 2 c n.
        size = noise.square().sum(dim=1)  # (B, L)
        cost = mask.to(size) @ size.T - 2 * target @ noise.flatten(1).T
    return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=clean.device)
