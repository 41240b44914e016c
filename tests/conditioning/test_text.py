"""The frozen text encoder; skipped where its files are not installed."""

from pathlib import Path

import pytest
import torch

from audiogen.conditioning.text import MiniLMConfig, TextEncoder, find_text_encoder


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    try:
        return TextEncoder(MiniLMConfig())
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_a_prompt_does_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    both = encoder(["rain", "a very long storm over the sea at night"])
    alone = encoder(["rain"])
    length = int(alone.mask.sum())
    assert both.states.shape[1] > length
    torch.testing.assert_close(both.states[:1, :length], alone.states[:, :length])
    torch.testing.assert_close(both.pooled[:1], alone.pooled)


def test_prompts_taken_together_are_those_alone(encoder: TextEncoder) -> None:
    few = ["rain", "wind", "", "a storm over the sea", "rain " * 100, "a dog in the yard", "fire"]
    prompts = [f"{text} {number}" if text else text for number in range(20) for text in few]
    alone, together = encoder(prompts), encoder(prompts, together=True)
    assert torch.equal(together.mask, alone.mask)
    torch.testing.assert_close(together.states, alone.states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.pooled, alone.pooled, atol=1e-5, rtol=1e-4)


def test_states_are_those_of_the_library_that_is_known_for_it(encoder: TextEncoder) -> None:
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 (slow to import)

    folder = find_text_encoder(MiniLMConfig())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    for prompt in ("rain", "Wind-swept, caf\u00e9 \u96e8 at 3 a.m.!", "a storm over the sea " * 20):
        tokens = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=32)
        with torch.no_grad():
            expected = model(**tokens).last_hidden_state
        found = encoder([prompt])
        assert found.states.shape == expected.shape
        torch.testing.assert_close(found.states, expected, atol=2e-5, rtol=1e-4)


def test_meaning_is_near_meaning(encoder: TextEncoder) -> None:
    pooled = encoder(["rain on a roof", "a rain shower", "a barking dog"]).pooled
    near, far = pooled[0] @ pooled[1], pooled[0] @ pooled[2]
    assert float(near) > 1.5 * float(far)


def test_an_empty_prompt_is_no_prompt(encoder: TextEncoder) -> None:
    states = encoder(["", "  "])
    assert not bool(states.mask.any())
    assert not bool(states.pooled.any())


def test_long_prompts_are_cut_and_said_so(
    encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    states = encoder(["rain " * 100])
    assert int(states.mask.sum()) == 32
    assert "cut" in caplog.text


def test_a_damaged_tokenizer_is_named(encoder: TextEncoder, tmp_path: Path) -> None:
    del encoder  # whose files are there
    whole = find_text_encoder(MiniLMConfig())
    (tmp_path / "model.safetensors").symlink_to(whole / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)tokenizer.json: damaged.*make setup"):
        TextEncoder(MiniLMConfig(folder=tmp_path))


def test_a_missing_encoder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make setup"):
        find_text_encoder(MiniLMConfig(folder=tmp_path))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError, match="sha256 differs"):
        find_text_encoder(MiniLMConfig(folder=tmp_path))
