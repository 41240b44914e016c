"""Edits: what stays bit-equal, how far a variation goes, what is recorded and what is refused."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from sampled import sampled
from torch import Tensor

from audiogen.audio.dsp import set_loudness
from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import read_audio, write_audio
from audiogen.generators import ODESamplingConfig
from audiogen.pipeline import Pipeline
from audiogen.take_request import TakeRequest, Variation
from audiogen.takes.editing import extend, inpaint, transpose, vary
from audiogen.takes.morph import between, morph, morph_takes, slerp
from audiogen.takes.regions import find_regions
from audiogen.takes.sources import EditRequest, read_source

pytestmark = pytest.mark.usefixtures("fake_text")
RATE, HOP = 16_000, 512
SAMPLING = ODESamplingConfig(steps=3, guidance_scale=2.0)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A 16-bit file at the model's rate with full-scale samples, 1.7 s and a bit, no sidecar."""
    source = torch.Generator().manual_seed(1)
    wav = (0.2 * torch.randn(1, 27_321, generator=source)).clamp(-1, 1)
    wav[0, 100:104] = torch.tensor([1.0, -1.0, 0.999, 0.7])
    path = tmp_path / "recording.wav"
    soundfile.write(path, wav.T.numpy(), RATE, subtype="PCM_16")
    return path


@pytest.fixture
def take(model: Path, tmp_path: Path) -> Path:
    """A take of the model, seed 7."""
    return takes_of(model, tmp_path / "takes")[0]


def takes_of(model: Path, out: Path, **changes: Any) -> list[Path]:
    return sampled(model, out, **{"seconds": 1.2, "seed": 7, **changes})


def asked(tmp_path: Path, **changes: Any) -> EditRequest:
    return EditRequest(**{"out": tmp_path / "edits", "seed": 3, "steps": None, **changes})


def samples(path: Path) -> Tensor:
    return read_audio(path)[0]


def note(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


# vary


@pytest.mark.parametrize("loop", [False, True])
def test_a_take_turned_by_nothing_is_the_take_bit_for_bit(model: Path, loop: bool) -> None:
    pipeline = Pipeline.from_pretrained(model)
    own = TakeRequest(prompt="rain", seed=7, seconds=1.2, sampling=SAMPLING, loop=loop)
    same = {"seed": 99, "variation": Variation(from_seed=7, amount=0.0)}
    [varied] = pipeline.takes([own.model_copy(update=same)])
    assert torch.equal(varied, pipeline.takes([own])[0])


@pytest.mark.parametrize("kind", ["take", "recording"])
def test_amount_zero_gives_the_files_own_samples(
    kind: str, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file: Path = request.getfixturevalue(kind)
    for path in vary(model, file, asked(tmp_path), amount=0, count=2):
        assert torch.equal(samples(path), samples(file))


@pytest.mark.parametrize("kind", ["take", "recording"])
def test_the_distance_grows_with_the_amount(
    kind: str, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """From what an untrained codec makes of the recording, which is not like it."""
    file: Path = request.getfixturevalue(kind)
    codec = Pipeline.from_pretrained(model).codec
    given = samples(file)
    if kind == "recording":
        level = set_loudness(given, RATE)
        decoded = codec.decode(codec.encode(level[None]), seeds=[3])[0, :, : given.shape[1]]
        given = decoded * (given.abs().max() / level.abs().max())
    distances = []
    for amount in (0.02, 0.1, 0.3, 0.6, 1.0):
        [path] = vary(model, file, asked(tmp_path), amount=amount)
        assert samples(path).shape == given.shape
        distances.append(float((samples(path) - given).norm()))
    assert distances == sorted(distances)


def test_variations_differ_and_say_what_they_are(model: Path, take: Path, tmp_path: Path) -> None:
    paths = vary(model, take, asked(tmp_path, seed=7), amount=0.5, count=9)
    assert [path.name for path in paths][:2] == [
        "rain-seed7-vary0.5-seed7.wav",
        "rain-seed7-vary0.5-seed8.wav",
    ]
    assert len({path.read_bytes() for path in paths}) == 9
    told = note(paths[1])
    assert (told["prompt"], told["seed"], told["seconds"]) == ("rain", 8, 1.2)
    assert told["edit"] == {
        "operation": "vary",
        "amount": 0.5,
        "from_seed": 7,
        "sources": [
            {
                "file": "rain-seed7.wav",
                "changes": [],
                "sha256": hashlib.sha256(take.read_bytes()).hexdigest(),
            }
        ],
    }
    assert read_source(paths[1], Pipeline.from_pretrained(model)).request is None  # not a take


def test_a_varied_loop_stays_a_loop(model: Path, tmp_path: Path) -> None:
    [loop] = takes_of(model, tmp_path / "loops", loop=True)
    pipeline = Pipeline.from_pretrained(model)
    recipe = read_source(loop, pipeline).request
    assert recipe is not None
    assert recipe.loop
    [path] = vary(model, loop, asked(tmp_path), amount=0.2)
    assert samples(path).shape == samples(loop).shape


def test_a_file_that_is_not_as_its_sidecar_says_is_a_sound_like_any(
    model: Path, take: Path
) -> None:
    pipeline = Pipeline.from_pretrained(model)
    assert read_source(take, pipeline).request is not None
    sidecar = take.with_suffix(".json")
    told = json.loads(sidecar.read_text(encoding="utf-8"))
    for change in ({"seconds": 1.3}, {"model_digest": "0" * 16}):
        sidecar.write_text(json.dumps({**told, **change}), encoding="utf-8")
        source = read_source(take, pipeline)
        assert (source.request, source.prompt) == (None, "rain")
    for text in ("{", "[1]", json.dumps({**told, "seed": None})):
        sidecar.write_text(text, encoding="utf-8")
        assert read_source(take, pipeline).prompt == ""


# transpose


@pytest.fixture(scope="module")
def pitched(make_model: Callable[..., Path]) -> Path:
    """A model whose codec tells a pitch."""
    return make_model(trunk="harmonic")


def test_a_take_is_transposed_from_its_seed_and_back(pitched: Path, tmp_path: Path) -> None:
    [file] = sampled(pitched, tmp_path / "takes", seconds=1.2, seed=7)
    up = transpose(pitched, file, asked(tmp_path), semitones=5)
    assert up.name == f"{file.stem}-transpose+5.wav"
    assert samples(up).shape == samples(file).shape
    assert not torch.equal(samples(up), samples(file))
    own = read_source(file, Pipeline.from_pretrained(pitched)).request
    assert own is not None
    [expected] = Pipeline.from_pretrained(pitched).takes([own.model_copy(update={"transpose": 5})])
    assert float((samples(up) - expected).abs().max()) < 2**-22
    edit = note(up)["edit"]
    assert (edit["operation"], edit["semitones"]) == ("transpose", 5)
    same = transpose(pitched, file, asked(tmp_path), semitones=0)
    assert torch.equal(samples(same), samples(file))


def test_any_sound_is_transposed_at_its_level_and_length(
    pitched: Path, recording: Path, tmp_path: Path
) -> None:
    before = recording.read_bytes()
    path = transpose(pitched, recording, asked(tmp_path), semitones=-7.5)
    assert samples(path).shape == samples(recording).shape
    assert samples(path).isfinite().all()
    assert recording.read_bytes() == before


def test_what_has_no_pitch_is_refused_and_nothing_is_written(
    model: Path, pitched: Path, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"codec tells no pitch.*\n.*trunk.type=harmonic"):
        transpose(model, recording, asked(tmp_path), semitones=1)
    with pytest.raises(ValueError, match="expected -24 to 24"):
        transpose(pitched, recording, asked(tmp_path), semitones=25)
    assert not (tmp_path / "edits").exists()


# inpaint


@pytest.mark.parametrize(
    "regions", [["0.3:0.6"], ["0:0.2", "1.5:"], ["0.5:0.52"], ["0.2:0.5", "0.4:0.9", "1.2:1.3"]]
)
def test_outside_the_regions_every_bit_stays(
    model: Path, recording: Path, tmp_path: Path, regions: list[str]
) -> None:
    before = recording.read_bytes()
    path = inpaint(model, recording, asked(tmp_path, prompt="wind"), regions=regions)
    old, new = samples(recording), samples(path)
    assert new.shape == old.shape
    inside = torch.zeros(old.shape[1], dtype=torch.bool)
    for start, stop in find_regions(regions, old.shape[1], RATE):
        inside[start:stop] = True
        assert not torch.equal(new[:, start:stop], old[:, start:stop])
    assert torch.equal(new[:, ~inside], old[:, ~inside])
    assert recording.read_bytes() == before
    assert note(path)["edit"]["operation"] == "inpaint"
    assert soundfile.info(path).subtype == "PCM_24"


def test_every_24_bit_sample_comes_back(model: Path, tmp_path: Path) -> None:
    source = torch.Generator().manual_seed(2)
    numbers = torch.randint(-(2**23), 2**23, (1, 16_000), generator=source, dtype=torch.int32)
    file = tmp_path / "loud.wav"
    soundfile.write(file, (numbers << 8).T.numpy(), RATE, subtype="PCM_24")
    path = inpaint(model, file, asked(tmp_path), regions=["0.4:0.5"])
    back, _ = soundfile.read(path, dtype="int32")
    assert (torch.from_numpy(back)[:6400] >> 8).tolist() == numbers[0, :6400].tolist()
    assert (torch.from_numpy(back)[8000:] >> 8).tolist() == numbers[0, 8000:].tolist()


def test_a_long_file_is_filled_where_it_is_open(model: Path, tmp_path: Path) -> None:
    """Twenty windows are more than a model makes at once; two short regions are not."""
    file = tmp_path / "long.wav"
    wav = 0.1 * torch.randn(1, 20 * RATE)
    write_audio(file, wav, RATE)
    path = inpaint(model, file, asked(tmp_path), regions=["10.1:10.3", "11:11.2"])
    assert torch.equal(samples(path)[:, : 10 * RATE], samples(file)[:, : 10 * RATE])
    assert torch.equal(samples(path)[:, 12 * RATE :], samples(file)[:, 12 * RATE :])
    with pytest.raises(ValueError, match="this model makes 12 s at the most"):
        inpaint(model, file, asked(tmp_path), regions=["0.1:0.3", "19:19.5"])


def test_what_is_new_has_the_level_of_the_file(model: Path, tmp_path: Path) -> None:
    """The model hears every file at one loudness, so quieter files get quieter insides."""
    source = torch.Generator().manual_seed(3)
    wav = 0.2 * torch.randn(1, 24_000, generator=source).clamp(-4, 4)
    made = []
    for gain in (1.0, 0.01):
        file = tmp_path / f"gain{gain}.wav"
        write_audio(file, wav * gain, RATE)
        path = inpaint(model, file, asked(tmp_path), regions=["0.5:1.0"])
        made.append(samples(path)[:, 8000:16000] / gain)
    torch.testing.assert_close(made[0], made[1], atol=2e-3, rtol=0)


# extend


@pytest.mark.parametrize("seconds", [1.8, 2.0, 4.321])
@pytest.mark.parametrize("before", [False, True])
def test_the_files_samples_stay_where_it_is_extended(
    model: Path, recording: Path, tmp_path: Path, seconds: float, before: bool
) -> None:
    old = samples(recording)
    path = extend(model, recording, asked(tmp_path), seconds=seconds, before=before)
    new = samples(path)
    assert new.shape == (1, round(seconds * RATE))
    kept = new[:, -old.shape[1] :] if before else new[:, : old.shape[1]]
    assert torch.equal(kept, old)
    fresh = new[:, : -old.shape[1]] if before else new[:, old.shape[1] :]
    assert float(fresh.square().mean()) > 0
    assert note(path)["edit"]["before"] is before


def test_a_stereo_model_takes_mono_and_says_so(
    make_model: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    wide = make_model(audio_channels=2)
    file = tmp_path / "mono.wav"
    wav = 0.1 * torch.randn(1, 44_100)
    write_audio(file, wav, 44_100)
    path = extend(wide, file, asked(tmp_path), seconds=1.5)
    assert samples(path).shape == (2, 24_000)
    assert note(path)["edit"]["sources"][0]["changes"] == [
        "resampled 44100 -> 16000 Hz",
        "mono copied to stereo",
    ]
    assert "mono.wav: resampled 44100 -> 16000 Hz" in caplog.text
    assert samples(file).shape == (1, 44_100)


def test_stereo_and_more_is_mixed_and_overshoot_is_lowered(model: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(model)
    for channels, name in ((2, "stereo"), (6, "6 channels")):
        file = tmp_path / "wide.wav"
        soundfile.write(file, torch.full((9000, channels), 1.5).numpy(), RATE, subtype="FLOAT")
        source = read_source(file, pipeline)
        assert source.wav.shape == (1, 9000)
        assert source.changes[0] == f"{name} mixed to mono"
        assert "beyond full scale" in source.changes[1]
        assert float(source.wav.abs().max()) <= 1


# morph


def test_a_morph_begins_and_ends_with_the_takes(model: Path, tmp_path: Path) -> None:
    first, second = takes_of(model, tmp_path / "t", prompts=["rain on tin", "wind"])
    paths = morph(model, first, second, asked(tmp_path), count=5)
    assert [path.name for path in paths] == [f"morph-0{n}.wav" for n in range(5)]
    torch.testing.assert_close(samples(paths[0]), samples(first), atol=1e-4, rtol=0)
    torch.testing.assert_close(samples(paths[-1]), samples(second), atol=1e-4, rtol=0)
    encode = Pipeline.from_pretrained(model).codec.encode
    latents = [encode(samples(path)[None]) for path in paths]
    away = [float((one - latents[0]).norm()) for one in latents]
    assert away == sorted(away)
    told = note(paths[1])["edit"]
    assert (told["weight"], told["prompts"]) == (0.25, ["rain on tin", "wind"])


def test_any_two_sounds_are_morphed_and_their_ends_are_their_own(
    model: Path, take: Path, recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    paths = morph(model, recording, take, asked(tmp_path), count=4)
    length = samples(take).shape[1]
    assert torch.equal(samples(paths[0]), samples(recording)[:, :length])
    assert torch.equal(samples(paths[-1]), samples(take))
    assert {samples(path).shape for path in paths} == {(1, length)}
    assert "recording.wav: only its first 1.200 s are used" in caplog.text
    assert len(morph(model, recording, take, asked(tmp_path), count=2)) == 2  # nothing but ends


def test_takes_of_two_lengths_are_mixed_as_sounds(
    model: Path, take: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    [longer] = takes_of(model, tmp_path / "long", seconds=1.5)
    morph(model, take, longer, asked(tmp_path), count=3)
    assert "takes of different length or kind" in caplog.text


def test_the_ends_of_mixed_conditions_are_the_ends(model: Path) -> None:
    pipeline = Pipeline.from_pretrained(model)
    for prompts in (["one two three", "four"], ["one", ""], ["", ""]):
        ends = pipeline.conditions(TakeRequest.of_each(prompts, [0], seconds=1.0))
        mixed = between(ends, [0.0, 0.5, 1.0])
        for place, end in ((0, 0), (2, 1)):
            count = int(ends.text_mask[end].sum())
            assert int(mixed.text_mask[place].sum()) == count
            assert torch.equal(mixed.text[place, :count], ends.text[end, :count])
            assert torch.equal(mixed.pooled[place], ends.pooled[end])


def test_between_equal_seeds_only_the_prompt_moves(model: Path) -> None:
    pipeline = Pipeline.from_pretrained(model)
    end = TakeRequest(prompt="rain", seed=4, seconds=0.6, sampling=SAMPLING)
    wavs = morph_takes(pipeline, [end, end], [0.0, 0.5, 1.0])
    torch.testing.assert_close(wavs[0], wavs[1], atol=1e-5, rtol=0)


def test_slerp_keeps_the_variance_of_noise_and_the_ends() -> None:
    first, second = torch.randn(2, 8, 400)
    assert torch.equal(slerp(first, second, 0.0), first)
    assert torch.equal(slerp(first, second, 1.0), second)
    assert float(slerp(first, second, 0.5).std()) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(slerp(first, first, 0.3), first)


# what is refused


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "at least one region"),
        (["1.2"], "expected START:STOP in seconds"),
        (["a:b"], "expected START:STOP in seconds"),
        (["2:1"], "a START before its STOP"),
        (["nan:1"], "a START before its STOP"),
        (["-1:1"], "in seconds from 0 on"),
        (["1:nan"], "a START before its STOP"),
        (["0:inf"], "a START before its STOP"),
        (["3:"], "the file reaches from 0 to 2.000 s"),
        (["1:2.5"], "the file reaches from 0 to 2.000 s"),
        (["0.5:0.51"], "shorter than 20 ms"),
    ],
)
def test_regions_that_make_no_sense_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_regions(texts, 32_000, RATE)


def test_regions_are_sorted_and_merged_where_they_meet() -> None:
    found = find_regions(["1:1.5", "0:0.25", "1.25:1.75", "0.25:0.5"], 32_000, RATE)
    assert found == [(0, 8000), (16_000, 28_000)]


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_amounts_out_of_range_are_refused(model: Path, take: Path, amount: float) -> None:
    with pytest.raises(ValueError, match=r"an amount of 0 \(the same sound\) to 1"):
        vary(model, take, asked(take.parent), amount=amount)


def test_requests_that_cannot_be_met_are_refused(
    model: Path, recording: Path, tmp_path: Path
) -> None:
    request = asked(tmp_path)
    for seconds in (1.7, 1.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"lasts 1\.708 s; --seconds"):
            extend(model, recording, request, seconds=seconds)
    with pytest.raises(ValueError, match="leave no whole latent frame"):
        inpaint(model, recording, request, regions=["0.01:"])
    with pytest.raises(ValueError, match="at least two sounds"):
        morph(model, recording, recording, request, count=1)
    with pytest.raises(ValueError, match="this model makes 12 s at the most"):
        extend(model, recording, request, seconds=20)
    short = tmp_path / "short.wav"
    write_audio(short, torch.full((1, 2 * HOP - 1), 0.1), RATE)
    with pytest.raises(ValueError, match=r"0\.064 s is too short to be edited"):
        vary(model, short, request, amount=0.5)
    assert not (tmp_path / "edits").exists()


def test_files_that_are_no_sounds_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioReadError, match="there is no such file"):
        vary(model, tmp_path / "none.wav", asked(tmp_path), amount=0.5)
    text = tmp_path / "text.wav"
    shutil.copy(__file__, text)
    with pytest.raises(AudioReadError, match="not WAV, FLAC"):
        inpaint(model, text, asked(tmp_path), regions=["0:1"])


def test_a_model_without_infill_says_so(
    make_model: Callable[..., Path], recording: Path, tmp_path: Path
) -> None:
    plain = make_model(infill=False)
    with pytest.raises(ValueError, match="trained without infill"):
        inpaint(plain, recording, asked(tmp_path), regions=["0.3:0.6"])
    with pytest.raises(ValueError, match="trained without infill"):
        extend(plain, recording, asked(tmp_path), seconds=3)
    assert vary(plain, recording, asked(tmp_path), amount=0.5)
