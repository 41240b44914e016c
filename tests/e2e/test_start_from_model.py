"""A generator's training begins from a trained model, on other sounds, also as another type."""

import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from audiogen.codecs import load_codec
from audiogen.data.loading.clips import Position
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.provenance.attribution import read_attribution
from audiogen.run_folder import WEIGHTS
from audiogen.schema import ConfigError, dump_config
from audiogen.storage import read_tensors
from audiogen.training.encoding import encoded_files, window_examples
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
OTHER_SOUNDS = "data.textures.seed=5"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model that is not of the recipe's own size."""
    run = tmp_path_factory.mktemp("runs") / "first"
    steps = ["train.codec.steps=2", "train.generator.steps=3"]
    train(load_config(TINY / "diffusion.yaml", [f"run_dir={run}", "generator.dim=48", *steps]))
    return run


def going_on(first: Path, run: Path, *overrides: str) -> ExperimentConfig:
    codec = ["codec.type=saved", f"codec.path={first}"]
    given = [*codec, f"start={first}", f"run_dir={run}", OTHER_SOUNDS]
    # What the recipe says of the network is taken back, as a recipe that starts says none of it.
    given += ["generator={type: diffusion}", "train.generator.steps=2"]
    return load_config(TINY / "diffusion.yaml", [*given, *overrides])


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A run that began from the first one, on other sounds, and is done."""
    config = going_on(first, tmp_path_factory.mktemp("runs") / "second")
    train(config)
    return config


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "generator" / "model" / WEIGHTS)


@pytest.mark.parametrize("kind", ["flow", pytest.param("diffusion", marks=pytest.mark.nightly)])
def test_training_goes_on_with_the_weights_of_the_model(
    first: Path, second: ExperimentConfig, tmp_path: Path, kind: str
) -> None:
    still = "train.generator.optim.lr=1e-12"
    config = going_on(first, tmp_path / "run", still, f"generator={{type: {kind}}}")
    assert config.generator is not None
    assert config.generator.type == kind
    assert getattr(config.generator, "dim", None) == 48  # the model's
    train(config)
    begun, ended = weights(first), weights(config.run_dir)
    assert begun.keys() == ended.keys()
    for name, tensor in begun.items():
        torch.testing.assert_close(ended[name], tensor, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(begun[name], one) for name, one in weights(second.run_dir).items())


def test_a_run_is_told_from_one_that_began_elsewhere(
    first: Path, second: ExperimentConfig, tmp_path: Path
) -> None:
    config, run = second, second.run_dir
    model = train(config)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config), encoding="utf-8")
    assert load_config(again) == config
    assert train(load_config(config.run_dir)) == model  # nothing is left to do
    with pytest.raises(ValueError, match="start"):
        train(going_on(first, run, "start=scratch", "generator.dim=48"))
    copy = shutil.copytree(first, tmp_path / "copy")
    assert train(going_on(copy, run)) == model  # the same model, elsewhere


def test_the_sounds_of_both_travel_with_the_model(first: Path, second: ExperimentConfig) -> None:
    model = second.run.model("generator")
    own, before = (
        {row["sha256"] for row in read_attribution(folder / "ATTRIBUTION.csv")}
        for folder in (model, first / "generator" / "model")
    )
    assert before < own
    pipeline = Pipeline.from_pretrained(model)
    assert sum(pipeline.config.licences.values()) == len(own)
    words = pipeline.model.vocabulary
    assert words is not None
    assert sum(words.labels.values()) == len(own)
    card = (model / "README.md").read_text(encoding="utf-8")
    assert (
        f"Training began from the model `{first.name}`, which had learnt from {len(before)}" in card
    )


def test_takes_of_the_model_before_are_learnt_beside_the_new_sounds(
    first: Path, tmp_path: Path
) -> None:
    """Of its labels that the new sounds do not have, in the share that is asked for."""
    names = ("rain", "fire")
    sounds = tmp_path / "sounds"
    for name in names:
        (sounds / name).mkdir(parents=True)
        for number, file in enumerate(sorted(first.rglob(f"sounds-*/**/{name}*.wav"))[:3]):
            shutil.copy(file, sounds / name / f"{name}_{number}.wav")
    own = [f"data.path={sounds}", "data.i_own_these=true", "train.generator.mixtures=0"]
    config = going_on(first, tmp_path / "run", *own, "train.generator.prior=0.4")
    train(config)
    codec = load_codec(config.run.model("codec"))
    encoded = encoded_files(config, codec, Accelerator())
    labels = {item.row.label for item in encoded.prior}
    known = Pipeline.from_pretrained(first).model.vocabulary
    assert known is not None
    assert labels == set(known.labels) - set(names)
    examples = window_examples(config, encoded, codec)
    drawn = [examples.items.name_of(Position(0, place)) for place in range(len(examples.items))]
    share = sum(name.startswith("take ") for name in drawn) / len(drawn)
    assert share == pytest.approx(0.4, abs=0.1)
    words = Pipeline.from_pretrained(config.run_dir).model.vocabulary
    assert words is not None
    assert set(words.labels) == set(known.labels)  # its words stay known
    learnt = sum(row.label == "fire" for row in read_split(config.run.manifest, "train"))
    # The sounds are the first run's own, which are not counted twice.
    assert words.labels["fire"] == max(known.labels["fire"], learnt)
    take = encoded.prior[0]
    wav = codec.decode(take.latents[None])
    assert bool(wav.isfinite().all())
    assert float(wav.std()) > 0
    batch = examples.collate([examples.items[Position(0, place)] for place in range(len(drawn))])
    assert batch.latents.shape[0] == len(drawn)  # every prompt was encoded


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["start=scratch", "generator.dim=48"], "there is no model before"),
        (["train.generator.mixtures=0.6"], "leave no place"),
    ],
)
def test_a_share_of_takes_needs_a_model_and_a_place(
    first: Path, tmp_path: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        going_on(first, tmp_path / "run", "train.generator.prior=0.4", *overrides)


def test_a_model_of_sounds_that_are_not_allowed_is_refused(first: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(first, tmp_path / "copy")
    table = copy / "generator" / "model" / "ATTRIBUTION.csv"
    table.write_text(table.read_text("utf-8").replace("CC0-1.0", "CC-BY-NC-4.0", 1), "utf-8")
    with pytest.raises(ValueError, match=r"^start: it learnt from sounds of CC-BY-NC-4.0"):
        train(going_on(copy, tmp_path / "run"))


def test_what_does_not_fit_is_refused_before_anything_is_made(first: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"start: .*\n.*codec.type=saved codec.path="):
        load_config(TINY / "diffusion.yaml", [f"start={first}", f"run_dir={run}"])
    with pytest.raises(ConfigError, match=r"start: .*no finished model here"):
        going_on(first, run, f"start={tmp_path}")
    with pytest.raises(ConfigError, match=r"start: there is no generator"):
        going_on(first, run, "generator=null", "sample={}")
    assert not run.exists()


def test_another_network_is_refused_with_what_to_do(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^start: .*a network of other parts or sizes") as caught:
        train(going_on(first, tmp_path / "run", "generator.depth=3"))
    assert len(str(caught.value).splitlines()) <= 4
    assert not (tmp_path / "run" / "generator" / "model").exists()
