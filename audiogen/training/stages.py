"""The stages of a run: prepare, train the codec, encode, train the generator; each done once."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

import audiogen
from audiogen.codecs import FILES, Codec, build_codec, load_codec, save_codec
from audiogen.codecs.saved import places_of_documents
from audiogen.conditioning.text import TEXT_DIM, TextEncoder
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.data.loading.clips import ClipDataset, read_clip, read_clips, thinned
from audiogen.data.loading.examples import TextTable, prompts_of
from audiogen.data.loading.latents import encode_rows
from audiogen.data.manifest import ManifestRow, read_manifest, read_split, write_manifest
from audiogen.data.synthetic import write_textures
from audiogen.experiment import ExperimentConfig, ModelConfig, Stage
from audiogen.generators import GeneratorConfig, build_generator
from audiogen.generators.abilities import HasPaths
from audiogen.judge.judge import Judge
from audiogen.pipeline import Pipeline
from audiogen.provenance.card import (
    codec_card,
    documents,
    model_card,
    model_config,
    require_allowed,
)
from audiogen.run_folder import WEIGHTS, write_documents
from audiogen.schema import dump_config
from audiogen.seal import MANIFEST, require_whole
from audiogen.storage import atomic_write_text, digest_of, publish_folder, read_json, sha256_file
from audiogen.training.distil import PathCollate, PathDataset, write_paths
from audiogen.training.distributed.launch import joined_processes, make_accelerator
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.encoding import encoded_files, training_set, with_ranges_of
from audiogen.training.loop.codec_loop import train_codec
from audiogen.training.loop.generator_loop import train_generator
from audiogen.training.loop.stage import Demo, Examples, Items, StageRun
from audiogen.training.loop.tracking import Tracker
from audiogen.training.settings import require_same_settings, stage_settings
from audiogen.types import LatentSpec

SCALE_FILES = 512
"""Training files from which the scale of the latents is taken, at most."""
JUDGE_FILES = 1000
"""Training files that the judge is trained on, at most."""
DEMO_SEED = 1000

_log = logging.getLogger(__name__)


def prepare(config: ExperimentConfig) -> str:
    """Make the data set if need be, the manifest and the encoded captions; return a summary.

    Does nothing when sounds and settings are those of the last time.
    """
    run, folder = config.run, config.sounds
    run.path.mkdir(parents=True, exist_ok=True)
    if config.data.path is None:
        textures = config.data.textures
        write_textures(
            folder,
            num_clips=textures.num_clips,
            seconds=textures.seconds,
            sample_rate=config.codec.sample_rate,
            audio_channels=config.codec.audio_channels,
            seed=textures.seed,
        )
    key = _preparation_key(config, folder)
    if not (run.prepared.is_file() and run.manifest.is_file() and read_json(run.prepared) == key):
        rows = scan_folder(
            folder, held_out=config.data.held_out, seed=config.seed, terms=config.terms
        )
        write_manifest(run.manifest, rows)
        _encode_captions(config, rows)
        atomic_write_text(run.environment, json.dumps(_environment(), indent=1))
        atomic_write_text(run.prepared, json.dumps(key))
    for stage in config.stages:
        _is_done(config, stage)  # raises when the run was made with other settings
    atomic_write_text(run.config, dump_config(config))
    return summarise(read_manifest(run.manifest))


def train(config: ExperimentConfig) -> Path:
    """Run every stage that is not done yet; return the model folder.

    Under `accelerate launch` the processes share each stage; the main one writes.
    """
    with joined_processes() as state:
        if state.is_main_process:
            prepare(config)
        wait_for_all()
        missing = [stage for stage in config.stages if not _is_done(config, stage)]
        if missing:
            _run(missing, config, state)
    return config.run.model(config.stages[-1])


def _run(stages: Sequence[Stage], config: ExperimentConfig, state: PartialState) -> None:
    """Run stages one after the other."""
    accelerator, reason = make_accelerator(config, state)
    if accelerator.is_main_process:
        _log.info("device %s, precision %s", accelerator.device, reason)
    for stage in stages:
        _STAGES[stage](config, accelerator)
        wait_for_all()  # until the main process has published the model


def _is_done(config: ExperimentConfig, stage: str) -> bool:
    """Whether the stage's model is there; ValueError when it was made with other settings."""
    model = config.run.model(stage)
    if not model.is_dir():
        return False
    found = read_json(model / "settings.json")
    require_same_settings(found, stage_settings(config, stage), config.run.stage(stage))
    return True


def _codec_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Train the codec, set its scale, and publish codec/model; or take a finished one."""
    if config.codec.folder is not None:
        if accelerator.is_main_process:
            _take_codec(config, config.codec.folder)
        return
    torch.manual_seed(config.seed)
    codec = build_codec(config.codec)
    rows, folder = read_split(config.run.manifest, "train"), config.sounds
    spec = codec.spec
    frames = spec.num_frames(config.train.codec.crop_seconds)
    dataset = ClipDataset(folder, rows, spec, crop_frames=frames, seed=config.seed)
    shown = _one_per_label(read_split(config.run.manifest, "held_out"))
    clips = [(row.label, read_clip(folder, row, spec)) for row in shown]

    def demo(step: int, tracker: Tracker) -> None:
        for number, (label, wav) in enumerate(clips):
            decoded = codec.decode(codec.encode(wav[None].to(codec.device)))[0, :, : wav.shape[1]]
            tracker.audio(step, f"{number:02d}", decoded, spec.sample_rate, prompt=label)

    if codec.trainable:
        examples = Examples(
            items=dataset,
            collate=torch.stack,
            seconds=config.train.codec.crop_seconds,
            num_workers=config.data.num_workers,
        )
        run = _stage_run(config, "codec", accelerator, demo)
        train_codec(codec, examples, config.train.codec, run)
    if not accelerator.is_main_process:
        return
    if spec.kind == "continuous":
        few = thinned(rows, SCALE_FILES)
        latents = [item.latents for item in encode_rows(folder, few, codec, min_frames=1)]
        codec.set_scale(torch.cat(latents, dim=-1).to(codec.device))
    with publish_folder(config.run.model("codec")) as model:
        save_codec(model, codec)
        if codec.trainable:
            card = codec_card(config, rows)
            write_documents(model, documents(config.name, card, rows, config.terms))
        _write_settings(model, config, "codec")


def _take_codec(config: ExperimentConfig, folder: Path) -> None:
    """Publish codec/model as a copy of a finished codec, with what tells of its sounds."""
    require_whole(folder, FILES)
    with publish_folder(config.run.model("codec")) as model:
        for name in (*FILES, MANIFEST):
            shutil.copyfile(folder / name, model / name)
        for place in places_of_documents(folder):
            write_documents(model, {}, origin=place)
        require_allowed(model, config.terms)
        _write_settings(model, config, "codec")
    _log.info("codec: taken from %s", folder)


def _generator_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Encode the training files if need be, train the generator, and publish generator/model."""
    codec = load_codec(config.run.model("codec")).to(accelerator.device)
    window = codec.spec.num_frames(config.data.clip_seconds)
    items = encoded_files(config, codec, accelerator)
    dataset, collate = training_set(config, items, codec.spec)
    wanted = with_ranges_of(_wanted(config), items)
    torch.manual_seed(config.seed)
    generator = build_generator(wanted, codec.spec, TEXT_DIM, window)
    pipeline = Pipeline(_model_config(config, wanted, codec), codec, generator)
    run = _stage_run(config, "generator", accelerator, _demo(config, pipeline))
    examples = _examples(config, dataset, collate)
    train_generator(generator, examples, config.train.generator, run)
    if accelerator.is_main_process:
        pipeline.judge = train_judge(config, codec.spec)
        _publish(config, pipeline, "generator")


def train_judge(config: ExperimentConfig, spec: LatentSpec) -> Judge | None:
    """Train the recogniser of the run's labels; None where there are not two of them."""
    rows = thinned(
        [row for row in read_split(config.run.manifest, "train") if row.label], JUDGE_FILES
    )
    labels = [row.label for row in rows]
    if len(set(labels)) < 2:
        return None
    wavs = read_clips(config.sounds, rows, spec, config.data.clip_seconds)
    return Judge.fit(wavs, labels, spec.sample_rate)


def _distil_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Record paths of the generator, teach a copy of it to jump to their ends, and publish it."""
    plan = config.distil
    teacher = config.run.model("generator")
    pipeline = Pipeline.from_pretrained(teacher)
    pipeline.to(accelerator.device)
    generator = pipeline.generator
    if plan is None or not isinstance(generator, HasPaths):
        raise ValueError("distil: only diffusion and flow have paths to learn from")
    items = encoded_files(config, pipeline.codec, accelerator)
    dataset, collate = training_set(config, items, pipeline.codec.spec)
    asked = {
        "teacher": sha256_file(teacher / WEIGHTS),
        "seed": config.seed,
        "sampling": plan.teacher.model_dump(mode="json"),
        "num_paths": plan.num_paths,
    }
    paths = config.run.paths(digest_of(asked))
    write_paths(
        paths, generator, dataset, collate, config=plan, seed=config.seed, accelerator=accelerator
    )
    generator.requires_grad_(requires_grad=True)
    generator.conditioner.keep_all()  # a path belongs to all of its conditions
    student = Pipeline(
        _model_config(config, pipeline.config.generator, pipeline.codec),
        pipeline.codec,
        generator,
        judge=pipeline.judge,
    )
    recorded = PathDataset(paths, first_share=plan.first_share, seed=config.seed)
    fill = PathCollate(collate, infill=generator.keeps == "anything")
    run = _stage_run(config, "distil", accelerator, _demo(config, student))
    train_generator(generator, _examples(config, recorded, fill), plan.train, run)
    if accelerator.is_main_process:
        _publish(config, student, "distil")


_STAGES: Mapping[str, Callable[[ExperimentConfig, Accelerator], None]] = {
    "codec": _codec_stage,
    "generator": _generator_stage,
    "distil": _distil_stage,
}


def _stage_run(
    config: ExperimentConfig, stage: Stage, accelerator: Accelerator, demo: Demo
) -> StageRun:
    """What the loop of a stage is told of the run."""
    return StageRun(
        stage=stage,
        folder=config.run,
        config=config.train,
        seed=config.seed,
        settings=stage_settings(config, stage),
        accelerator=accelerator,
        demo=demo,
    )


def _examples(
    config: ExperimentConfig, items: Items, collate: Callable[[list[Any]], Any]
) -> Examples:
    """What a generator learns from."""
    return Examples(
        items=items,
        collate=collate,
        seconds=config.data.clip_seconds,
        num_workers=config.data.num_workers,
    )


def _wanted(config: ExperimentConfig) -> GeneratorConfig:
    """The generator's configuration, of an experiment that has one."""
    if config.generator is None:
        raise ValueError("generator: missing; this recipe trains a codec alone")
    return config.generator


def _demo(config: ExperimentConfig, pipeline: Pipeline) -> Demo:
    """Takes of fixed prompts and seeds."""
    prompts = demo_prompts(config, read_split(config.run.manifest, "train"))
    seeds = range(DEMO_SEED, DEMO_SEED + len(prompts))

    def demo(step: int, tracker: Tracker) -> None:
        wavs = pipeline(prompts, seconds=config.data.clip_seconds, seeds=seeds)
        for number, (prompt, wav) in enumerate(zip(prompts, wavs, strict=True)):
            tracker.audio(step, f"{number:02d}", wav, pipeline.codec.spec.sample_rate, prompt)

    return demo


def _publish(config: ExperimentConfig, pipeline: Pipeline, stage: Stage) -> None:
    """Write the stage's model: the pipeline with its card, attribution and settings."""
    rows = read_split(config.run.manifest, "train")
    texts = documents(config.name, model_card(pipeline.config, rows), rows, config.terms)
    with publish_folder(config.run.model(stage)) as folder:
        pipeline.write_into(folder, texts)
        if pipeline.config.codec_licence:  # it learnt from other sounds, or others trained it
            write_documents(folder / "codec", {}, origin=config.run.model("codec"))
        _write_settings(folder, config, stage)


def _write_settings(folder: Path, config: ExperimentConfig, stage: str) -> None:
    text = json.dumps(stage_settings(config, stage), indent=1)
    (folder / "settings.json").write_text(text, encoding="utf-8")


def _model_config(
    config: ExperimentConfig, generator: GeneratorConfig, codec: Codec
) -> ModelConfig:
    return model_config(config, generator, codec.config, read_split(config.run.manifest, "train"))


def demo_prompts(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> list[str]:
    """Return the prompts of the demos: those of the recipe, or the first four labels."""
    if config.train.demo_prompts:
        return list(config.train.demo_prompts)
    labels = sorted({row.label for row in rows if row.label})
    return labels[:4] or [""]


def _one_per_label(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Return the first row of each of the first four labels."""
    first = {row.label: row for row in reversed(rows)}
    return [first[label] for label in sorted(first)][:4]


def _encode_captions(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> None:
    """Encode every prompt that training may use, once."""
    used = [row for row in rows if row.verdict == "used"]
    prompts = sorted({prompt for row in used for prompt in prompts_of(row)} | {""})
    TextTable.write(config.run.text, prompts, TextEncoder(config.text)(prompts))


def _preparation_key(config: ExperimentConfig, folder: Path) -> dict[str, str]:
    """What the manifest and captions depend on; the listing notices files added or changed."""
    listing = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    settings: Mapping[str, Any] = {
        "held_out": config.data.held_out,
        "seed": config.seed,
        "terms": config.terms.model_dump(mode="json"),
        "text": config.text.model_dump(mode="json"),
    }
    return {"files": digest_of(listing), "settings": digest_of(settings)}


def _environment() -> dict[str, Any]:
    """The software and the machine, for the record."""
    return {
        "audiogen": audiogen.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
