"""Files that would harm are refused wherever models are read, and damage is found."""

import io
import json
import pickle  # noqa: TID251 - what is to be refused has to be made
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_text import FakeTextEncoder

from audiogen.codecs import load_codec
from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.experiment import load_config
from audiogen.judge.judge import Judge
from audiogen.model_folder import FILES, read_model
from audiogen.pipeline import Pipeline
from audiogen.run_folder import JUDGE, WORDS
from audiogen.seal import seal_folder, verify_folder

WEIGHTS = "generator.safetensors"
CONFIG = "config.yaml"
MB = 1 << 20


class Canary:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def header(tree: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Canary(canary))


def torch_zip(canary: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(canary))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def broken_magic(canary: Path) -> bytes:
    return b"\x00\x00" + pickled(canary)


def object_array(canary: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array([Canary(canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


def zip_bomb(_: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(64 * MB))
    return file.getvalue()


def tar_outwards(_: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def one(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


HOSTILE_WEIGHTS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickled,
    "a zip with a pickle": torch_zip,
    "a pickle behind a broken magic": broken_magic,
    "an npz of objects": object_array,
    "a zip bomb": zip_bomb,
    "a tar that leads out": tar_outwards,
    "a header of an exabyte": lambda _: header({}, length=1 << 60),
    "a header of 200 MB": lambda _: header({}, length=200 * MB),
    "overlapping tensors": lambda _: header({**one(), "b": one()["a"]}, bytes(4)),
    "tensors beyond the end": lambda _: header(one(data_offsets=[0, 1 << 40]), bytes(4)),
    "a shape that overflows": lambda _: header(one(shape=[1 << 62, 1 << 62]), bytes(4)),
    "a header that is no JSON": lambda _: struct.pack("<Q", 4) + b"nope",
    "deep JSON": lambda _: struct.pack("<Q", 200_000) + b"[" * 200_000,
}
HOSTILE_CONFIGS = {
    "a python tag": "name: !!python/object/apply:pathlib.Path.touch [CANARY]\n",
    "a python module": "name: !!python/module:os\n",
    "deep YAML": "[" * 5_000,
    "an alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n"
        for m, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "a key twice": "name: x\nname: y\n",
    "no mapping": "- 1\n",
    "not UTF-8": "name: \udcff\n",
}


JUDGE_OF_NOISE = Judge.fit(
    [torch.randn(1, 16_000) for _ in range(2)], ["one", "other"], 16_000, num_versions=0
)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A model folder of one's own."""
    target = tmp_path / "model"
    words = Vocabulary.of([("rain", ["heavy rain"])], FakeTextEncoder())  # type: ignore[arg-type]
    whole = replace(read_model(model), judge=JUDGE_OF_NOISE, vocabulary=words)
    Pipeline(whole).save_pretrained(target)
    return target


def refused(load: Callable[[], object]) -> str:
    with pytest.raises((ValueError, OSError)) as caught:
        load()
    assert len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


@pytest.mark.parametrize("what", HOSTILE_WEIGHTS)
def test_hostile_weights_are_refused_although_they_are_sealed(
    what: str, copy: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (copy / WEIGHTS).write_bytes(HOSTILE_WEIGHTS[what](canary))
    seal_folder(copy, FILES)
    assert WEIGHTS in refused(lambda: Pipeline.from_pretrained(copy))
    shutil.copyfile(copy / WEIGHTS, copy / JUDGE)
    assert JUDGE in refused(lambda: Judge.read(copy / JUDGE))
    shutil.copyfile(copy / WEIGHTS, copy / WORDS)
    assert WORDS in refused(lambda: Vocabulary.read(copy / WORDS))
    shutil.copyfile(copy / WEIGHTS, copy / "codec" / "weights.safetensors")
    seal_folder(copy / "codec", ("config.yaml", "weights.safetensors"))
    assert "weights.safetensors" in refused(lambda: load_codec(copy / "codec"))
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("what", HOSTILE_CONFIGS)
def test_hostile_configs_are_refused_although_they_are_sealed(
    what: str, copy: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    text = HOSTILE_CONFIGS[what].replace("CANARY", str(canary))
    data = text.encode("utf-8", "surrogateescape")
    for folder in (copy, copy / "codec"):
        (folder / CONFIG).write_bytes(data)
    seal_folder(copy, FILES)
    seal_folder(copy / "codec", ("config.yaml", "weights.safetensors"))
    (tmp_path / "recipe.yaml").write_bytes(data)
    for load in (
        lambda: Pipeline.from_pretrained(copy),
        lambda: load_codec(copy / "codec"),
        lambda: load_config(tmp_path / "recipe.yaml"),
    ):
        with pytest.raises(ValueError, match=r"\.yaml"):
            load()
    assert not canary.exists()


def damage(data: bytes, source: random.Random) -> bytes:
    """Flip a bit, or cut the end off, one time in six."""
    if source.random() < 1 / 6:
        return data[: source.randrange(len(data))]
    place = source.randrange(8 * len(data))
    flipped = bytearray(data)
    flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


@pytest.mark.parametrize("count", [60, pytest.param(1200, marks=pytest.mark.nightly)])
def test_damage_to_a_model_is_found(count: int, copy: Path) -> None:
    source = random.Random(0)  # noqa: S311 - places of damage
    places = [copy / name for name in FILES]
    places += [copy / "codec" / name for name in ("config.yaml", "weights.safetensors")]
    for number in range(count):
        path = places[number % len(places)]
        good = path.read_bytes()
        path.write_bytes(damage(good, source))
        said = refused(lambda: Pipeline.from_pretrained(copy))
        assert path.name in said
        assert "good copy" in said
        path.write_bytes(good)
    Pipeline.from_pretrained(copy)


def test_what_lies_beside_a_model_may_change(copy: Path) -> None:
    (copy / "README.md").write_text("mine")
    (copy / "notes.txt").write_text("mine")
    verify_folder(copy, FILES)
    Pipeline.from_pretrained(copy)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", '{"format": 1}', '{"format": 2, "files": {}}', "\xff"]
)
def test_a_broken_seal_is_refused(text: str, copy: Path) -> None:
    (copy / "MANIFEST.json").write_bytes(text.encode("latin-1"))
    assert "MANIFEST.json" in refused(lambda: Pipeline.from_pretrained(copy))
    (copy / "MANIFEST.json").unlink()
    assert "MANIFEST.json is missing" in refused(lambda: Pipeline.from_pretrained(copy))
