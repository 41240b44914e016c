"""The stages of a run: the codec, the generator, and the few-step model; each is made once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from audiogen.codecs import FILES, build_codec, learns, load_codec, read_codec_config, save_codec
from audiogen.conditioning.text import TEXT_DIM, TextEncoder
from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.data.loading.captions import said_of
from audiogen.data.loading.clips import ClipDataset, read_beginning, read_clips, thinned
from audiogen.data.loading.latents import encode_rows
from audiogen.data.loading.measured import find_ranges
from audiogen.data.manifest import ManifestRow, read_split
from audiogen.experiment import ExperimentConfig, Stage
from audiogen.generators import build_generator
from audiogen.generators.abilities import HasPaths
from audiogen.judge.judge import train_judge
from audiogen.limits import MIN_SECONDS
from audiogen.locking import hold
from audiogen.model_folder import Model, write_model
from audiogen.pipeline import Pipeline
from audiogen.provenance.attribution import ATTRIBUTION_FILE
from audiogen.provenance.card import (
    codec_card,
    documents,
    learnt_before,
    model_card,
    model_config,
    require_allowed,
)
from audiogen.run_folder import WEIGHTS, WORDS, write_documents
from audiogen.seal import MANIFEST, require_whole
from audiogen.seeds import hashed_seed
from audiogen.stage_settings import is_done, stage_settings, write_settings
from audiogen.start import begin_codec_from, begin_from
from audiogen.storage import digest_of, publish_folder, sha256_file
from audiogen.training.allocator import keep_freed_memory
from audiogen.training.distil import PathDataset, collate_paths, write_paths
from audiogen.training.distributed.launch import joined_processes, make_accelerator
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.encoding import Encoded, encoded_files, window_examples
from audiogen.training.loop.codec_loop import train_codec
from audiogen.training.loop.generator_loop import train_generator
from audiogen.training.loop.stage import Demo, Examples, StageRun
from audiogen.training.loop.tracking import Tracker
from audiogen.training.preparation import prepare_held
from audiogen.training.watching import BestWeights, WatchedCopies, WatchedLosses

SCALE_FILES = 512
"""Training files from which the scale of the latents is taken, at most."""
JUDGE_FILES = 1000
"""Training files that the judge is trained on, at most."""
DEMO_SEED = 1000

_log = logging.getLogger(__name__)


def train(config: ExperimentConfig) -> Path:
    """Run every stage that is not done yet; return the model folder.

    Under `accelerate launch` the processes share each stage; the main one writes.
    """
    with ExitStack() as stack:
        state = stack.enter_context(joined_processes())
        if state.is_main_process:
            stack.enter_context(hold(config.run_dir))
            prepare_held(config)
        wait_for_all()
        missing = [stage for stage in config.stages if not is_done(config, stage)]
        if missing:
            accelerator = make_accelerator(config, state)
            if accelerator.device.type == "cpu":
                keep_freed_memory()
            for stage in missing:
                _STAGES[stage](config, accelerator)
                wait_for_all()  # until the main process has published the model
    return config.run.model(config.stages[-1])


def _codec_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Train the codec, set its scale, and publish codec/model; or take a finished one."""
    if config.codec.folder is not None:
        if accelerator.is_main_process:
            _take_codec(config, config.codec.folder)
        return
    torch.manual_seed(hashed_seed("weights", config.seed))
    codec = build_codec(config.codec)
    start = config.train.codec.start if learns(config.codec) else None
    if start is not None:
        require_allowed(_told_by(start.folder), config.terms, key="train.codec.start")
        begin_codec_from(codec, start.folder)
    rows, folder = read_split(config.run.manifest, "train"), config.sounds
    spec = codec.spec
    frames = spec.num_frames(config.train.codec.crop_seconds)
    dataset = ClipDataset(folder, rows, spec, crop_frames=frames, seed=config.seed)
    shown = {row.label: row for row in reversed(read_split(config.run.manifest, "held_out"))}
    clips = [
        (label, read_beginning(folder, shown[label], spec, config.data.clip_seconds))
        for label in sorted(shown)[:4]
    ]

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
            before = [] if start is None else learnt_before(_told_by(start.folder), rows)
            card = codec_card(config, rows, before)
            write_documents(model, documents(config.name, card, rows, config.terms, before))
        write_settings(model, config, "codec")


def _told_by(codec: Path) -> Path:
    """The folder that tells of a codec's sounds: its own, or that of the model that it is part of.

    A model's codec learnt from the sounds of the model, where it does not say otherwise.
    """
    if (codec / ATTRIBUTION_FILE).is_file() or read_codec_config(codec).origin:
        return codec
    return codec.parent if (codec.parent / WEIGHTS).is_file() else codec


def _take_codec(config: ExperimentConfig, folder: Path) -> None:
    """Publish codec/model as a copy of a finished codec, with what tells of its sounds."""
    require_whole(folder, FILES)
    with publish_folder(config.run.model("codec")) as model:
        for name in (*FILES, MANIFEST):
            shutil.copyfile(folder / name, model / name)
        if not read_codec_config(folder).origin:  # else others trained it, on what they know
            write_documents(model, {}, origin=_told_by(folder))
        require_allowed(model, config.terms, key="codec.path")
        write_settings(model, config, "codec")
    _log.info("codec: taken from %s", folder)


def _generator_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Encode the training files if need be, train the generator, and publish generator/model."""
    codec = load_codec(config.run.model("codec")).to(accelerator.device)
    window = codec.spec.num_frames(config.data.clip_seconds)
    encoded = encoded_files(config, codec, accelerator)
    examples = window_examples(config, encoded, codec)
    if config.generator is None:
        raise ValueError("generator: missing; this recipe trains a codec alone")
    windows = (window for item in encoded.files for window in item.windows)
    ranges = find_ranges(windows, config.generator.conditioner.without_range)
    wanted = config.generator.with_ranges(ranges)
    torch.manual_seed(hashed_seed("weights", config.seed))
    generator = build_generator(wanted, codec.spec, TEXT_DIM, window)
    if config.start is not None:
        require_allowed(config.start.folder, config.terms, key="start")
        begin_from(generator, config.start.folder)
    rows = read_split(config.run.manifest, "train")
    own = model_config(config, wanted, codec.config, rows, _before(config, rows))
    model = Model(config=own, codec=codec, generator=generator)
    pipeline = Pipeline(model)
    losses_of, copies_of = WatchedLosses(config, pipeline), WatchedCopies(config, pipeline)

    def watched() -> dict[str, float]:
        return {**losses_of(), **copies_of()}

    best = BestWeights(config.run.best) if config.train.keep_best else None
    demo = _demo(config, pipeline)

    def watched_demo(step: int, tracker: Tracker) -> None:
        if losses := watched():
            tracker.log(step, losses)
        if best is not None:
            best.offer(step, losses, generator)
        demo(step, tracker)

    run = _stage_run(config, "generator", accelerator, watched_demo)
    train_generator(generator, examples, config.train.generator, run)
    if accelerator.is_main_process:
        if best is not None:  # a run killed after its last checkpoint had not offered that step
            best.offer(config.train.generator.steps, watched(), generator)
            best.give_to(generator)
        few = thinned([row for row in rows if row.label], JUDGE_FILES)
        wavs = read_clips(config.sounds, few, codec.spec, config.data.clip_seconds)
        labels = [row.label for row in few]
        judge = train_judge(wavs, labels, codec.spec.sample_rate)
        words = _words(config, encoded, pipeline.text)
        _publish(config, replace(model, judge=judge, vocabulary=words), "generator")


def _distil_stage(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Record paths of the generator, teach a copy of it to jump to their ends, and publish it."""
    plan = config.distil
    teacher = config.run.model("generator")
    pipeline = Pipeline.from_pretrained(teacher, device=accelerator.device)
    generator = pipeline.generator
    if plan is None or not isinstance(generator, HasPaths):
        raise ValueError("distil: only diffusion and flow have paths to learn from")
    codec = pipeline.codec
    examples = window_examples(config, encoded_files(config, codec, accelerator), codec)
    asked = {
        "teacher": sha256_file(teacher / WEIGHTS),
        "seed": config.seed,
        "sampling": plan.teacher.model_dump(mode="json"),
        "num_paths": plan.num_paths,
    }
    paths = config.run.paths(digest_of(asked))
    write_paths(paths, generator, examples, config=plan, seed=config.seed, accelerator=accelerator)
    generator.requires_grad_(requires_grad=True)
    generator.conditioner.keep_all()  # a path belongs to all of its conditions
    rows = read_split(config.run.manifest, "train")
    student = Model(
        config=model_config(
            config, pipeline.config.generator, codec.config, rows, _before(config, rows)
        ),
        codec=codec,
        generator=generator,
        judge=pipeline.judge,
        vocabulary=pipeline.model.vocabulary,
    )
    points = replace(
        examples,
        items=PathDataset(paths, first_share=plan.first_share, seed=config.seed),
        collate=partial(collate_paths, examples.collate, infill=generator.keeps == "anything"),
    )
    run = _stage_run(config, "distil", accelerator, _demo(config, Pipeline(student)))
    train_generator(generator, points, plan.train, run)
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


def _words(config: ExperimentConfig, encoded: Encoded, text: TextEncoder) -> Vocabulary:
    """What was said of the training sounds, and of those of the model that training began from.

    Where it had learnt some of the training sounds, too, the larger number of each word counts.
    """
    own, start = Vocabulary.of(said_of(encoded.files), text), config.start
    if start is None or not (start.folder / WORDS).is_file():
        return own
    known = Vocabulary.read(start.folder / WORDS)
    before = {line["sha256"] for line in learnt_before(start.folder, [])}
    shares = any(row.sha256 in before for row in read_split(config.run.manifest, "train"))
    return own.united(known) if shares else own.joined(known)


def _demo(config: ExperimentConfig, pipeline: Pipeline) -> Demo:
    """Takes of the recipe's prompts, or of the first labels, with fixed seeds."""
    labels = {row.label for row in read_split(config.run.manifest, "train") if row.label}
    prompts = config.train.demo_prompts or sorted(labels)[:4] or [""]
    seeds = range(DEMO_SEED, DEMO_SEED + len(prompts))

    def demo(step: int, tracker: Tracker) -> None:
        seconds = max(MIN_SECONDS, config.data.clip_seconds)
        wavs = pipeline(prompts, seconds=seconds, seeds=seeds)
        for number, (prompt, wav) in enumerate(zip(prompts, wavs, strict=True)):
            tracker.audio(step, f"{number:02d}", wav, pipeline.codec.spec.sample_rate, prompt)

    return demo


def _before(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> list[dict[str, str]]:
    """What the model that training began from had learnt from; nothing where there was none."""
    return [] if config.start is None else learnt_before(config.start.folder, rows)


def _publish(config: ExperimentConfig, model: Model, stage: Stage) -> None:
    """Write the stage's model: itself with its card, attribution and settings."""
    rows = read_split(config.run.manifest, "train")
    before = _before(config, rows)
    start = "" if config.start is None else config.start.path.name
    card = model_card(model.config, rows, before, start)
    texts = documents(config.name, card, rows, config.terms, before)
    with publish_folder(config.run.model(stage)) as folder:
        write_model(folder, model, texts)
        if model.config.codec_licence:  # it learnt from other sounds, or others trained it
            write_documents(folder / "codec", {}, origin=config.run.model("codec"))
        write_settings(folder, config, stage)
