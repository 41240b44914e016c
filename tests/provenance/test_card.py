"""What travels with a model: its card names the policy, the licences and a foreign codec's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audiogen.codecs.saved import SavedConfig
from audiogen.data.intake.licences import OWN, LicenceTerms
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.provenance.attribution import attribution_csv, read_attribution
from audiogen.provenance.card import (
    codec_card,
    documents,
    model_card,
    model_config,
    require_allowed,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    ManifestRow(
        path=f"{licence}.wav",
        sha256=f"{number:064x}",
        seconds=1800.0,
        sample_rate=8000,
        channels=1,
        label="rain",
        split="train",
        licence=licence,
        author="=Ana",
    )
    for number, licence in enumerate(["CC-BY-4.0", OWN])
]


def experiment(*overrides: str) -> ExperimentConfig:
    recipe = ROOT / "recipes" / "tiny" / "diffusion.yaml"
    return load_config(recipe, ["data.i_own_these=true", *overrides])


def card_of(config: ExperimentConfig) -> str:
    assert config.generator is not None
    return model_card(model_config(config, config.generator, config.codec, ROWS), ROWS)


def test_the_card_names_policy_statement_and_licences() -> None:
    card = card_of(experiment("data.licence_policy=commercial"))
    for text in (
        "Licence policy: commercial.",
        "states to own the sounds",
        "- CC-BY-4.0: 1 files",
        f"- {OWN}: 1 files",
        "2 files, 1.00 hours: rain (2)",
        '--prompt "rain"',
    ):
        assert text in card, text
    assert "Licence of the codec" not in card
    research = experiment("data.licence_policy=research", "data.unknown_licence_reason=a course")
    assert "Licence policy: research." in card_of(research)
    assert "a course" in card_of(research)
    assert "states to own" in codec_card(research, ROWS)


def test_a_model_that_goes_on_with_the_same_sounds_says_so() -> None:
    config = experiment()
    assert config.generator is not None
    model = model_config(config, config.generator, config.codec, ROWS)
    assert "`x`, which had learnt from no other files" in model_card(model, ROWS, [], "x")
    assert "Training began" not in model_card(model, ROWS)


@pytest.mark.parametrize(
    ("codec", "licence"),
    [
        ("oobleck", "LicenseRef-Stability-AI-Community"),
        ('{type: oobleck, source: "./mine"}', "not stated"),
    ],
)
def test_a_pretrained_codec_has_a_licence_of_its_own(codec: str, licence: str) -> None:
    setting = f"codec={codec}" if codec.startswith("{") else f"codec.type={codec}"
    config = experiment(setting)
    assert config.generator is not None
    assert model_config(config, config.generator, config.codec, ROWS).codec_licence == licence
    assert f"Licence of its weights: {licence}." in card_of(config)


def test_a_codec_that_was_handed_on_has_the_licences_of_its_sounds(tmp_path: Path) -> None:
    own = experiment().codec
    update = {"codec": SavedConfig(path=Path("x"))}
    saved = experiment(f"run_dir={tmp_path}").model_copy(update=update)
    assert saved.generator is not None
    assert model_config(saved, saved.generator, own, ROWS).codec_licence == "not stated"
    folder = saved.run.model("codec")
    folder.mkdir(parents=True)
    table = folder / "ATTRIBUTION.csv"
    table.write_text(attribution_csv(ROWS), encoding="utf-8", newline="")
    assert model_config(saved, saved.generator, own, ROWS).codec_licence == ""
    table.write_text(attribution_csv(ROWS[:1]), encoding="utf-8", newline="")
    config = model_config(saved, saved.generator, own, ROWS)
    assert config.codec_licence == "CC-BY-4.0 (1 files)"
    assert "on sounds of its own: CC-BY-4.0 (1 files)" in model_card(config, ROWS)
    require_allowed(folder, LicenceTerms(), key="codec.path")
    with pytest.raises(ValueError, match=r"learnt from sounds of CC-BY-4\.0\n.*policy=cc0"):
        require_allowed(folder, LicenceTerms(licence_policy="cc0"), key="codec.path")


def test_copies_of_a_model_keep_its_documents(model: Path, tmp_path: Path) -> None:
    texts = documents("x", "the card", ROWS, LicenceTerms())
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    Pipeline.from_pretrained(model).save_pretrained(first, texts)
    Pipeline.from_pretrained(first).save_pretrained(second)
    for name, text in texts.items():
        assert (second / name).read_text(encoding="utf-8") == text
    Pipeline.from_pretrained(first).save_pretrained(third, {"README.md": "another"})
    assert (third / "README.md").read_text(encoding="utf-8") == "another"
    assert read_attribution(third / "ATTRIBUTION.csv")[0]["author"] == "=Ana"
    assert json.loads((third / "croissant.json").read_text())["name"] == "x-sounds"


def test_the_terms_are_read_back_with_the_model(model: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(model)
    assert pipeline.config.terms is None
    terms = LicenceTerms(licence_policy="research", i_own_these=True)
    config = pipeline.config.model_copy(update={"terms": terms})
    pipeline.model = replace(pipeline.model, config=config)
    pipeline.save_pretrained(tmp_path / "copy")
    assert Pipeline.from_pretrained(tmp_path / "copy").config.terms == terms


def test_the_card_lists_the_controls_with_their_ranges() -> None:
    assert "--control" not in card_of(experiment())
    card = card_of(
        experiment("generator.conditioner.controls={brightness: [212, 5430], key: [0, 23]}")
    )
    assert "- brightness (212 to 5430 Hz)\n- key (such as Amin or C#maj)\n" in card
