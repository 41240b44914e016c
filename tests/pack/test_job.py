"""Jobs of packs: killed, resumed, shared out and changed, and every take made exactly once."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.audio.io.files import read_audio
from audiogen.pack import make as packs
from audiogen.pack.job import read_job, rename_take, take_path, update_job
from audiogen.pack.make import Done, Worker, make_pack
from audiogen.schema import ConfigError
from audiogen.takes.take import Take

LIST = """\
defaults: {count: 4, seconds: 0.6-1.2}
prompts:
  - rain on a roof
  - {prompt: wind, count: 3, negative_prompt: music}
  - {theme: bells, variants: [far, near], loop: true, bpm: 480, bars: 1, count: 2}
"""
TAKES = 11
TESTS = Path(__file__).resolve().parents[1]


def make(model: Path, listed: Path, out: Path, **changes: Any) -> Done:
    asked = {"model": model, "out": out, "batch_size": 3, "worker": Worker(), **changes}
    return make_pack(listed, {}, **asked)


def digests(pack: Path) -> dict[str, str]:
    """Return the sha256 of all files of the takes, by name."""
    files = sorted((pack / "takes").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def largest_difference(first: Path, second: Path) -> float:
    names = sorted(path.name for path in (first / "takes").glob("*.wav"))
    assert names == sorted(path.name for path in (second / "takes").glob("*.wav"))
    pairs = ((read_audio(pack / "takes" / name)[0] for pack in (first, second)) for name in names)
    return max(float((one - other).abs().max()) for one, other in pairs)


def work(model: str, listed: str, out: str) -> None:
    """Make a pack in a process that is going to be killed."""
    sys.path.insert(0, str(TESTS))
    import fake_text  # noqa: PLC0415 - only here is it needed

    import audiogen.pipeline  # noqa: PLC0415

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    audiogen.pipeline.TextEncoder = fake_text.FakeTextEncoder  # type: ignore[misc, assignment]
    make(Path(model), Path(listed), Path(out))


@pytest.mark.usefixtures("fake_text")
@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.nightly)])
def test_kills_at_random_times_lose_double_and_change_nothing(
    model: Path, listed: Path, tmp_path: Path, kills: int
) -> None:
    if kills > 10:  # long enough to be killed so often
        listed.write_text(LIST.replace("count: 4", "count: 60"), encoding="utf-8")
    start = time.monotonic()
    make(model, listed, tmp_path / "whole")
    longest = time.monotonic() - start
    expected = digests(tmp_path / "whole")
    source = random.Random(7)  # noqa: S311 - times of kills
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "audiogen.pack.make", "accelerate"])
    pack = tmp_path / "killed"
    killed, seen = 0, {}
    while True:
        child = context.Process(target=work, args=(str(model), str(listed), str(pack)))
        child.start()
        if killed < kills:
            child.join(source.uniform(0, 1.2 * longest if kills < 10 else 0.6))
            if child.exitcode is None:
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
                killed += 1
        child.join()
        now = digests(pack) if (pack / "takes").is_dir() else {}
        whole = {name: digest for name, digest in now.items() if ".tmp-" not in name}
        assert {name: whole.get(name) for name in seen} == seen  # nothing is lost or changed
        seen = {name: digest for name, digest in whole.items() if name.endswith(".wav")}
        if child.exitcode == 0:
            break
    assert killed > 0
    found = digests(pack)
    assert found == expected, f"largest difference {largest_difference(tmp_path / 'whole', pack)}"
    assert len(read_job(pack)) == len(expected) // 2


@pytest.mark.usefixtures("fake_text")
@pytest.mark.parametrize("batch_size", [1, 8])
def test_takes_do_not_depend_on_the_batch_size(
    model: Path, listed: Path, tmp_path: Path, batch_size: int
) -> None:
    done = make(model, listed, tmp_path / "three")
    assert (len(done.takes), done.there_before) == (TAKES, 0)
    make(model, listed, tmp_path / "other", batch_size=batch_size)
    assert largest_difference(tmp_path / "three", tmp_path / "other") <= 1e-5


@pytest.mark.usefixtures("fake_text")
def test_processes_share_a_job(
    model: Path, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(model, listed, tmp_path / "alone")
    barrier = threading.Barrier(2, timeout=60)
    made: list[str] = []
    failed: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            worker = Worker(rank=rank, count=2, wait=lambda: barrier.wait() and None)
            make(model, listed, tmp_path / "shared", worker=worker)
        except BaseException as error:
            failed.append(error)
            barrier.abort()
            raise

    written = packs.write_take

    def noting(path: Path, *given: Any) -> None:
        made.append(path.name)
        written(path, *given)

    monkeypatch.setattr(packs, "write_take", noting)
    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(made) == len(set(made)) == TAKES
    assert digests(tmp_path / "shared") == digests(tmp_path / "alone")


@pytest.mark.usefixtures("fake_text")
def test_a_changed_list_adds_and_deletes_nothing(
    model: Path, listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = tmp_path / "pack"
    make(model, listed, pack)
    before, job = digests(pack), read_job(pack)
    changed = LIST.replace("rain on a roof", "{prompt: wind, count: 5}").replace("far", "high")
    listed.write_text("# a comment\n" + changed, encoding="utf-8")
    done = make(model, listed, pack)
    after = digests(pack)
    assert {name: after[name] for name in before} == before
    assert read_job(pack)[:TAKES] == job
    assert (len(done.takes), done.there_before) == (5 + 3 + 4, 3 + 2)
    for text in ("'rain on a roof': 4 takes no longer", "'bells, far': 2 takes no longer"):
        assert text in caplog.text
    names = {take.file for take in read_job(pack) if take.prompt == "wind"}
    assert {f"{name}-2" for name in names} & names  # the same seed with another setting
    make(model, listed, pack)
    assert digests(pack) == after


@pytest.mark.usefixtures("fake_text")
def test_seeds_come_from_the_prompt_and_are_recorded(
    model: Path, listed: Path, tmp_path: Path
) -> None:
    make(model, listed, tmp_path / "pack")
    for take in read_job(tmp_path / "pack"):
        beside = take_path(tmp_path / "pack", take).with_suffix(".json")
        note = json.loads(beside.read_text("utf-8"))
        assert note["seed"] % 1_000_000 == take.seed
        assert (note["prompt"], note["seconds"]) == (take.prompt, take.seconds)
        assert note["model_digest"] == take.model_digest
    lengths = [take.seconds for take in read_job(tmp_path / "pack") if not take.loop]
    assert len(set(lengths)) > 4
    assert all(0.6 <= length <= 1.2 for length in lengths)
    loops = [take for take in read_job(tmp_path / "pack") if take.loop]
    assert {read_audio(take_path(tmp_path / "pack", take))[0].shape[1] for take in loops} == {8000}


@pytest.mark.usefixtures("fake_text")
def test_a_missing_take_is_made_again_as_it_was(model: Path, listed: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    make(model, listed, pack)
    before = digests(pack)
    for path in sorted((pack / "takes").glob("*.wav"))[::4]:
        path.unlink()
    make(model, listed, pack)
    assert digests(pack) == before


@pytest.mark.usefixtures("fake_text")
def test_what_the_model_cannot_do_is_said_at_once(
    model: Path, listed: Path, tmp_path: Path
) -> None:
    listed.write_text(
        "prompts: [{prompt: a, seconds: 99}, {prompt: b, seed: 7}, {prompt: b, seed: 7}]\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        make(model, listed, tmp_path / "pack")
    said = str(caught.value)
    assert "prompts.0: seconds=99: small makes 0.5 to 12 s" in said
    assert "prompts.2: seed 7 is that of prompts.1 too" in said
    assert not (tmp_path / "pack").exists()


@pytest.mark.usefixtures("fake_text")
def test_prompts_may_name_models_of_their_own(
    make_model: Callable[..., Path], model: Path, listed: Path, tmp_path: Path
) -> None:
    stereo = make_model(audio_channels=2)
    text = f"prompts: [rain, {{prompt: rain, model: {stereo}}}, {{prompt: wind, model: none}}]"
    listed.write_text(text, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="none: no finished model here"):
        make(model, listed, tmp_path / "pack")
    listed.write_text(text.replace("none", str(stereo)), encoding="utf-8")
    done = make(model, listed, tmp_path / "pack")
    sounds = [read_audio(take_path(tmp_path / "pack", take))[0] for take in done.takes]
    assert [wav.shape[0] for wav in sounds] == [1, 2, 2]
    assert done.takes[1].file == f"{done.takes[0].file}-2"


@pytest.mark.usefixtures("fake_text")
def test_another_model_under_the_same_name_is_refused(
    make_model: Callable[..., Path], model: Path, listed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.symlink_to(model)
    make(run, listed, tmp_path / "pack")
    run.unlink()
    run.symlink_to(make_model(audio_channels=2))
    with pytest.raises(ValueError, match="its model has changed since this pack was begun"):
        make(run, listed, tmp_path / "pack")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", ".hidden", "a" * 101, 7])
def test_a_job_does_not_lead_out_of_its_pack(tmp_path: Path, name: object) -> None:
    row = {"file": name, "run": "m", "model_digest": "d", "prompt": "", "seed": 1, "seconds": 1}
    (tmp_path / "job.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"job\.jsonl, line 1:"):
        read_job(tmp_path)


def test_worker_alone() -> None:
    worker = Worker.launched()
    assert (worker.rank, worker.count) == (0, 1)


@pytest.mark.usefixtures("fake_text")
def test_prompts_have_controls_of_their_own(
    controlled_model: Path, listed: Path, tmp_path: Path
) -> None:
    listed.write_text(
        "prompts:\n"
        "  - {prompt: rain, seconds: 0.6, seed: 1}\n"
        "  - {prompt: rain, seconds: 0.6, seed: 1, controls: {brightness: 900}}\n"
        "  - {prompt: rain, seconds: 0.6, seed: 1, controls: {brightness: 5000}}\n",
        encoding="utf-8",
    )
    pack = tmp_path / "pack"
    takes = make(controlled_model, listed, pack).takes
    asked = [{}, {"brightness": 900.0}, {"brightness": 5000.0}]
    assert [take.controls for take in takes] == asked
    assert len({take_path(pack, take).read_bytes() for take in takes}) == 3
    assert read_job(pack) == takes
    assert make(controlled_model, listed, pack).there_before == 3


def test_controls_that_a_model_does_not_know_are_said_by_prompt(
    controlled_model: Path, model: Path, listed: Path, tmp_path: Path
) -> None:
    listed.write_text(
        "prompts:\n"
        "  - {prompt: rain, controls: {tempo: 90}}\n"
        "  - {prompt: rain, controls: {brightness: 9e9}}\n"
        f"  - {{prompt: rain, controls: {{brightness: 900}}, model: '{model}'}}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        make(controlled_model, listed, tmp_path / "pack")
    found = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert found[0] == "prompts.0: tempo: this model was not trained with it"
    assert found[1].startswith("prompts.0: it has brightness (200 to 6000 Hz), density")
    assert found[2] == "prompts.1: brightness: 9e+09 is outside of what this model knows"
    assert found[4].startswith("prompts.2: brightness: this model was trained without controls")
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("seed", [1_000_000, 100_000_000, 2**63 - 1])
def test_a_take_made_at_another_seed_is_named_by_its_own(tmp_path: Path, seed: int) -> None:
    rows = [
        Take(prompt="rain", seed=one, seconds=1, run="runs/x", model_digest="0" * 16)
        for one in (0, 1)
    ]
    update_job(tmp_path, rows, {})
    first, second = read_job(tmp_path)
    renamed = rename_take(tmp_path, first, first.model_copy(update={"seed": seed}))
    assert renamed.file == f"rain-seed{seed}"
    assert (renamed.seed, renamed.key) == (0, first.key)
    assert read_job(tmp_path) == [renamed, second]
    also = rename_take(tmp_path, second, second.model_copy(update={"seed": seed}))
    assert also.file == f"rain-seed{seed}-2"
    assert rename_take(tmp_path, also, second) == also  # made as it was planned
