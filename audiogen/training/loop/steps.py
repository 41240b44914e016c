"""The steps of a stage, with averaging, logging, checkpoints and demos; every loop ends here."""

from __future__ import annotations

import logging
from typing import NoReturn

from audiogen.data.loading.loader import StepSampler, make_loader
from audiogen.seeds import hashed_seed
from audiogen.train_config import CodecTrainConfig, GeneratorTrainConfig
from audiogen.training.checkpoint.resume import Resumable
from audiogen.training.distributed.signals import Stopped, between_steps
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.divergence import BAD_STEPS
from audiogen.training.loop.meter import Meter
from audiogen.training.loop.stage import Examples, Learner, StageRun, StepResult
from audiogen.training.loop.tracking import Tracker

_log = logging.getLogger(__name__)


def run_steps(
    learner: Learner,
    examples: Examples,
    config: CodecTrainConfig | GeneratorTrainConfig,
    run: StageRun,
) -> None:
    """Train from the newest checkpoint to the last step; leave the averages in the product.

    Raises:
        Stopped: a signal asked for it; there is a checkpoint to go on from.
        ValueError: training diverged, or the newest checkpoint is of another training.
    """
    due, state = run.config, Resumable(learner, run)
    step = state.restore()
    with run.tracker(config.steps, start_step=step) as tracker, between_steps():
        if step == 0:
            _show(learner, run, 0, tracker)
        while step < config.steps:
            sampler = _sampler(learner, examples, config, run, step)
            loader = make_loader(
                examples.items, sampler, examples.collate, num_workers=examples.num_workers
            )
            meter = Meter(config.batch_size * examples.seconds)
            for batch in loader:
                step += 1
                result = learner.update(step - 1, batch)
                if not result.left_out:
                    learner.ema.update(step - 1)
                    meter.add(result.metrics)
                else:
                    names = {examples.items.name_of(one) for one in sampler.global_batch(step - 1)}
                    facts = {"reason": result.left_out, "files": sorted(names)}
                    tracker.note(step, "left out", facts)
                    if learner.guard.bad_steps >= BAD_STEPS:
                        step = _roll_back(learner, run, state, result, tracker)
                        break
                is_last, stops = step == config.steps, result.stops
                if is_last or step % due.log_every == 0:
                    tracker.log(step, meter.take())
                else:
                    tracker.advance(step)
                # Between steps that were left out there is no good state to keep.
                if is_last or stops or (step % due.checkpoint_every == 0 and not result.left_out):
                    state.save(step)
                    tracker.checkpoint_saved(step)
                if stops:
                    _stop(run, step)
                if is_last or step % due.demo_every == 0:
                    _show(learner, run, step, tracker)
    learner.ema.copy_to(learner.product)
    learner.product.eval()


def _sampler(
    learner: Learner,
    examples: Examples,
    config: CodecTrainConfig | GeneratorTrainConfig,
    run: StageRun,
    start_step: int,
) -> StepSampler:
    """The items of this process in each step after `start_step`."""
    return StepSampler(
        len(examples.items),
        batch_size=config.batch_size,
        start_step=start_step,
        total_steps=config.steps,
        seed=hashed_seed("order", run.seed, learner.guard.rollbacks),
        rank=run.accelerator.process_index,
        num_processes=run.accelerator.num_processes,
    )


def _roll_back(
    learner: Learner, run: StageRun, state: Resumable, result: StepResult, tracker: Tracker
) -> int:
    """Go back to the newest checkpoint with another order of the data; return its step.

    Raises:
        ValueError: there is no checkpoint, or training went back too often.
    """
    reason = f"{BAD_STEPS} steps in a row were left out: {result.left_out}"
    advice = "  try a lower learning rate or a smaller max_grad_norm; metrics.jsonl names the files"
    before = learner.guard.rollbacks
    if before >= run.config.max_rollbacks:
        raise ValueError(f"training diverged: {reason}, after {before} roll-backs\n{advice}")
    step = state.restore()
    if step == 0:
        raise ValueError(f"training diverged before its first checkpoint: {reason}\n{advice}")
    # A run killed here repeats the same steps and comes to the same roll-back.
    learner.guard.start_over(rollbacks=before + 1)
    tracker.rewind(step)
    tracker.note(step, "rolled back", {"reason": reason, "rollbacks": before + 1})
    return step


def _stop(run: StageRun, step: int) -> NoReturn:
    """End this process after a signal."""
    if run.accelerator.is_main_process:
        _log.info("stopped by a signal after step %d; the same command goes on", step)
    raise Stopped


def _show(learner: Learner, run: StageRun, step: int, tracker: Tracker) -> None:
    """Run the demo with the averaged weights, and put everything back as it was."""
    product, is_main = learner.product, run.accelerator.is_main_process
    is_split = all(product is not module for module in learner.modules.values())
    if is_main or is_split:
        product.eval()
        with learner.ema.applied(product):  # all processes help to join a split average
            if is_main:
                product.to(run.accelerator.device)
                run.demo(step, tracker)
        if is_split:
            product.cpu()  # the GPU's memory is for what is trained
        product.train()
    wait_for_all()
