"""What a page keeps of its takes: used while they are the same, made anew otherwise."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.pack.curation import store as card_store
from audiogen.pack.curation.page import write_page
from audiogen.pack.curation.store import STORE_FOLDER
from audiogen.pack.job import take_path
from audiogen.takes.take import Take, amend_take, write_take

RATE = 16_000
MakePack = Callable[..., list[Take]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The takes that are measured and encoded, in this order, as they come."""
    seen: list[str] = []
    card, sound = card_store.make_card, card_store.card_sound

    def counting(pack: Path, take: Take) -> Any:
        seen.append(f"card {take.file}")
        return card(pack, take)

    def encoding(one: Any, level: float) -> str:
        seen.append(f"sound {one.facts['file']}")
        return sound(one, level)

    monkeypatch.setattr(card_store, "make_card", counting)
    monkeypatch.setattr(card_store, "card_sound", encoding)
    return seen


def shown(page: Path) -> list[dict[str, Any]]:
    found = re.search(r'id="pack">(.*?)</script', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    takes: list[dict[str, Any]] = json.loads(found[1])["takes"]
    return takes


def test_only_new_takes_are_measured_and_the_page_is_the_same(
    tmp_path: Path, make_pack_of: MakePack, measured: list[str]
) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind", "sea"])
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert len(measured) == 6
    measured.clear()
    assert write_page(tmp_path).read_text(encoding="utf-8") == text
    assert measured == []
    wav = 0.2 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    again = takes[1].model_copy(update={"seed": 77, "sample_rate": RATE})
    write_take(take_path(tmp_path, takes[1]), wav, again)
    page = write_page(tmp_path)
    assert measured == ["card wind-seed1", "sound wind-seed1"]
    assert (shown(page)[1]["seed"], shown(page)[1]["seconds"]) == ("77", 1.0)


def test_a_changed_sidecar_a_changed_job_and_a_touched_sound_count_as_new(
    tmp_path: Path, make_pack_of: MakePack, measured: list[str]
) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind"])
    write_page(tmp_path)
    sound = take_path(tmp_path, takes[0])
    for change in (
        lambda: amend_take(sound, seed=5),
        lambda: os.utime(sound, (1, 1)),
    ):
        measured.clear()
        change()
        page = write_page(tmp_path)
        assert sorted(measured) == ["card rain-seed0", "sound rain-seed0"]
    assert shown(page)[0]["seed"] == "5"
    measured.clear()
    make_job_of = (tmp_path / "job.jsonl").read_text(encoding="utf-8")
    changed = make_job_of.replace('"prompt": "wind"', '"prompt": "storm"')
    (tmp_path / "job.jsonl").write_text(changed, encoding="utf-8")
    assert shown(write_page(tmp_path))[1]["prompt"] == "storm"
    assert sorted(measured) == ["card wind-seed1", "sound wind-seed1"]


@pytest.mark.parametrize("damage", ["empty", "zeros", "bit", "cut", "other"])
def test_what_is_damaged_is_made_anew(
    tmp_path: Path, make_pack_of: MakePack, measured: list[str], damage: str
) -> None:
    make_pack_of(tmp_path, ["rain", "wind"])
    write_page(tmp_path)
    expected = shown(tmp_path / "index.html")
    [entry] = (tmp_path / STORE_FOLDER).glob("rain-seed0.*")
    content = entry.read_bytes()
    entry.write_bytes(
        {
            "empty": b"",
            "zeros": bytes(len(content)),
            "bit": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
            "cut": content[:-20],
            "other": (entry.parent / entry.name.replace("rain-seed0", "wind-seed1")).read_bytes(),
        }[damage]
    )
    measured.clear()
    assert shown(write_page(tmp_path)) == expected
    assert measured == ["card rain-seed0", "sound rain-seed0"]
    assert not list((tmp_path / STORE_FOLDER).glob("*.tmp-*"))
