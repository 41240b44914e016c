"""Files are whole or absent, folders appear at once, digests name their content."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen import storage

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=5,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_while_publishing(final: Path) -> None:
    with storage.publish_folder(final) as folder:
        (folder / "b").write_text("2")
        raise KeyError("stop")


@given(st.dictionaries(st.text(), JSON, min_size=2))
@settings(max_examples=25, deadline=None)
def test_digest_ignores_key_order_and_survives_json(tree: dict[str, object]) -> None:
    digest = storage.digest_of(tree)
    assert len(digest) == 16
    assert storage.digest_of(dict(reversed(tree.items()))) == digest
    assert storage.digest_of(json.loads(json.dumps(tree))) == digest
    assert storage.digest_of({**tree, "another": [tree]}) != digest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": float("-inf")}]])
def test_digest_refuses_non_finite(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        storage.digest_of(value)


def test_atomic_write_keeps_the_old_file_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "a.json"
    storage.atomic_write_text(path, "old é")
    assert path.read_text(encoding="utf-8") == "old é"

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        storage.atomic_write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old é"
    assert names(path.parent) == ["a.json"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8])
def test_tensors_come_back_bit_equal(tmp_path: Path, dtype: torch.dtype) -> None:
    tied = (torch.randn(4, 3) * 50).to(dtype)
    tensors = {"a": tied, "b": tied, "c": tied.T, "scalar": torch.ones((), dtype=dtype)}
    tensors |= {"view": tied[1:], "empty": torch.zeros(0, 2, dtype=dtype)}
    storage.write_tensors(tmp_path / "x.safetensors", tensors)
    loaded = storage.read_tensors(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == dtype
        assert torch.equal(loaded[name], tensor)


def test_a_damaged_tensor_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x80\x04not tensors")
    with pytest.raises(ValueError, match=r"x\.safetensors"):
        storage.read_tensors(path)


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    final = tmp_path / "model"
    with storage.publish_folder(final) as folder:
        (folder / "codec").mkdir()
        (folder / "codec" / "a").write_text("1")
        assert not final.exists()
    assert (final / "codec" / "a").read_text() == "1"
    with pytest.raises(KeyError):
        fail_while_publishing(final)
    assert names(tmp_path) == ["model"]
    assert names(final) == ["codec"]


def test_publishing_replaces_the_folder_and_can_be_nested(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with storage.publish_folder(tmp_path / "model") as model:
            (model / text).write_text(text)
            with storage.publish_folder(model / "codec") as codec:
                (codec / text).write_text(text)
            with storage.publish_folder(tmp_path / "beside") as beside:
                (beside / text).write_text(text)
    assert names(tmp_path) == ["beside", "model"]
    assert names(tmp_path / "model") == ["codec", "new"]
    assert names(tmp_path / "model" / "codec") == ["new"]


def test_a_failed_exchange_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "model"
    with storage.publish_folder(final) as folder:
        (folder / "old").touch()
    rename, calls = os.rename, []

    def second_fails(*paths: object) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(*paths)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="Input/output"), storage.publish_folder(final) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["model"]
    assert names(final) == ["old"]


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path: Path) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    own, parent = os.getpid(), os.getppid()
    with storage.replacing(tmp_path / "a.json") as temporary:
        here = temporary.name.removeprefix("a.json.tmp-").removesuffix(f"-{own}")
        temporary.touch()
    (tmp_path / "a.json").unlink()
    kept = [f"step-3.tmp-{here}-{parent}", f"step-4.tmp-0123abcd-{dead}", "step-6"]
    gone = [f"step-1.tmp-{here}-{dead}", f"step-2.tmp-{here}-{own}", f"step-5.tmp-0123abcd-{dead}"]
    for name in (*kept, *gone):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    two_days_ago = time.time() - 2 * 24 * 3600  # of another machine, where nobody can be asked
    os.utime(tmp_path / gone[2], (two_days_ago, two_days_ago))
    (tmp_path / f"a.json.tmp-{here}-{dead}").touch()
    with storage.publish_folder(tmp_path / "other"):
        storage.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(["other", *kept])


def test_a_folder_set_aside_by_the_dead_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "model.old-1").mkdir()
    (tmp_path / "model.old-1" / "old").touch()
    with pytest.raises(KeyError):
        fail_while_publishing(tmp_path / "model")
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("name", ["x.json", "n" * 251 + ".wav"])
def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(RuntimeError), storage.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with storage.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
