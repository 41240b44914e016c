"""Cards made while a job runs: all are there for the page, and no take depends on one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.pack.curation import store as card_store
from audiogen.pack.curation.cards import VORBIS_LEVELS
from audiogen.pack.curation.page import write_page
from audiogen.pack.curation.store import STORE_FOLDER, making_cards
from audiogen.pack.job import read_job, take_path
from audiogen.pack.make import Worker, make_pack
from audiogen.pages.pictures import sound_uri
from audiogen.storage import read_json, temporary_name
from audiogen.takes.take import Take

LIST = "prompts: [{prompt: rain, count: 3, seconds: 0.6}, {prompt: hum, seconds: 0.5, loop: true}]"
NO_PROCESS = 1 << 30
MakePack = Callable[..., list[Take]]


def make(model: Path, listed: Path, pack: Path) -> None:
    make_pack(listed, {}, model=model, out=pack, batch_size=2, worker=Worker())


@pytest.fixture
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after whose call no card and no sound can be made."""

    def refuse(*given: Any) -> None:
        raise AssertionError(f"made again: {given}")

    def forbid() -> None:
        monkeypatch.setattr(card_store, "make_card", refuse)
        monkeypatch.setattr(card_store, "card_sound", refuse)

    return forbid


@pytest.mark.usefixtures("fake_text")
def test_the_page_after_a_job_measures_and_encodes_nothing(
    model: Path, listed: Path, tmp_path: Path, nothing_is_made: Callable[[], None]
) -> None:
    pack = tmp_path / "pack"
    make(model, listed, pack)
    nothing_is_made()
    text = write_page(pack).read_text(encoding="utf-8")
    assert text.count("data:audio/ogg;base64,") == len(read_job(pack)) == 4


@pytest.mark.usefixtures("fake_text")
@pytest.mark.parametrize("error", [OSError("No space left on device"), MemoryError(), KeyError(1)])
def test_a_card_that_fails_costs_no_take_and_is_made_by_the_page(
    model: Path,
    listed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    pack, whole = tmp_path / "pack", card_store.make_card

    def failing(folder: Path, take: Take) -> Any:
        if "hum" in take.file:
            raise error
        return whole(folder, take)

    caplog.set_level("INFO")
    with monkeypatch.context() as patch:
        patch.setattr(card_store, "make_card", failing)
        make(model, listed, pack)
    takes = read_job(pack)
    assert all(take_path(pack, take).is_file() for take in takes)
    assert f"card of {takes[3].file}: {error!r}; the page makes it anew" in caplog.text
    assert len(list((pack / STORE_FOLDER).glob("*.json"))) == 3
    write_page(pack)
    assert len(list((pack / STORE_FOLDER).glob("*.json"))) == 4


def test_a_job_that_stops_makes_only_the_cards_it_has_begun(
    tmp_path: Path, make_pack_of: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_store, "THREADS", 1)
    takes = make_pack_of(tmp_path, [f"rain {n}" for n in range(20)])

    def stopped() -> None:
        with making_cards(tmp_path, takes) as make_card:
            for take in takes:
                make_card(take)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(list((tmp_path / STORE_FOLDER).glob("*.json"))) < len(takes)


@pytest.mark.usefixtures("fake_text")
def test_what_a_killed_job_left_half_written_is_cleared(
    model: Path, listed: Path, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    name, _, _ = temporary_name("rain.json").rpartition("-")
    left = pack / STORE_FOLDER / f"{name}-{NO_PROCESS}"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"{")
    make(model, listed, pack)
    assert not left.exists()


def test_a_job_and_its_page_compress_alike_where_there_is_little_room(
    tmp_path: Path,
    make_pack_of: MakePack,
    monkeypatch: pytest.MonkeyPatch,
    nothing_is_made: Callable[[], None],
) -> None:
    takes = make_pack_of(tmp_path, [f"rain {n}" for n in range(4)])
    monkeypatch.setattr(
        card_store, "SOUND_BYTES", 36_000
    )  # four half seconds do not fit at the best
    with making_cards(tmp_path, takes) as make_card:
        for take in takes:
            make_card(take)
    kept = [read_json(path)[1] for path in (tmp_path / STORE_FOLDER).iterdir()]
    assert {told["compression"] for told in kept} == {VORBIS_LEVELS[2]}
    nothing_is_made()
    write_page(tmp_path)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_needs_no_more_room_than_is_told(rate: int, channels: int) -> None:
    noise = (0.1 * torch.randn(channels, 5 * rate)).clamp(-1, 1)
    share = card_store.LOW_SHARE if rate <= card_store.LOW_RATE else 1.0
    for level, told in zip(
        VORBIS_LEVELS, card_store.NOISE_BYTES["mono" if channels == 1 else "stereo"], strict=True
    ):
        uri = sound_uri(noise, rate, compression_level=level)
        assert len(uri) <= share * told * (5 + card_store.HEAD_SECONDS)
