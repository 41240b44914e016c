"""The optimiser: AdamW, and Muon for the matrices of a network's blocks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from audiogen.train_config import OptimConfig
from audiogen.training.loop.blocks import blocks_of

COOLDOWN = 0.2  # share of the steps in which "wsd" decays; 10 to 20 % in Haegele et al. 2024

MOMENTUM = 0.95
ITERATIONS = 5
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)

_log = logging.getLogger(__name__)


def build_optimizer(module: nn.Module, config: OptimConfig, precision: str = "no") -> Optimizer:
    """Return the optimizer that `config` describes over the trained parameters of `module`.

    `precision` is accelerate's, of the training.
    """
    has_matrices = bool(_block_matrices(module))
    if config.algorithm == "muon" and not has_matrices:
        _log.warning("muon: %s has no matrix in blocks: all is AdamW's", type(module).__name__)
    if config.algorithm == "adamw" or not has_matrices:
        return adamw(module, config)
    # Where training in bf16 pays, so do these products; elsewhere they may be ten times slower.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return MuonAdamW(module, config, dtype)


def adamw(module: nn.Module, config: OptimConfig, *, without: Iterable[nn.Parameter] = ()) -> AdamW:
    """Return AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) over the trained parameters.

    Weight decay acts on matrices and kernels. It leaves out vectors (biases, norms, gains), which
    set scales rather than directions, and embeddings, whose unused rows it would shrink. The fused
    kernel is used: on one CPU core it updates 9 M parameters in 5 ms, the default one in 60 ms.
    What `without` names, another optimizer updates.
    """
    embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    taken = {id(parameter) for parameter in without}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad and id(parameter) not in taken:
            plain = parameter.ndim < 2 or id(parameter) in embeddings
            (others if plain else decayed).append(parameter)
    if not decayed and not others:
        raise ValueError(f"adamw: {type(module).__name__} has no parameter that requires gradients")
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


class MuonAdamW(Optimizer):
    """Muon for the matrices of the blocks, AdamW for all else.

    Muon (Jordan et al. 2024) moves a matrix by its momentum made orthogonal, so that all directions
    are learnt alike. What reads inputs and gives outputs (embeddings, heads, projections outside
    the blocks) is AdamW's, and so are vectors. Muon's steps are scaled to the size of AdamW's (Liu
    et al. 2025, arXiv 2502.16982), so that one learning rate serves both.
    """

    def __init__(self, module: nn.Module, config: OptimConfig, dtype: torch.dtype) -> None:
        """Over the trained parameters of `module`; products that make orthogonal are in `dtype`."""
        matrices = _block_matrices(module)
        self.dtype = dtype
        self._adamw = adamw(module, config, without=matrices)
        group = {"params": matrices, "lr": config.lr, "weight_decay": config.weight_decay}
        super().__init__([group, *self._adamw.param_groups], {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        matrices, *others = self.param_groups
        # Loading a state puts new objects in the place of these.
        self._adamw.state, self._adamw.param_groups = self.state, others
        self._adamw.step()
        lr, kept = matrices["lr"], 1 - matrices["lr"] * matrices["weight_decay"]
        for matrix in matrices["params"]:
            gradient = matrix.grad
            if gradient is None:
                continue
            state = self.state[matrix]
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            direction = orthogonal(gradient.lerp(momentum, MOMENTUM), self.dtype)
            size = 0.2 * math.sqrt(max(matrix.shape))
            matrix.mul_(kept).sub_(direction.to(matrix.dtype), alpha=lr * size)


def _block_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The trained matrices in the blocks of a network; those of LSTMs and convolutions are not."""
    inside = [parameter for block in blocks_of(module) for parameter in block.parameters()]
    return [parameter for parameter in inside if parameter.requires_grad and parameter.ndim == 2]


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix (m, n) with all singular values made about 1, in `dtype`.

    Five Newton-Schulz iterations of fifth degree, with the coefficients of Jordan et al. 2024: they
    leave the singular values between 0.7 and 1.2.
    """
    x: Tensor = (matrix / matrix.norm().clamp_min(1e-7)).to(dtype)
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = x.T if is_tall else x
    first, third, fifth = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.T if is_tall else x


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def lr_at(config: OptimConfig, step: int, *, total_steps: int) -> float:
    """Return the learning rate of update number `step`, from 0, of a run of `total_steps`.

    Update 0 already moves: the warm-up gives `lr * (step + 1) / warmup_steps`, so that its last
    update has `lr`. The decay ends in `lr * final_ratio` at update `total_steps - 1` and stays
    there. A warm-up longer than the run is never left. The courses after it are constant; cosine
    (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5); linear; and wsd, which is flat, and goes
    down as 1 - sqrt(progress) over the last fifth of the run (Haegele et al. 2024, arXiv
    2405.18392).
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.lr * (step + 1) / warmup
    start = warmup if config.schedule != "wsd" else max(warmup, total_steps * (1 - COOLDOWN))
    span = max(1.0, total_steps - 1 - start)
    progress = min(1.0, max(0.0, (step - start) / span))
    match config.schedule:
        case "constant":
            remaining = 1.0
        case "cosine":
            remaining = 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            remaining = 1 - progress
        case "wsd":
            remaining = 1 - math.sqrt(progress)
    return config.lr * (config.final_ratio + (1 - config.final_ratio) * remaining)
