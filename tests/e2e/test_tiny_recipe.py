"""The whole path at its smallest: sounds, manifest, codec, latents, generator, takes, report."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from accelerate import Accelerator
from sampled import sampled

from audiogen.codecs import load_codec
from audiogen.data.loading.clips import Position
from audiogen.data.manifest import read_manifest
from audiogen.evaluation.evaluate import evaluate
from audiogen.evaluation.scores import read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.locking import LOCK_FILE
from audiogen.pipeline import Pipeline
from audiogen.run_folder import JUDGE
from audiogen.storage import read_json, read_tensors
from audiogen.takes.take import read_take
from audiogen.training.encoding import encoded_files, window_examples
from audiogen.training.loop.tracking import Tracker
from audiogen.training.preparation import prepare
from audiogen.training.stages import train

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "tiny" / "diffusion.yaml"


def tiny(run: Path, *overrides: str) -> ExperimentConfig:
    return load_config(RECIPE, [f"run_dir={run}", *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A run in which everything has been done once."""
    config = tiny(tmp_path_factory.mktemp("runs") / "tiny")
    train(config)
    evaluate(config)
    return config


def weights(config: ExperimentConfig) -> dict[str, torch.Tensor]:
    return read_tensors(config.run_dir / "generator" / "model" / "generator.safetensors")


def test_every_part_leaves_its_file(finished: ExperimentConfig) -> None:
    run = finished.run_dir
    for name in (
        "config.yaml",
        "environment.json",
        "manifest.jsonl",
        "metrics.jsonl",
        "report.html",
        "codec/model/weights.safetensors",
        "generator/model/generator.safetensors",
        "generator/model/README.md",
        "generator/model/ATTRIBUTION.csv",
        "evaluation/metrics.json",
        "generator/model/croissant.json",
        "codec/model/ATTRIBUTION.csv",
        "codec/model/README.md",
        "generator/model/judge.safetensors",
        "generator/model/words.safetensors",
    ):
        assert (run / name).is_file(), name
    assert len(list((run / "latents").iterdir())) == 1
    assert len(list((run / "demos" / "generator").iterdir())) == 2  # before the first, at the end


def test_mixtures_are_of_training_sounds_and_every_text_is_encoded(
    finished: ExperimentConfig,
) -> None:
    rows = read_manifest(finished.run.manifest)
    codec = load_codec(finished.run.model("codec"))
    encoded = encoded_files(finished, codec, Accelerator(cpu=True))
    named = [item.row.path for item in encoded.mixtures]
    assert len(named) == sum(row.split == "train" for row in rows)
    held_out = [row.path for row in rows if row.split == "held_out"]
    assert held_out
    assert not any(path in name for path in held_out for name in named)
    examples = window_examples(finished, encoded, codec)
    share = finished.train.generator.mixtures
    assert 0 < share < 1
    assert len(examples.items) == round(len(encoded.files) / (1 - share))
    drawn = [
        examples.items[Position(epoch, index)]
        for epoch in range(20)
        for index in range(len(examples.items))
    ]
    batch = examples.collate(drawn)  # looks every text up
    assert len(batch.conditions) == len(drawn)
    said = {example.prompt for example in drawn}
    assert any(text.startswith("bright ") for text in said)
    assert any(", then " in text for text in said)


def test_the_model_knows_its_labels_and_the_words_of_measured_sounds(
    finished: ExperimentConfig,
) -> None:
    words = Pipeline.from_pretrained(finished.run_dir).model.vocabulary
    assert words is not None
    rows = [row for row in read_manifest(finished.run.manifest) if row.split == "train"]
    assert sum(words.labels.values()) == len(rows)
    assert words.knows("bright")
    assert 0 < words.words["bright"] < len(rows)
    assert not words.knows("xqzzy")


def test_the_recogniser_is_in_the_seal_and_is_the_one_that_evaluates(
    finished: ExperimentConfig,
) -> None:
    model = finished.run_dir / "generator" / "model"
    assert JUDGE in read_json(model / "MANIFEST.json")["files"]
    judge = Pipeline.from_pretrained(model).judge
    assert judge is not None
    recognised = read_scores(finished.run.scores).recognised
    assert recognised is not None
    assert recognised.per_label.keys() == set(judge.labels)


def test_the_metrics_have_their_references(finished: ExperimentConfig) -> None:
    scores = read_scores(finished.run.scores)
    assert scores.takes is not None
    assert scores.recognised is not None
    assert scores.likelihood is not None
    for distance in (scores.takes.frechet, scores.takes.mmd):
        assert distance.all.real < distance.all.noise
    assert (scores.recognised.all.real or 0) > scores.recognised.chance
    labels = {row.label for row in read_manifest(finished.run.manifest)}
    assert scores.recognised.per_label.keys() == labels
    assert -4.6 < scores.likelihood.held_out.mean < 20
    takes = list(finished.run.evaluated_takes.glob("*.wav"))
    assert len(takes) == len(labels) * finished.evaluate.takes_per_label
    seeds = {take.seed for take in map(read_take, takes) if take is not None}
    assert len(seeds) == len(takes)  # takes of one seed are alike, whatever the prompt
    assert len(scores.takes.copies.nearest) == len(takes)


def test_the_same_commands_again_do_nothing(finished: ExperimentConfig) -> None:
    def state() -> dict[str, int]:
        files = [path for path in finished.run_dir.rglob("*") if path.is_file()]
        rewritten = {"config.yaml", LOCK_FILE}  # cheap, and equal; who holds the run
        return {str(p): p.stat().st_mtime_ns for p in files if p.name not in rewritten}

    before = state()
    prepare(finished)
    train(finished)
    evaluate(finished)
    assert state() == before


def test_changed_settings_are_named_and_nothing_is_lost(finished: ExperimentConfig) -> None:
    before = weights(finished)
    changed = tiny(finished.run_dir, "generator.depth=3")
    with pytest.raises(ValueError, match=r"generator\.depth 2 -> 3") as caught:
        train(changed)
    assert len(str(caught.value).splitlines()) <= 4
    assert all(torch.equal(before[name], value) for name, value in weights(finished).items())
    assert load_config(finished.run_dir) == finished  # config.yaml is still the run's


def test_a_take_does_not_depend_on_its_batch(finished: ExperimentConfig) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    prompts, seeds = ["rain", "wind, far away", "", "bell"], [3, 4, 5, 6]
    together = pipeline(prompts, seconds=1.3, seeds=seeds)
    assert together.shape == (4, 1, round(1.3 * 16000))
    alone = pipeline([""], seconds=1.3, seeds=[5])
    torch.testing.assert_close(together[2:3], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 3.7])
def test_takes_have_the_length_that_was_asked_for(
    finished: ExperimentConfig, tmp_path: Path, seconds: float
) -> None:
    paths = sampled(finished.run_dir, tmp_path, seconds=seconds, count=2, seed=7)
    assert [path.name for path in paths] == ["rain-seed7.wav", "rain-seed8.wav"]
    for path in paths:
        info = soundfile.info(path)
        assert (info.frames, info.samplerate) == (round(seconds * 16000), 16000)
        assert info.subtype == "PCM_24"
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert note["prompt"] == "rain"
        assert note["licences"] == {"CC0-1.0": sum(note["licences"].values())}
    again = sampled(finished.run_dir, tmp_path, seconds=seconds, count=2, seed=7)
    assert again[0].name == "rain-seed7-2.wav"  # nothing is overwritten
    assert again[0].read_bytes() == paths[0].read_bytes()


def test_a_pipeline_survives_saving(finished: ExperimentConfig, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    pipeline.save_pretrained(tmp_path / "copy")
    copy = Pipeline.from_pretrained(tmp_path / "copy")
    assert copy.digest == pipeline.digest
    first, second = (p(["rain"], seconds=1.0, seeds=[1]) for p in (pipeline, copy))
    assert torch.equal(first, second)


@pytest.mark.parametrize("seconds", [0.2, 100.0])
def test_lengths_out_of_range_are_refused(finished: ExperimentConfig, seconds: float) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    with pytest.raises(ValueError, match=r"makes 0\.5 to 12 s"):
        pipeline(["rain"], seconds=seconds, seeds=[1])


def test_no_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished model here"):
        Pipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("stage", ["codec", "generator"])
def test_a_crash_between_two_checkpoints_changes_nothing(
    finished: ExperimentConfig, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 6, continued from the checkpoint of step 4: bit-equal at the end."""
    config = tiny(tmp_path / "run")

    def crash(tracker: Tracker, step: int, metrics: object) -> None:
        if tracker.stage == stage and step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "log", crash)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config)
    expected = weights(finished)
    assert all(torch.equal(value, expected[name]) for name, value in weights(config).items())


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("codec", marks=pytest.mark.nightly),
        pytest.param("generator", marks=pytest.mark.slow),
        pytest.param("evaluation", marks=pytest.mark.nightly),
    ],
)
def test_kill_9_in_a_stage_and_the_same_command_again(
    finished: ExperimentConfig, tmp_path: Path, stage: str
) -> None:
    """A killed run, continued, ends with the weights of a run that was never stopped."""
    run = tmp_path / "run"
    code = (
        "import sys;"
        "from pathlib import Path; from audiogen.experiment import load_config;"
        "from audiogen.training.stages import train; from audiogen.evaluation.evaluate import"
        " evaluate; c = load_config(Path(sys.argv[1]), [f'run_dir={sys.argv[2]}']);"
        "train(c); evaluate(c)"
    )
    command = [sys.executable, "-c", code, str(RECIPE), str(run)]
    sign = {
        "codec": run / "codec" / "checkpoints" / "step-00000004",
        "generator": run / "generator" / "checkpoints" / "step-00000004",
        "evaluation": run / "evaluation" / "takes",
    }[stage]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not sign.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run had ended before it could be killed"
    subprocess.run(command, check=True, timeout=300, stderr=subprocess.DEVNULL)
    single = tiny(run)
    assert all(
        torch.allclose(value, weights(finished)[name], atol=1e-5)
        for name, value in weights(single).items()
    )
    assert (run / "report.html").is_file()
