"""Stems by Demucs: they add up with a residual, and no file of a model can run code."""

import json
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from audiogen.audio.io.files import read_audio, write_audio
from audiogen.takes import stems
from audiogen.takes.layers import split
from audiogen.takes.stems import REPOSITORIES, load_separator

WITHOUT = "demucs is not installed: pip install 'audiogen[demucs]'"
MODEL_RATE = 8000
SOURCES = ["drums", "bass", "other", "vocals"]
SETTINGS = {
    "sources": SOURCES,
    "channels": 8,
    "growth": 1,
    "nfft": 2048,
    "t_layers": 1,
    "t_heads": 2,
    "samplerate": MODEL_RATE,
    "segment": Fraction(3, 2),
}
MakeFolder = Callable[..., Path]


def sound(channels: int, rate: int, seconds: float = 2.5) -> Tensor:
    time = torch.arange(round(seconds * rate)) / rate
    tones = [torch.sin(2 * math.pi * hz * time) for hz in (220, 337)[:channels]]
    noise = torch.randn(channels, len(time), generator=torch.Generator().manual_seed(1))
    return 0.3 * torch.stack(tones) + 0.05 * noise


def metadata(**changes: str) -> dict[str, str]:
    """What a published file tells of its model, in the words of Demucs."""
    settings: dict[str, Any] = dict(SETTINGS)
    part = settings["segment"]
    settings["segment"] = {
        "_type": "fraction",
        "numerator": part.numerator,
        "denominator": part.denominator,
    }
    told = {"klass": stems.CLASS, "args": "[]", "kwargs": json.dumps(settings)}
    return {name: text for name, text in {**told, **changes}.items() if text}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random ones, of a small HTDemucs."""
    htdemucs = pytest.importorskip("demucs.htdemucs", reason=WITHOUT)
    torch.manual_seed(0)
    network = htdemucs.HTDemucs(**SETTINGS)
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.fixture
def make_folder(weights: dict[str, Tensor], tmp_path: Path) -> MakeFolder:
    """Return a function that writes a model as it is published, with whatever is to be wrong."""

    def make(bag: str = "models: ['a1', 'b2']\nsegment: 1.0\n", **changes: str) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "small.yaml").write_text(bag, encoding="utf-8")
        save_file(weights, folder / "a1.safetensors", metadata())
        other = {name: 0.9 * value for name, value in weights.items()}
        save_file(other, folder / "b2.safetensors", metadata(**changes))
        return folder

    return make


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 11_025), (2, MODEL_RATE)])
def test_stems_and_the_residual_read_back_add_up_to_the_file(
    make_folder: MakeFolder, tmp_path: Path, loop: bool, channels: int, rate: int
) -> None:
    folder, file = make_folder(), tmp_path / "a.wav"
    wav = sound(channels, rate)
    told = {"prompt": "band", "seed": 1, "seconds": wav.shape[1] / rate, "loop": loop}
    write_audio(file, wav, rate, sidecar=told)
    before = file.read_bytes()
    paths = split(file, by="stems", stems_model=str(folder))
    assert [path.name for path in paths] == [f"a-{name}.wav" for name in (*SOURCES, "residual")]
    layers = torch.stack([read_audio(path)[0] for path in paths])
    assert float((layers.sum(dim=0) - read_audio(file)[0]).abs().max()) < 1e-4
    assert float(layers[:-1].abs().amax(dim=(1, 2)).min()) > 1e-4  # each holds something
    assert file.read_bytes() == before
    note = json.loads(paths[0].with_suffix(".json").read_text(encoding="utf-8"))
    assert note["prompt"] == "band"
    assert (note["layer"]["by"], note["layer"]["layer"]) == ("stems", "drums")
    assert [len(digest) for digest in note["layer"]["weights"]] == [64, 64]
    again = split(file, by="stems", stems_model=str(folder), out=tmp_path / "again")
    assert torch.equal(layers, torch.stack([read_audio(path)[0] for path in again]))


def test_sides_that_cancel_are_heard_at_their_own_level(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Tensor] = []

    def listen(network: Any, mix: Tensor, **_: Any) -> Tensor:
        heard.append(mix)
        return mix[:, None].repeat(1, len(network.sources), 1, 1)

    monkeypatch.setattr("demucs.apply.apply_model", listen)
    wav = sound(1, MODEL_RATE).repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    wav += 1e-5 * torch.randn(wav.shape, generator=torch.Generator().manual_seed(2))
    made = load_separator(str(make_folder())).separate(wav, MODEL_RATE)
    assert float(heard[0].std()) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(made["drums"], wav, atol=1e-3, rtol=0)


def test_the_network_is_the_one_that_demucs_loads_itself(make_folder: MakeFolder) -> None:
    hf = pytest.importorskip("demucs.hf", reason=WITHOUT)
    folder = make_folder()
    separator = load_separator(str(folder))
    parts = [hf.load_safetensors_model(folder / f"{name}.safetensors") for name in ("a1", "b2")]
    theirs = hf.BagOfModels(parts, None, 1.0)
    assert separator.network.models[0].segment == theirs.models[0].segment == 1.0
    wav = sound(2, MODEL_RATE)
    mean, scale = wav.mean(dim=0).mean(), wav.mean(dim=0).std(correction=0)
    expected = sys.modules["demucs.apply"].apply_model(
        theirs.eval(), ((wav - mean) / scale)[None], shifts=0
    )
    found = separator.separate(wav, MODEL_RATE)
    for stem, wanted in zip(found.values(), scale * expected[0], strict=True):
        torch.testing.assert_close(stem, wanted, rtol=1e-4, atol=1e-6)


def test_the_published_names_are_those_of_demucs() -> None:
    hf = pytest.importorskip("demucs.hf", reason=WITHOUT)
    for name, repository in REPOSITORIES.items():
        assert repository == f"{hf.DEFAULT_NAMESPACE}/{hf.hf_repo_name(name)}"


def test_silence_and_short_sounds_have_stems_too(make_folder: MakeFolder) -> None:
    separator = load_separator(str(make_folder()))
    for wav in (torch.zeros(1, 4000), sound(2, 16_000, 0.01)):
        found = separator.separate(wav, 16_000)
        assert {stem.shape for stem in found.values()} == {wav.shape}
        assert all(bool(stem.isfinite().all()) for stem in found.values())
    with pytest.raises(ValueError, match="not of 3 channels"):
        separator.separate(torch.zeros(3, 4000), 16_000)


@pytest.mark.parametrize(
    ("bag", "changes", "said"),
    [
        ("models: [b2]", {"klass": "pathlib.Path.touch"}, "pathlib.Path.touch, expected plain"),
        ("models: [b2]", {"klass": "subprocess.Popen"}, "expected plain weights"),
        ("models: [b2]", {"klass": ""}, "of None, expected"),
        ("models: [b2]", {"structure": '{"_class": "os.system"}'}, "expected plain weights"),
        ("models: [b2]", {"kwargs": "{"}, "not valid JSON"),
        ("models: [b2]", {"kwargs": "[]"}, "does not tell the settings"),
        ("models: [b2]", {"kwargs": '{"sources": ["a"]}'}, "do not fit"),
        ("models: [b2]", {"kwargs": '{"sources": 7}'}, "do not fit"),
        (
            "models: [b2]",
            {"kwargs": '{"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}'},
            "no fraction",
        ),
        ("models: ['../a1']", {}, "models.0: "),
        ("models: []", {}, "models: "),
        ("[1]", {}, "expected `key: value`"),
        ("!!python/object/apply:os.system [true]", {}, "not valid YAML"),
        ("models: [a1, b2]\nweights: [[1, 1, 1, 1]]", {}, "do not fit one another"),
        ("models: [zz]", {}, "no such file"),
    ],
)
def test_what_is_no_demucs_model_is_refused_in_few_lines(
    make_folder: MakeFolder, bag: str, changes: dict[str, str], said: str
) -> None:
    folder = make_folder(bag, **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        load_separator(str(folder))
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize("name", ["../escape", "residual", "drums", "a/b", ""])
def test_stems_do_not_lead_out_of_the_folder(make_folder: MakeFolder, name: str) -> None:
    settings = json.loads(metadata()["kwargs"])
    settings["sources"] = ["drums", "bass", "other", name]
    folder = make_folder("models: [b2]", kwargs=json.dumps(settings))
    with pytest.raises(ValueError, match="no names of stems"):
        load_separator(str(folder))


def test_pickles_are_not_read_and_damage_is_named(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder("models: [b2]")
    (folder / "b2.safetensors").rename(folder / "b2-0123abcd.th")
    with pytest.raises(FileNotFoundError, match=r"b2\.safetensors: there is no such file"):
        load_separator(str(folder))
    (folder / "b2.safetensors").write_bytes((folder / "a1.safetensors").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"b2\.safetensors: not a readable"):
        load_separator(str(folder))
    (folder / "other.yaml").touch()
    with pytest.raises(ValueError, match="expected one YAML file"):
        load_separator(str(folder))
    with pytest.raises(ValueError, match="no such model or folder") as caught:
        load_separator(str(tmp_path / "none"))
    assert len(str(caught.value).splitlines()) <= 4


def test_weights_that_are_not_to_be_had_are_told_in_few_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("demucs.apply", reason=WITHOUT)
    monkeypatch.setitem(REPOSITORIES, "htdemucs", "adefossez/nothing-here")
    with pytest.raises(FileNotFoundError, match=r"htdemucs\.yaml is not in the hub's cache") as e:
        load_separator()
    assert len(str(e.value).splitlines()) <= 4


def test_where_demucs_is_missing_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "demucs", None)
    monkeypatch.setitem(sys.modules, "demucs.apply", None)
    file = tmp_path / "a.wav"
    write_audio(file, sound(1, 16_000), 16_000)
    with pytest.raises(ValueError, match=r"run: pip install 'audiogen\[demucs\]'") as caught:
        split(file, by="stems")
    assert len(str(caught.value).splitlines()) <= 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_model_for_other_layers_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    write_audio(file, sound(1, 8000), 8000)
    with pytest.raises(ValueError, match="add --by stems"):
        split(file, by="bands", stems_model="htdemucs")
    assert list(tmp_path.iterdir()) == [file]
