"""Encoded files: written, read back, cut to windows, collated."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder
from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.audio.measure.traits import TRAITS
from audiogen.codecs.trunk_config import FourierTrunkConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.conditioning.text import TextStates
from audiogen.data.loading.captions import possible_texts
from audiogen.data.loading.clips import STEREO_DRAWS, ClipDataset, Position, versions_of
from audiogen.data.loading.examples import LEAST_SHARE, Collate, LatentDataset, TextTable
from audiogen.data.loading.latents import (
    encode_clip,
    encode_rows,
    join_latents,
    part_of,
    read_latents,
    write_latents,
)
from audiogen.data.manifest import ManifestRow

TRUNK = FourierTrunkConfig(
    n_fft=256,
    stft_hop=64,
    num_bands=16,
    encoder_dim=16,
    encoder_depth=1,
    decoder_dim=16,
    decoder_depth=1,
)
CONFIG = VAEConfig(sample_rate=16000, hop_length=256, latent_channels=4, trunk=TRUNK)
WINDOW = 50


@pytest.fixture
def codec() -> VAECodec:
    return VAECodec(CONFIG).eval()


@pytest.fixture
def rows(tmp_path: Path) -> list[ManifestRow]:
    """A file shorter than the window, one as long, and one three times as long."""
    made = []
    for number, seconds in enumerate((0.5, 0.8, 2.4)):
        wav = 0.1 * torch.randn(1, round(seconds * 16000))
        write_audio(tmp_path / f"{number}.wav", wav, 16000)
        made.append(
            ManifestRow(
                path=f"{number}.wav",
                seconds=seconds,
                sample_rate=16000,
                channels=1,
                prompt=f"creak {number}",
                label="noise",
                split="train",
            )
        )
    return made


def test_latents_come_back_and_short_files_are_padded(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW))
    assert [item.latents.shape[1] for item in items] == [50, 50, 150]
    assert [item.num_frames for item in items] == [32, 50, 150]
    write_latents(tmp_path / "latents", items)
    again = read_latents(tmp_path / "latents", rows)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(items, again, strict=True))
    stranger = ManifestRow(path="new.wav", seconds=1, sample_rate=1, channels=1)
    with pytest.raises(ValueError, match="latents of 3 of 4 files"):
        read_latents(tmp_path / "latents", [*rows, stranger])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_versions_are_the_sound_faster_slower_and_reversed_in_polarity(count: int) -> None:
    rate, hertz = 16000, 1000
    wav = 0.1 + torch.sin(2 * torch.pi * hertz / rate * torch.arange(rate))[None]
    versions = list(versions_of(wav, count))
    assert torch.equal(versions[0], wav)
    expected = {1: [1000], 2: [1000, 1040], 5: [1000, 1020, 980, 1040, 960]}[count]
    found = []
    for version in versions:
        assert version.shape[1] <= wav.shape[1]
        middle = version[0, 1000:9000] * torch.hann_window(8000)
        spectrum = torch.fft.rfft(middle - middle.mean()).abs()
        found.append(int(spectrum.argmax()) * rate // 8000)
    assert found == expected
    signs = [int(version[0, 1000:9000].mean().sign()) for version in versions]
    assert signs == [1, -1, -1, 1, 1][:count]


def test_versions_come_back_in_the_order_of_the_rows(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    for rank in (0, 1):
        items = encode_rows(tmp_path, rows[rank::2], codec, min_frames=WINDOW, versions=3)
        write_latents(part_of(tmp_path / "latents", rank, 2), items)
    join_latents(tmp_path / "latents", 2)
    items = read_latents(tmp_path / "latents", rows)
    assert [item.row for item in items] == [row for row in rows for _ in range(3)]
    assert [item.num_frames for item in items] == [32, 31, 32, 50, 49, 50, 150, 145, 150]
    plain = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW))
    for number, item in enumerate(plain):
        own = items[3 * number : 3 * number + 3]
        assert torch.equal(own[0].latents, item.latents)
        assert not torch.allclose(own[1].latents[:, :30], own[0].latents[:, :30], atol=0.1)
    dataset = LatentDataset(items, window_frames=WINDOW, frame_rate=62.5, seed=0)
    assert len(dataset) == 15  # of each version as many as of the sound


def test_a_steady_sound_has_no_gap_at_its_end(codec: VAECodec) -> None:
    """A last frame that is partly silence would be learnt as a gap, by nearly every sound."""
    hop = codec.spec.hop_length
    wav = 0.1 * torch.randn(1, 20 * hop + hop // 3)
    heard = []

    def spy(padded: Tensor) -> Tensor:
        heard.append(padded)
        return torch.zeros(1, codec.spec.channels, padded.shape[2] // hop)

    row = ManifestRow(path="noise.wav", seconds=1.0, sample_rate=16000, channels=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codec, "encode", spy)
        item = encode_clip(wav, row, codec, min_frames=30)
    assert item.num_frames == 21
    (padded,) = heard
    assert padded.shape == (1, 1, 30 * hop)
    assert torch.equal(padded[0, :, : wav.shape[1]], wav)
    level = padded[0, 0].reshape(30, hop).square().mean(dim=1).sqrt()
    assert float(level[20]) == pytest.approx(0.1, rel=0.25)
    assert float(level[21:].abs().max()) == 0


def test_parts_of_processes_are_joined_to_the_same(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    final = tmp_path / "latents"
    left_over = part_of(final, 0, 7)  # of a run with another number of processes
    left_over.mkdir()
    for rank in (1, 0):
        items = encode_rows(tmp_path, rows[rank::2], codec, min_frames=WINDOW)
        write_latents(part_of(final, rank, 2), items)
    join_latents(final, 2)
    alone = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW))
    joined = read_latents(final, rows)
    assert [item.row for item in joined] == [item.row for item in alone]
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(alone, joined, strict=True))
    assert not list(tmp_path.glob("latents-part-*"))
    names = sorted(path.name for path in final.iterdir())
    assert names == ["part-0", "part-1"]


def table() -> TextTable:
    prompts = ["noise", "creak 0", "creak 1", "creak 2", "the sound of noise"]
    mask = torch.arange(8)[None] < torch.tensor([[2], [3], [3], [4], [4]])
    states = TextStates(states=torch.randn(5, 8, 6), mask=mask, pooled=torch.randn(5, 6))
    return TextTable(prompts, states)


def test_windows_masks_and_conditions(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW))
    dataset = LatentDataset(items, window_frames=WINDOW, frame_rate=62.5, seed=0)
    assert len(dataset) == 5  # the long file gives three windows in an epoch
    examples = [dataset[Position(0, index)] for index in range(5)]
    assert [example.role for example in examples] == ["whole", "whole", *["slice"] * 3]
    assert examples[0].seconds == pytest.approx(32 / 62.5)
    again = dataset[Position(0, 4)]
    assert torch.equal(again.latents, examples[4].latents)
    others: list[Tensor] = [dataset[Position(epoch, 4)].latents for epoch in range(1, 9)]
    assert any(not torch.equal(other, again.latents) for other in others)
    batch = Collate(table())(examples)
    assert batch.latents.shape == (5, 4, WINDOW)
    assert batch.mask.sum(dim=1).tolist() == [32, 50, 50, 50, 50]
    assert batch.conditions.text.shape[1] <= 4  # cut to the longest prompt
    prompts = {dataset[Position(epoch, 0)].prompt for epoch in range(20)}
    assert prompts == {"noise", "the sound of noise", "creak 0"}


def test_measured_windows_come_back_and_are_what_training_sees(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    for rank in (0, 1):
        items = encode_rows(
            tmp_path,
            rows[rank::2],
            codec,
            min_frames=WINDOW,
            controls=["brightness", "tempo"],
            traits=True,
        )
        write_latents(part_of(tmp_path / "latents", rank, 2), items)
    join_latents(tmp_path / "latents", 2)
    items = read_latents(tmp_path / "latents", rows)
    assert [[one.start for one in item.windows] for item in items] == [
        [0],
        [0],
        [0, 25, 50, 75, 100],
    ]
    assert all(window.traits.keys() == set(TRAITS) for item in items for window in item.windows)
    dataset = LatentDataset(items, window_frames=WINDOW, frame_rate=62.5, seed=0)
    seen = set()
    for epoch in range(40):
        example = dataset[Position(epoch, 4)]
        [window] = [
            one
            for one in items[2].windows
            if torch.equal(example.latents, items[2].latents[:, one.start : one.start + WINDOW])
        ]
        assert example.measures == window.measures
        seen.add(window.start)
    assert seen == {0, 25, 50, 75, 100}
    examples = [dataset[Position(0, index)] for index in range(5)]
    prompts = sorted(possible_texts(rows, words=True))
    every = TextTable(prompts, FakeTextEncoder()(prompts))
    controls = Collate(every)(examples).conditions.controls
    assert controls.keys() == {"seconds", "role", "brightness", "tempo"}
    assert controls["brightness"].tolist() == pytest.approx(
        [example.measures["brightness"] for example in examples]
    )
    assert bool(controls["tempo"].isnan().all())  # noise has none


def test_traits_alone_leave_every_place_of_a_file_to_training(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW, versions=3, traits=True))
    assert [len(item.windows) for item in items] == [1, 0, 0, 1, 0, 0, 5, 0, 0]
    dataset = LatentDataset(items, window_frames=WINDOW, frame_rate=62.5, seed=0)
    places = {float(dataset[Position(epoch, 7)].latents[0, 0]) for epoch in range(40)}
    assert len(places) > 5
    assert dataset[Position(0, 7)].measures == {}


def test_a_hostile_window_is_refused(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = encode_rows(tmp_path, rows, codec, min_frames=WINDOW, controls=["brightness"])
    write_latents(tmp_path / "latents", items)
    path = tmp_path / "latents" / "index.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for windows in (
        3,
        "ab",
        [None],
        [{"start": 0}],
        [{"start": -1, "measures": {}}],
        [{"start": 32, "measures": {}}],
        [{"start": 0, "measures": []}],
        [{"start": 0, "measures": {"x": 1}}],
        [{"start": 0, "measures": {"density": "many"}}],
        [{"start": 0, "measures": {}, "traits": {"x": 1}}],
    ):
        path.write_text(json.dumps([{**whole[0], "windows": windows}]), encoding="utf-8")
        with pytest.raises(ValueError, match="not an index of latents"):
            read_latents(tmp_path / "latents", rows[:1])


def test_a_key_that_the_shard_lacks_is_refused(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = encode_rows(tmp_path, rows, codec, min_frames=WINDOW, controls=[])
    write_latents(tmp_path / "latents", items)
    path = tmp_path / "latents" / "index.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([{**whole[0], "key": "no such"}, *whole[1:]]), encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the latents of"):
        read_latents(tmp_path / "latents", rows)


def test_clips_are_cut_padded_and_reproducible(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    dataset = ClipDataset(tmp_path, rows, codec.spec, crop_frames=40, seed=1)
    for index in range(len(dataset)):
        clip = dataset[Position(2, index)]
        assert clip.shape == (1, 40 * 256)
        assert torch.equal(clip, dataset[Position(2, index)])
    short = dataset[Position(0, 0)]
    assert bool(short[:, :8000].any())
    assert not bool(short[:, 8000:].any())  # 0.5 s of sound, then silence


@pytest.mark.parametrize(("channels", "draws"), [(1, 1), (2, STEREO_DRAWS)])
def test_a_codec_of_stereo_hears_stereo_recordings_more_often(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path, channels: int, draws: int
) -> None:
    first, *others = rows
    both = [replace(first, path="wide", channels=2), *others]
    spec = replace(codec.spec, audio_channels=channels)
    dataset = ClipDataset(tmp_path, both, spec, crop_frames=40, seed=1)
    names = Counter(dataset.name_of(Position(0, index)) for index in range(len(dataset)))
    alone = ClipDataset(tmp_path, rows, spec, crop_frames=40, seed=1)
    before = Counter(alone.name_of(Position(0, index)) for index in range(len(alone)))
    assert names.pop("wide") == draws * before.pop(first.path)
    assert names == before


def test_text_tables_come_back(tmp_path: Path) -> None:
    made = table()
    prompts = ["noise", "creak 0", "creak 1", "creak 2", "the sound of noise"]
    TextTable.write(tmp_path / "text", prompts, made._states)
    again = TextTable.read(tmp_path / "text")
    first, second = (
        t.conditions(["creak 2", "noise"], [1.0, 2.0], [None, "loop"]) for t in (made, again)
    )
    assert torch.equal(first.text, second.text)
    assert bool(second.controls["role"].isnan()[0])
    assert float(second.controls["role"][1]) == 2


@pytest.mark.parametrize(
    "content",
    [
        '[{"path": "a", "num_frames": 1, "shard": "../shard-00000.safetensors"}]',
        '[{"path": "a", "num_frames": 1, "shard": "/shard-00000.safetensors"}]',
        '[{"path": "a"}]',
        "{}",
        "[" * 200_000,
    ],
)
def test_a_hostile_index_of_latents_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="not an index of latents"):
        read_latents(tmp_path, [])


def test_short_sounds_are_drawn_by_their_length_where_asked(
    codec: VAECodec, rows: list[ManifestRow], tmp_path: Path
) -> None:
    items = list(encode_rows(tmp_path, rows, codec, min_frames=WINDOW))
    items.append(replace(items[0], num_frames=3, row=replace(rows[0], path="click.wav")))
    epochs = 500

    def draws(*, by_length: bool) -> Counter[str]:
        dataset = LatentDataset(
            items, window_frames=WINDOW, frame_rate=62.5, seed=0, by_length=by_length
        )
        places = [Position(epoch, at) for epoch in range(epochs) for at in range(len(dataset))]
        return Counter(dataset.name_of(place) for place in places)

    assert draws(by_length=False) == {
        "0.wav": epochs,
        "1.wav": epochs,
        "2.wav": 3 * epochs,
        "click.wav": epochs,
    }
    found = draws(by_length=True)
    assert found["0.wav"] / epochs == pytest.approx(32 / WINDOW, abs=0.08)
    assert found["click.wav"] / epochs == pytest.approx(LEAST_SHARE, abs=0.08)
    assert found["1.wav"] > epochs  # what they leave goes to sounds that fill a window
    assert found["2.wav"] > 3 * epochs
    assert found.total() == 6 * epochs
