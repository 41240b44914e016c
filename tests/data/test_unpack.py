import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from zip_parts import LINK, Entry, write_zip

from audiogen.data.fetching.unpack import Archive, safe_path
from audiogen.storage import temporary_name

NOISE = np.random.default_rng(0).bytes(150_000)
CONTENTS = {
    "set/a.wav": NOISE,
    "set/deep/zeros.wav": bytes(3_000_000),  # more than a chunk
    "set/empty.txt": b"",
    "set/caf\u00e9.txt": b"text " * 99,
}
ENTRIES = [
    Entry(name="set/", deflated=False, mode=0o40755),
    *(Entry(name=name, content=data, deflated=True) for name, data in CONTENTS.items()),
    Entry(name="set/stored.wav", content=NOISE, deflated=False),
]


def unpacked(parts: list[Path], folder: Path) -> dict[str, bytes]:
    with Archive(parts) as archive:
        for member in archive.sizes:
            archive.extract(member, folder / member)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("part_bytes", [0, 40_000, 1000])
def test_whole_and_split_archives(tmp_path: Path, part_bytes: int, zip64: bool) -> None:
    parts = write_zip(tmp_path / "a.zip", ENTRIES, part_bytes=part_bytes, zip64=zip64)
    assert (len(parts) > 4) == bool(part_bytes)
    found = unpacked(parts, tmp_path / "out")
    assert found == {**CONTENTS, "set/stored.wav": NOISE}


def test_the_directory_may_be_cut(tmp_path: Path) -> None:
    entries = [Entry(name=f"{number}.txt", content=b"%d" % number) for number in range(40)]
    parts = write_zip(tmp_path / "a.zip", entries, part_bytes=300)
    assert len(unpacked(parts, tmp_path / "out")) == 40


def test_archives_of_zipfile_with_a_comment(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
        for name, data in CONTENTS.items():
            archive.writestr(name, data)
    assert unpacked([tmp_path / "a.zip"], tmp_path / "out") == CONTENTS


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP is not installed")
def test_archives_that_info_zip_has_split(tmp_path: Path) -> None:
    plain = {name: data for name, data in CONTENTS.items() if name.isascii()}
    for name, data in plain.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    command = ["zip", "-q", "-r", "-s", "64k", tmp_path / "a.zip", "set"]
    subprocess.run(command, cwd=tmp_path / "in", check=True)
    parts = [*sorted(tmp_path.glob("a.z0*")), tmp_path / "a.zip"]
    assert len(parts) == 3
    assert unpacked(parts, tmp_path / "out") == plain


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    parts = write_zip(tmp_path / "a.zip", [Entry(name="a.wav", content=NOISE)])
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    for name in ("a.wav", temporary_name("a.wav")):
        (tmp_path / "out" / name).symlink_to(tmp_path / "mine")
    assert unpacked(parts, tmp_path / "out") == {"a.wav": NOISE}
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "out" / "a.wav").is_symlink()


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/x",
        "//x",
        "C:/x",
        "C:x",
        "a\\..\\x",
        "\\x",
        "a\0b",
        "a\nb",
        "..",
        ".",
        "a:stream",
        "q?",
    ],
)
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    assert safe_path(name) is None
    parts = write_zip(tmp_path / "a.zip", [Entry(name="good", content=b"x"), Entry(name=name)])
    with pytest.raises(ValueError, match=r"^a\.zip cannot be unpacked: it names "):
        Archive(parts)


def test_plain_paths_are_made_plainer() -> None:
    assert safe_path("a/./b//c.wav") == "a/b/c.wav"
    assert safe_path("101 - Dog/1-100032-A (2).ogg") == "101 - Dog/1-100032-A (2).ogg"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([Entry(name="a", content=b"/etc/passwd", mode=LINK)], "'a' in it is a link or a device"),
        ([Entry(name="a", mode=0o020644)], "'a' in it is a link or a device"),
        ([Entry(name="a.wav"), Entry(name="A.WAV")], "it holds 'A.WAV' twice"),
        ([Entry(name="caf\u00e9"), Entry(name="cafe\u0301")], "twice"),
        ([Entry(name="a", flags=1)], "'a' in it is encrypted"),
        ([Entry(name="a", method=12)], "packed in an unusual way"),
    ],
)
def test_what_is_not_plain_files_is_refused(
    tmp_path: Path, entries: list[Entry], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Archive(write_zip(tmp_path / "a.zip", entries))


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("size", [10, 999_999, 1_000_001])
def test_a_member_never_gives_more_or_less_than_it_announces(
    tmp_path: Path, deflated: bool, size: int
) -> None:
    bomb = Entry(name="a.wav", content=bytes(1_000_000), deflated=deflated, size=size)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked(write_zip(tmp_path / "a.zip", [bomb]), tmp_path / "out")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_damage_is_found_by_the_checksum(tmp_path: Path) -> None:
    entry = Entry(name="a.wav", content=NOISE, deflated=False)
    for wrong in (replace(entry, crc=1), replace(entry, deflated=True, crc=1)):
        with pytest.raises(ValueError, match="cannot be unpacked"):
            unpacked(write_zip(tmp_path / "a.zip", [wrong]), tmp_path / "out")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_parts_that_are_missing_or_in_disorder(tmp_path: Path) -> None:
    parts = write_zip(tmp_path / "a.zip", ENTRIES, part_bytes=40_000)
    for wrong in (
        parts[1:],
        parts[-1:],
        [parts[1], parts[0], *parts[2:]],
        [*parts[:-2], parts[-1], parts[-2]],
    ):
        with pytest.raises(ValueError, match=r"cannot be unpacked"):
            unpacked(wrong, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>log in</html>" * 9, b"PK\5\6" * 9])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"^a\.zip cannot be unpacked"):
        Archive([tmp_path / "a.zip"])


@pytest.mark.parametrize("zip64", [False, True])
def test_any_damaged_byte_is_refused_or_harmless(tmp_path: Path, zip64: bool) -> None:
    contents = {"set/a.txt": b"a text " * 20, "set/b.txt": NOISE[:50]}
    entries = [Entry(name=name, content=data) for name, data in contents.items()]
    parts = write_zip(tmp_path / "a.zip", entries, part_bytes=300, zip64=zip64)
    whole = {part: part.read_bytes() for part in parts}
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(150):
        part = parts[number % len(parts)]
        broken = bytearray(whole[part])
        broken[int(rng.integers(len(broken)))] ^= 1 << int(rng.integers(8))
        part.write_bytes(broken)
        folder = tmp_path / f"out{number}" / "in"
        try:
            found = unpacked(parts, folder)
        except ValueError as error:
            assert "cannot be unpacked" in str(error)  # noqa: PT017 (it need not be raised)
            refused += 1
        else:
            assert set(found.values()) <= set(contents.values())
        if folder.parent.exists():
            assert [path.name for path in folder.parent.iterdir()] == ["in"]
        part.write_bytes(whole[part])
    assert refused > 40
