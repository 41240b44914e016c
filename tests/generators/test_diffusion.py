"""EDM's mathematics: identities of the paper, and diffusers as an independent implementation."""

import pytest
import torch

from audiogen.generators.ode.diffusion import preconditioning

SIGMAS = torch.tensor([0.002, 0.1, 0.5, 1.0, 7.0, 80.0])


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_preconditioning_keeps_unit_variance(sigma_data: float) -> None:
    c_skip, c_out, c_in = preconditioning(SIGMAS, sigma_data)
    total = SIGMAS**2 + sigma_data**2
    torch.testing.assert_close(c_in**2 * total, torch.ones_like(total))  # input, eq. 117
    # The target (clean - c_skip noisy) / c_out has unit variance, eq. 123.
    target = ((1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * SIGMAS**2) / c_out**2
    torch.testing.assert_close(target, torch.ones_like(target))
    weight = total / (SIGMAS * sigma_data) ** 2
    torch.testing.assert_close(weight * c_out**2, torch.ones_like(weight))  # eq. 144


def test_preconditioning_equals_that_of_diffusers() -> None:
    scheduler_module = pytest.importorskip("diffusers")
    scheduler = scheduler_module.EDMEulerScheduler(sigma_data=0.5)
    sample, raw = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for sigma in SIGMAS:
        c_skip, c_out, c_in = preconditioning(sigma, 0.5)
        expected = scheduler.precondition_outputs(sample, raw, sigma)
        torch.testing.assert_close(c_skip * sample + c_out * raw, expected)
        torch.testing.assert_close(c_in * sample, scheduler.precondition_inputs(sample, sigma))
