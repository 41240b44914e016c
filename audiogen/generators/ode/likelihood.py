"""Exact likelihood of latents under diffusion and flow, whose samplers are ODEs.

Both give x_t = alpha(t) clean + t noise and dx/dt = f(x, t) = (x - D(x; t)) / t. Along the ODE the
log density changes by the divergence of f (instantaneous change of variables; Chen et al. 2018,
arXiv 1806.07366, theorem 1), so that with x(T) reached from x(t0)

    ln p_t0(x(t0)) = ln p_T(x(T)) + integral from t0 to T of div f(x(t), t) dt

(Song et al. 2021, arXiv 2011.13456, eq. 39). The divergence is estimated as e^T (df/dx) e with
random signs e, one fixed e for the whole path of an item (Hutchinson's estimator; Grathwohl et al.
2019, arXiv 1810.01367, eq. 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchdiffeq import odeint

from audiogen.generators.ode.denoiser import Denoiser
from audiogen.generators.ode.scene import Scene
from audiogen.seeds import noise_source
from audiogen.types import Batch

State = tuple[Tensor, Tensor]
"""Latents (B, D, L), and the change of the log density in nats per number (B,)."""
Drift = Callable[[Tensor, State], State]
"""(ln t (), state) -> its derivative by ln t."""
MAX_STEPS = 200
"""Of the solver, each six calls of the network; generators that have learnt something need 15 to
30, and one that needs more than this would keep an evaluation for hours."""
NOISE_LEVEL = 0.01
"""Noise on the latents whose density is asked for, as a share of their standard deviation. Without
any, the density of latents that fill no volume would not exist."""
TOLERANCE = 1e-4
"""Of the solver; far below a hundredth of a bit, while clips differ by tenths."""


class UnsolvedError(ValueError):
    """The likelihood of clips cannot be had of this generator; says why."""


def bits_per_dimension(
    generator: Denoiser, batch: Batch, *, seeds: Sequence[int], tolerance: float = TOLERANCE
) -> Tensor:
    """Measure how well a generator predicts latents, given their conditions and no guidance.

    It is -log2 of the density of clean + NOISE_LEVEL noise, divided by its numbers D times real
    frames; lower is better. Flow and diffusion compare, since the density is in units of clean
    latents for both. Independent standard normal numbers cost 2.05 bits; on average none can cost
    less than -4.6 bits, the entropy of the noise.

    The density at the ODE's noisy end is normal with variance T^2 + alpha(T)^2: N(0, 1) for flow
    (T = 1), N(0, sigma_max^2 + 1) for diffusion, as codecs give latents of unit variance.

    Args:
        generator: in evaluation mode.
        batch: latents (B, D, L) as the codec gives them; what lies behind the generator's window
            is cut off, and padding neither moves nor counts.
        seeds: one per item; they give the noise and the signs. An item's result depends on its own
            seed, and on its batch only within the tolerance.
        tolerance: relative and absolute, of the solver, for latents and for nats per number.

    Returns:
        Bits per latent dimension (B,).

    Raises:
        ValueError: shapes or seeds do not fit, or the generator is in training mode.
        UnsolvedError: its output is not finite, or the solver meets no tolerance.
    """
    _check(generator, batch, seeds)
    lengths = batch.mask[:, : generator.window_frames].sum(dim=1)
    mask, channels = batch.mask[:, : int(lengths.max())], generator.spec.channels
    # float32 throughout: the tolerances are beyond bf16.
    clean = batch.latents[..., : mask.shape[1]].float() * mask[:, None]
    draw = noise_source("likelihood", seeds, channels, lengths.tolist())
    noise, signs = draw().to(clean.device), draw().sign().to(clean.device)
    levels = torch.tensor([NOISE_LEVEL / (1 + NOISE_LEVEL), 1.0], dtype=torch.float64)
    start, end = (float(t) for t in generator.time_at(levels))
    alpha = float(generator.alpha(torch.tensor(start)))
    with torch.no_grad():
        scene = Scene(
            context=generator.conditioner(batch.conditions),
            mask=None if bool(mask.all()) else mask,  # without one, attention is faster
        )
        drift = _drift(generator, scene, mask, signs)
        before = (alpha * clean + start * noise, torch.zeros(len(clean), device=clean.device))
        # Levels of noise matter by their ratios: even steps of ln t are about equally hard.
        x, change = _solved(drift, before, (math.log(start), math.log(end)), tolerance)
    # Log density of x at the noisy end, per number.
    variance = end**2 + float(generator.alpha(torch.tensor(end))) ** 2
    energy = x.double().square().sum(dim=(1, 2)) / (lengths * channels) / variance
    prior = -0.5 * (math.log(2 * math.pi * variance) + energy)
    # Dividing x by alpha gives latents again, whose density is higher by alpha per number.
    nats = prior + change + math.log(alpha)
    return (-nats / math.log(2)).float()


def estimated_trace(out: Tensor, x: Tensor, signs: Tensor) -> Tensor:
    """Estimate the trace of d out / d x of each item (B,).

    Args:
        out: (B, D, L), computed from x so that gradients can flow.
        x: (B, D, L) that asks for a gradient.
        signs: random, (B, D, L).
    """
    (product,) = torch.autograd.grad(out, x, signs)
    return (product * signs).sum(dim=(1, 2))


def _drift(generator: Denoiser, scene: Scene, mask: Tensor, signs: Tensor) -> Drift:
    """The derivative of x by ln t, and that of the log density in nats per number."""
    sizes = mask.sum(dim=1) * signs.shape[1]

    def drift(log_t: Tensor, state: State) -> State:
        t = torch.full((len(state[0]),), math.exp(float(log_t)), device=state[0].device)
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            rate = (x - generator.denoise(x, t, scene)) * mask[:, None]
            divergence = estimated_trace(rate, x, signs)
        if not bool(rate.isfinite().all() and divergence.isfinite().all()):
            raise UnsolvedError(
                f"bits_per_dimension: the generator's output at t={float(t[0]):.3g} is not finite\n"
                "  its training has failed, or the latents are not those of its codec"
            )
        return rate.detach(), divergence / sizes

    return drift


def _solved(drift: Drift, state: State, interval: tuple[float, float], tolerance: float) -> State:
    """Solve an ODE by Dormand and Prince's method of order 5(4), or raise UnsolvedError.

    All items share one step, which is accepted when the error of each of them meets the
    tolerance; so an item's result varies with its batch, but only within the tolerance.
    """
    times = torch.tensor(interval, dtype=torch.float64, device=state[0].device)
    options = {"norm": _largest, "max_num_steps": MAX_STEPS}
    try:
        path = odeint(
            drift, state, times, rtol=tolerance, atol=tolerance, method="dopri5", options=options
        )
    except AssertionError as error:  # how torchdiffeq says that it found no step
        raise UnsolvedError(
            f"bits_per_dimension: no step of the solver meets a tolerance of {tolerance:g}\n"
            f"  torchdiffeq: {str(error)[:80]}"
        ) from None
    x, change = (part[-1] for part in path)
    return x, change


def _largest(errors: State) -> Tensor:
    """Largest root mean square of any item's numbers, over the parts of a state."""
    means = [part.reshape(len(part), -1).square().mean(dim=1) for part in errors]
    return torch.stack(means).max().sqrt()


def _check(generator: Denoiser, batch: Batch, seeds: Sequence[int]) -> None:
    """Raise ValueError when a generator, a batch and seeds do not fit."""
    if generator.training:
        raise ValueError(
            "bits_per_dimension: the generator is in training mode, which drops conditions;"
            " call generator.eval() first"
        )
    found, wanted = batch.latents.shape, (len(seeds), generator.spec.channels, batch.mask.shape[1])
    if found != wanted or {len(batch.conditions), len(batch.mask)} != {len(seeds)}:
        raise ValueError(
            f"bits_per_dimension: {len(seeds)} seeds, a mask {tuple(batch.mask.shape)} and"
            f" {len(batch.conditions)} conditions need latents {wanted}, got {tuple(found)}"
        )
    if not bool(batch.mask[:, 0].all()):
        raise ValueError("bits_per_dimension: an item has no real frame; leave it out")
