import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from crackle import RATE, crackle

from audiogen.evaluation.metrics.distances import (
    diversity,
    frechet_audio_distance,
    frechet_distance,
    kernel_audio_distance,
    matched,
    mmd,
    noise_like,
)
from audiogen.evaluation.metrics.reconstruction import reconstruction_metrics


def normal(count: int, *, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).standard_normal((count, 5))
    return (mean + scale * points).astype(np.float32)


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    a, b = normal(4000), normal(4000, mean=1.0, scale=3.0, seed=1)
    # Dowson & Landau: 5 axes, (0 - 1)^2 + (1 - 3)^2 each.
    assert frechet_distance(a, b) == pytest.approx(25.0, rel=0.05)
    assert frechet_distance(a, a) == 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_distances_of_a_few_points_are_what_the_hand_computes() -> None:
    a = np.array([[0, 0], [2, 4]], np.float32)
    b = np.array([[1, 0], [1, 8]], np.float32)
    # Means (1, 2) and (1, 4), deviations (sqrt 2, 2 sqrt 2) and (0, 4 sqrt 2).
    assert frechet_distance(a, b) == pytest.approx(0 + 2 + 4 + 8, rel=1e-5)
    # One pair within each set at 20 and 64, four pairs between at 1, 65, 17, 17.
    kernel = np.exp(-np.array([20, 64, 1, 65, 17, 17]) / 18)
    by_hand = kernel[0] + kernel[1] - 2 * kernel[2:].mean()
    assert mmd(a, b, bandwidth=3.0) == pytest.approx(by_hand, rel=1e-5)
    assert diversity(a, b) == pytest.approx(20**0.5 / 8, rel=1e-5)
    assert matched(frechet_distance, a, b, num_items=2) == pytest.approx(14.0, rel=1e-5)


def test_mmd_is_unbiased_and_sees_a_shift() -> None:
    same = [
        mmd(normal(8, seed=2 * k), normal(8, seed=2 * k + 1), bandwidth=3.0) for k in range(200)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / len(same) ** 0.5
    assert min(same) < 0
    assert mmd(normal(8), normal(8, mean=2.0, seed=1), bandwidth=3.0) > 5 * np.std(same)
    assert mmd(normal(8), normal(8, mean=1e3, seed=1), bandwidth=1e3) > 0.5


def test_frechet_audio_distance_is_the_formula_with_a_matrix_square_root() -> None:
    rng = np.random.default_rng(3)
    a = normal(60) @ rng.standard_normal((5, 5))
    b = 0.5 + normal(40, seed=1) @ rng.standard_normal((5, 5))
    covariances = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_audio_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_audio_distance(b, a) == pytest.approx(expected, rel=1e-5)
    assert frechet_audio_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_audio_distance(a, a + 2) == pytest.approx(5 * 4, rel=1e-4)


def test_frechet_audio_distance_takes_fewer_points_than_axes_and_they_make_it_larger() -> None:
    few, more = (frechet_audio_distance(normal(count), normal(count, seed=1)) for count in (4, 400))
    assert few > 10 * more > 0


def test_kernel_audio_distance_is_the_double_sum() -> None:
    a, b = normal(7, mean=0.7), normal(9, seed=1)
    median = np.median([np.linalg.norm(x - y) for x, y in itertools.combinations(b, 2)])

    def mean(first: np.ndarray, second: np.ndarray, *, same: bool) -> float:
        values = [
            np.exp(-np.sum((x - y) ** 2) / (2 * median**2))
            for i, x in enumerate(first)
            for j, y in enumerate(second)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    by_hand = mean(a, a, same=True) + mean(b, b, same=True) - 2 * mean(a, b, same=False)
    assert kernel_audio_distance(a, b) == pytest.approx(100 * by_hand, rel=1e-4)


def test_kernel_audio_distance_is_zero_on_average_for_one_distribution_and_sees_a_shift() -> None:
    same = [
        kernel_audio_distance(normal(12, seed=2 * k), normal(8, seed=2 * k + 1)) for k in range(300)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / len(same) ** 0.5
    far = kernel_audio_distance(normal(12, mean=2.0), normal(8, seed=1))
    farther = kernel_audio_distance(normal(12, mean=4.0), normal(8, seed=1))
    assert 5 * np.std(same) < far < farther
    large = normal(500)
    assert kernel_audio_distance(large, large) == pytest.approx(0, abs=0.5)
    assert np.isfinite(kernel_audio_distance(normal(4), np.ones((4, 5), np.float32)))


def test_matched_compares_equal_numbers_and_repeats_itself() -> None:
    sizes = []

    def spy(a: np.ndarray, b: np.ndarray) -> float:
        sizes.append((len(a), len(b)))
        return frechet_distance(a, b)

    first = matched(spy, normal(40), normal(6, seed=1), num_items=8, draws=5)
    assert sizes == [(6, 6)] * 5
    assert first == matched(frechet_distance, normal(40), normal(6, seed=1), num_items=8, draws=5)
    large = frechet_distance(normal(4000), normal(4000, seed=1))
    assert first > 10 * large  # what few items alone do, and why both references need as few


def test_diversity_is_one_for_the_same_spread_and_zero_for_one_sound() -> None:
    real = normal(30)
    assert diversity(normal(30, mean=5, seed=1), real) == pytest.approx(1.0, abs=0.15)
    assert diversity(normal(30, scale=0.5, seed=1), real) == pytest.approx(0.5, abs=0.1)
    assert diversity(np.ones((4, 5), np.float32), real) == 0


@pytest.mark.parametrize(
    "function",
    [frechet_distance, diversity, frechet_audio_distance, kernel_audio_distance],
)
def test_sets_of_one_item_or_other_axes_are_refused(function) -> None:
    with pytest.raises(ValueError, match="n_items >= 2"):
        function(normal(1), normal(5))
    with pytest.raises(ValueError, match=r"\(5, 5\) and \(5, 4\)"):
        function(normal(5), normal(5)[:, :4])


def test_noise_like_keeps_shape_and_level_and_depends_on_the_seed() -> None:
    wavs = [torch.full((2, RATE), 0.25), torch.zeros(1, 1000)]
    loud, silent = noise_like(wavs, seed=3)
    assert loud.shape == (2, RATE)
    assert loud.std().item() == pytest.approx(0.25, rel=0.02)
    assert torch.equal(silent, torch.zeros(1, 1000))
    assert torch.equal(loud, noise_like(wavs, seed=3)[0])
    assert not torch.equal(loud, noise_like(wavs, seed=4)[0])


def test_reconstruction_of_itself_is_perfect() -> None:
    wav = crackle(0)
    equal = reconstruction_metrics(wav, wav, RATE)
    assert equal.stft_distance == 0
    assert equal.mel_distance == 0
    assert equal.si_sdr_db > 60


def test_an_echo_of_another_sign_is_as_far_as_silence_in_the_waveform_alone() -> None:
    wav = crackle(1)
    turned = reconstruction_metrics(wav, -wav, RATE)
    assert (turned.stft_distance, turned.mel_distance) == pytest.approx((0, 0), abs=1e-4)
    assert turned.si_sdr_db > 60  # the best scale may be negative
    late = reconstruction_metrics(wav, wav.roll(RATE // 2, 1), RATE)
    assert late.si_sdr_db < 0 < late.stft_distance


def test_gain_costs_its_decibels_but_no_si_sdr() -> None:
    wav = 0.1 * torch.randn(1, 2 * RATE)
    half = reconstruction_metrics(wav, 0.5 * wav, RATE)
    assert half.mel_distance == pytest.approx(6.02, abs=0.1)
    assert half.stft_distance == pytest.approx(np.log(2) + 0.5, abs=0.02)
    assert half.si_sdr_db > 60


def test_si_sdr_of_noise_at_a_known_level() -> None:
    wav = 0.3 * torch.randn(2, 4 * RATE)
    noisy = wav + noise_like([wav], seed=5)[0] * 0.1
    assert reconstruction_metrics(wav, noisy, RATE).si_sdr_db == pytest.approx(20, abs=0.3)


def test_silence_is_finite_and_silence_kept_is_perfect() -> None:
    silent, wav = torch.zeros(1, RATE), 0.1 * torch.randn(1, RATE)
    kept = reconstruction_metrics(silent, silent, RATE)
    assert (kept.stft_distance, kept.mel_distance) == (0, 0)
    for pair in ((silent, wav), (wav, silent)):
        found = reconstruction_metrics(*pair, RATE)
        values = (found.stft_distance, found.mel_distance, found.si_sdr_db)
        assert np.isfinite(values).all()
        assert found.mel_distance > 20


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        reconstruction_metrics(torch.zeros(1, RATE), torch.zeros(1, RATE - 1), RATE)
