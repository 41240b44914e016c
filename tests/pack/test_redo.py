"""Takes again: bit-equal from their own sidecar, and kept ones made anew in their pack."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sampled import sampled

from audiogen import remaking
from audiogen.audio.dsp import resample
from audiogen.audio.io.files import read_audio
from audiogen.audio.loops import measure_seam, resample_ring
from audiogen.pack.curation.cards import make_card
from audiogen.pack.curation.choices import Choice, Selection, write_selection
from audiogen.pack.job import read_job, take_path
from audiogen.pack.make import Worker, make_pack
from audiogen.pack.redo import RedoRequest, redo_pack, redo_take
from audiogen.take_request import Tempo
from audiogen.takes.editing import extend, vary
from audiogen.takes.sources import EditRequest
from audiogen.takes.take import Take, amend_take

pytestmark = pytest.mark.usefixtures("fake_text")


def note(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def takes_of(model: Path, out: Path, **changes: Any) -> list[Path]:
    asked: dict[str, Any] = {"prompts": ["rain on a roof", "wind"], "count": 2, "seed": 7}
    lasting = {} if "tempo" in changes else {"seconds": 1.1}
    return sampled(model, out, **{**asked, **lasting, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 1},
        {"loop": True},
        {"loop": True, "tempo": Tempo(bpm=333, bars=1)},
        {"negative_prompt": "music", "sampling": {"steps": 5, "solver": "heun"}},
    ],
)
def test_a_take_is_made_again_bit_for_bit(
    model: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    for path in takes_of(model, tmp_path / "takes", **changes):
        before = path.read_bytes()
        redone = redo_take(path, model, None)
        assert (redone.difference, redone.verdict) == (0, "bit-equal")
        assert redone.path.read_bytes() == before
        assert path.read_bytes() == before
        assert note(redone.path) == note(path)


def test_a_take_that_was_changed_is_told_from_its_first_samples(
    model: Path, tmp_path: Path
) -> None:
    path = takes_of(model, tmp_path)[1]
    wav, rate = read_audio(path)
    from audiogen.audio.io.files import write_audio  # noqa: PLC0415

    write_audio(path, 0.5 * wav, rate)
    amend_take(path, made_with={"torch": "1.0", "device": "cuda"})
    redone = redo_take(path, model, tmp_path / "again")
    assert ": made with torch 1.0, device cuda; here torch " in redone.verdict
    assert redone.difference == pytest.approx(float(wav.abs().max()) / 2, abs=1e-4)
    assert redone.path == tmp_path / "again" / path.name
    write_audio(path, wav[:, :-5], rate)
    assert redo_take(path, model, None).verdict.startswith("not as long as the file")


def test_what_cannot_be_made_again_is_said(
    make_model: Callable[..., Path], model: Path, tmp_path: Path
) -> None:
    path = takes_of(model, tmp_path / "takes")[0]
    other = make_model(audio_channels=2)
    with pytest.raises(ValueError, match="give the run that made it with --model") as caught:
        redo_take(path, other, None)
    assert note(path)["model_digest"] in str(caught.value)
    with pytest.raises(ValueError, match="give the run folder of that model with --model"):
        redo_take(path, None, None)
    edit = vary(model, path, EditRequest(out=tmp_path / "edits"), amount=0.3)[0]
    with pytest.raises(ValueError, match="an edit of other files \\(vary\\), not a take"):
        redo_take(edit, model, None)
    bare = tmp_path / "bare.wav"
    shutil.copy(path, bare)
    with pytest.raises(ValueError, match="no JSON file beside it"):
        redo_take(bare, model, None)
    with pytest.raises(ValueError, match="there is no such file"):
        redo_take(tmp_path / "none.wav", model, None)
    damaged = note(path)
    damaged["batch"]["place"] = 1
    path.with_suffix(".json").write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(ValueError, match="its batch is not as audiogen wrote it"):
        redo_take(path, model, None)


@pytest.mark.parametrize("changes", [{}, {"loop": True}, {"batch_size": 1}])
def test_a_take_with_controls_is_made_again_bit_for_bit(
    controlled_model: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    asked = {"brightness": 900.0, "density": 3.0}
    for path in takes_of(controlled_model, tmp_path / "takes", controls=asked, **changes):
        redone = redo_take(path, controlled_model, None)
        assert (redone.difference, note(redone.path)) == (0, note(path))
    told = note(path)
    told["controls"] = {"brightness": 5000.0}
    path.with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")
    assert redo_take(path, controlled_model, None).difference > 1e-3
    for wrong in ([], {"brightness": None}, {"brightness": True}):
        told["controls"] = wrong
        path.with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")
        with pytest.raises(ValueError, match="controls"):
            redo_take(path, controlled_model, None)


def test_takes_made_anew_and_edits_keep_the_controls(
    controlled_model: Path, tmp_path: Path
) -> None:
    listed, folder = tmp_path / "list.csv", tmp_path / "pack"
    listed.write_text("prompt,seconds,controls\nrain,0.8,brightness=900\n", encoding="utf-8")
    [take] = make_pack(listed, {}, model=controlled_model, out=folder, worker=Worker()).takes
    write_selection(folder, Selection(takes={take.file: Choice(status="keep")}))
    done = redo_pack(folder, RedoRequest(vary=1, amount=0.5), Worker())
    path = take_path(folder, take)
    assert note(take_path(folder, done.takes[0]))["controls"] == {"brightness": 900.0}
    request = EditRequest(out=tmp_path / "edits")
    first = extend(controlled_model, path, request, seconds=1.2)
    assert note(first)["controls"] == {"brightness": 900.0}
    told = note(path)
    told["controls"] = {"brightness": 5000.0}
    path.with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")
    other = extend(controlled_model, path, request, seconds=1.2)
    wavs = [read_audio(one)[0] for one in (first, other)]
    assert not torch.allclose(wavs[0], wavs[1], atol=1e-3)


# Packs


@pytest.fixture
def pack(model: Path, tmp_path: Path) -> Path:
    """A pack of four takes, of which the first is kept, the second starred, the third rejected."""
    listed = tmp_path / "list.csv"
    listed.write_text("prompt,count,seconds\nrain,2,0.8\nwind,2,0.8\n", encoding="utf-8")
    folder = tmp_path / "pack"
    done = make_pack(listed, {}, model=model, out=folder, worker=Worker())
    names = [take.file for take in done.takes]
    choices = (Choice(status="keep"), Choice(star=True), Choice(status="reject"))
    write_selection(folder, Selection(takes=dict(zip(names, choices, strict=False))))
    return folder


def again(pack: Path, **asked: Any) -> list[Take]:
    return list(redo_pack(pack, RedoRequest(**asked), Worker()).takes)


def test_kept_takes_are_made_longer_with_more_steps_or_as_loops(pack: Path) -> None:
    parent = read_job(pack)[0]
    before = {path.name: path.read_bytes() for path in (pack / "takes").iterdir()}
    [longer] = again(pack, seconds=2.0)
    [finer] = again(pack, steps=6)
    [loop] = again(pack, loop=True, tempo=Tempo(bpm=480, bars=2))
    [starred] = again(pack, which="star", steps=6)
    assert starred.parent == read_job(pack)[1].file
    for take in (longer, finer, loop):
        assert take.parent == parent.file
        assert note(take_path(pack, take))["parent"] == parent.file
        assert take.prompt == parent.prompt
    assert read_audio(take_path(pack, longer))[0].shape[1] == 32_000
    assert note(take_path(pack, finer))["sampling"]["steps"] == 6
    assert note(take_path(pack, loop))["samples"] == 16_000
    assert {name: (pack / "takes" / name).read_bytes() for name in before} == before
    assert again(pack, steps=6) == [finer]  # there already
    assert len(read_job(pack)) == 4 + 4


def test_a_longer_take_begins_like_the_kept_one(model: Path, pack: Path) -> None:
    parent = read_job(pack)[0]
    [longer] = again(pack, seconds=1.0)
    other = longer.request.model_copy(update={"seed": longer.seed + 1})
    from audiogen.pipeline import Pipeline  # noqa: PLC0415
    from audiogen.takes.making import make_batch  # noqa: PLC0415

    [(_, unlike)] = make_batch(Pipeline.from_pretrained(model), [other])
    kept, grown = (read_audio(take_path(pack, take))[0][:, :8000] for take in (parent, longer))

    def likeness(wav: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.cat([kept, wav[:, :8000]]))[0, 1])

    assert 1 - likeness(grown) < 0.3 * (1 - likeness(unlike))


def test_variations_are_new_takes_that_can_be_made_again(model: Path, pack: Path) -> None:
    parent = read_job(pack)[0]
    made = again(pack, vary=3, amount=0.4)
    assert [take.parent for take in made] == [parent.file] * 3
    sounds = {take_path(pack, take).read_bytes() for take in made}
    assert len(sounds) == 3
    told = note(take_path(pack, made[1]))
    assert told["variation"] == {"from_seed": parent.seed, "amount": 0.4}
    for take in made:
        assert (
            redo_take(take_path(pack, take), None, None).difference == 0
        )  # its pack knows the model
    first = take_path(pack, made[0])
    before = first.read_bytes()
    first.unlink()
    assert again(pack, vary=3, amount=0.4) == made
    assert first.read_bytes() == before


@pytest.mark.parametrize("loop", [False, True])
def test_kept_takes_are_rendered_at_another_rate(
    model: Path, tmp_path: Path, loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text(f"prompt,count,seconds,loop\nrain,3,0.7,{loop}\n", encoding="utf-8")
    folder = tmp_path / "pack"
    unheard = replace(measure_seam(torch.zeros(1, 16), 8_000), passes=True)
    monkeypatch.setattr(remaking, "measure_seam", lambda *_: unheard)
    make_pack(listed, {}, model=model, out=folder, worker=Worker())
    parents = read_job(folder)
    chosen = {take.file: Choice(status="keep") for take in parents}
    write_selection(folder, Selection(takes=chosen))
    # A seam that is heard is no reason to make another sound of a take that was kept.
    heard = replace(unheard, passes=False)
    monkeypatch.setattr(remaking, "measure_seam", lambda *_: heard)
    made = again(folder, rate=48_000)
    assert [take.parent for take in made] == [take.file for take in parents]
    for take, parent in zip(made, parents, strict=True):
        told, (wav, rate) = note(take_path(folder, take)), read_audio(take_path(folder, take))
        assert (rate, wav.shape[1]) == (48_000, 33_600)
        assert told["sample_rate"] == 48_000
        assert told["rate"] == 48_000
        assert told["seed"] == note(take_path(folder, parent))["seed"]
        before = read_audio(take_path(folder, parent))[0]
        change = resample_ring(before, 33_600) if loop else resample(before, 16_000, 48_000)
        assert float((change - wav).abs().max()) < 1e-4
        redone = redo_take(take_path(folder, take), None, None)
        assert redone.difference == 0
        assert redone.path.read_bytes() == take_path(folder, take).read_bytes()
        assert make_card(folder, take).facts["rate"] == 48_000
    assert again(folder, rate=48_000) == made
    write_selection(folder, Selection(takes={made[0].file: Choice(status="keep")}))
    [finer] = again(folder, steps=5)
    assert finer.rate == 48_000
    assert again(folder, rate=16_000) == [parents[0]]  # the model's own: there already


def test_a_variation_is_not_varied_again(pack: Path, caplog: pytest.LogCaptureFixture) -> None:
    [made] = again(pack, vary=1)
    write_selection(pack, Selection(takes={made.file: Choice(status="keep")}))
    assert again(pack, vary=1) == []
    assert f"{made.file}.wav: made from another take" in caplog.text
    [finer] = again(pack, steps=4)
    assert finer.variation == made.variation


def test_make_goes_on_with_takes_that_were_asked_for_again(
    model: Path, pack: Path, tmp_path: Path
) -> None:
    [finer] = again(pack, steps=6)
    before = take_path(pack, finer).read_bytes()
    take_path(pack, finer).unlink()
    done = make_pack(tmp_path / "list.csv", {}, model=model, out=pack, worker=Worker())
    assert (len(done.takes), done.there_before) == (5, 4)
    assert take_path(pack, finer).read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "say how they are made again"),
        ({"vary": 2, "amount": 0.0}, "expected an amount above 0"),
        ({"tempo": Tempo(bpm=90, bars=1), "steps": 3}, "a tempo is for loops"),
        ({"rate": 48_000, "steps": 3}, "a rate is of takes as they were chosen"),
        ({"rate": 7}, "rate: expected 4000 to 768000 Hz, got 7"),
    ],
)
def test_wrong_requests_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RedoRequest(**asked)


def test_a_pack_without_choices_says_how_to_make_them(pack: Path) -> None:
    (pack / "selection.json").unlink()
    with pytest.raises(ValueError, match=r"no take is kept\n  choose on its page"):
        again(pack, steps=6)


@pytest.fixture
def beside(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs/one and packs/one, whose take is kept; made from within it."""
    home = tmp_path / "home"
    shutil.copytree(model, home / "runs" / "one")
    monkeypatch.chdir(home)
    Path("list.txt").write_text("rain\n")
    out = Path("packs/one")
    [take] = make_pack(
        Path("list.txt"), {"seconds": 1}, model=Path("runs/one"), out=out, worker=Worker()
    ).takes
    write_selection(out, Selection(takes={take.file: Choice(status="keep")}))
    return home


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("old_row", [False, True])
def test_a_pack_finds_its_model_from_any_folder(
    beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool, old_row: bool
) -> None:
    job = beside / "packs" / "one" / "job.jsonl"
    assert json.loads(job.read_text())["run"] == "../../runs/one"
    if old_row:  # as it was given where the pack was made
        job.write_text(job.read_text().replace("../../runs/one", "runs/one"))
    home = beside.rename(tmp_path / "elsewhere") if moved else beside
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    pack = home / "packs" / "one"
    assert len(redo_pack(pack, RedoRequest(seconds=1.5), Worker()).takes) == 1
    [file] = [take_path(pack, take) for take in read_job(pack) if not take.parent]
    assert redo_take(file, None, tmp_path / "again").difference == 0


def test_a_pack_whose_model_went_elsewhere_is_told_where(
    beside: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    pack, run = beside / "packs" / "one", tmp_path / "moved"
    (beside / "runs" / "one").rename(run)
    with pytest.raises(ValueError, match="with --model") as caught:
        redo_pack(pack, RedoRequest(seconds=1.5), Worker())
    assert len(str(caught.value).splitlines()) <= 4
    other = make_model(audio_channels=2)
    with pytest.raises(ValueError, match="none of the chosen takes was made by this model"):
        redo_pack(pack, RedoRequest(seconds=1.5, model=other), Worker())
    [take] = redo_pack(pack, RedoRequest(seconds=1.5, model=run), Worker()).takes
    assert take_path(pack, take).exists()
