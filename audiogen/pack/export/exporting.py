"""A pack for a DAW: the takes that were kept, with names, levels and metadata that it reads."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiogen.audio.dsp import resample
from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.files import read_audio, write_audio
from audiogen.audio.io.riff import write_chunks
from audiogen.audio.loops import measure_seam
from audiogen.pack.curation.choices import SELECTION_FILE, find_selection
from audiogen.pack.export.documents import (
    SHEET_RATE,
    Exported,
    contact_page,
    contact_picture,
    drawn,
    licence_text,
    manifest_text,
    reaper_project,
)
from audiogen.pack.export.names import Names, Naming
from audiogen.pack.export.signing import FileSigner, load_signer, provenance
from audiogen.pack.export.sound import (
    FORMATS,
    Format,
    Kind,
    Ready,
    describe,
    dithered,
    find_loop,
    make_ready,
)
from audiogen.pack.job import TAKES_FOLDER
from audiogen.provenance.attribution import ATTRIBUTION_FILE, read_attribution
from audiogen.run_folder import find_model, model_digest
from audiogen.storage import atomic_write_text, publish_folder, sha256_file
from audiogen.takes.sidecar import read_sidecar

RATES_HZ = (44_100, 48_000, 88_200, 96_000)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What `audiogen texture export` is asked for.

    Attributes:
        to: the folder to make; it must not be there, or be empty.
        naming: splice, ucs or plain; see `export_names`.
        audio_format: wav24, wav16 or flac.
        rate: Hz.
        creator: CreatorID of names of the kind ucs.
        model: run or model folder whose ATTRIBUTION.csv is enclosed.
        sign: certificate and key that the files are signed with; see `load_signer`.
    """

    to: Path
    naming: Naming = "splice"
    audio_format: Format = "wav24"
    rate: int = 48_000
    creator: str = "AG"
    model: Path | None = None
    sign: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        if self.audio_format not in FORMATS:
            raise ValueError(
                f"format: expected one of {', '.join(FORMATS)}, got {self.audio_format!r}."
            )
        if self.rate not in RATES_HZ:
            raise ValueError(f"rate: expected one of {RATES_HZ}, got {self.rate}.")
        if self.to.exists() and (not self.to.is_dir() or any(self.to.iterdir())):
            raise ValueError(
                f"{self.to}: something is there already, and nothing was changed.\n"
                "Name a new folder with --to, or remove this one first."
            )


@dataclass(frozen=True, kw_only=True)
class PackTake:
    """A take of a pack: its file, what its sidecar tells, and how it was judged."""

    path: Path
    told: Mapping[str, Any]
    star: bool
    note: str


def export_pack(pack: Path, request: ExportRequest) -> Path:
    """Write the kept takes of `pack` as a new folder; return it. The pack is only read.

    The folder appears when it is complete.

    Raises:
        ValueError: no take to export, a damaged file, a wrong selection, a folder that is there, or
            a certificate or key that cannot sign.
    """
    takes = find_takes(pack)
    signer = None if request.sign is None else _signer(request.sign, takes)
    attribution = None if request.model is None else _attribution(request.model, takes)
    name = pack.resolve().name or "Pack"
    names = Names(request.naming, creator=request.creator, source=name)
    with publish_folder(request.to) as folder:
        files = [_export(take, folder, names, request, pack=name, signer=signer) for take in takes]
        atomic_write_text(folder / "manifest.csv", manifest_text(files))
        atomic_write_text(folder / "LICENSE.txt", licence_text(name, files))
        atomic_write_text(folder / "contact.html", contact_page(name, files))
        contact_picture(folder / "contact.png", name, files)
        if attribution is not None:
            shutil.copyfile(attribution, folder / ATTRIBUTION_FILE)
        project = reaper_project(files, request.rate)
        if project is not None:
            atomic_write_text(folder / "loops.rpp", project)
    return request.to


def find_takes(pack: Path) -> list[PackTake]:
    """Return the takes of a pack that are to be exported, in order of their names.

    They are in its folder of takes, as `texture make` writes them, or in the pack itself, which may
    be any folder of takes. Where there is a `selection.json`, those that it keeps; else all.

    Raises:
        ValueError: there is none, or the selection is damaged or keeps takes that are not there.
    """
    if not pack.is_dir():
        raise ValueError(f"{pack}: no such folder.")
    folder = pack / TAKES_FOLDER if (pack / TAKES_FOLDER).is_dir() else pack
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no sounds in it. A pack is a folder of takes and JSON files.")
    selection = find_selection(pack)
    if selection is None:
        return [PackTake(path=path, told=read_sidecar(path), star=False, note="") for path in paths]
    kept = {stem: one for stem, one in selection.takes.items() if one.status == "keep"}
    missing = sorted(kept.keys() - {path.stem for path in paths})
    if missing:
        raise ValueError(f"{pack / SELECTION_FILE}: keeps takes that are not there: {missing[:5]}.")
    if not kept:
        raise ValueError(f"{pack / SELECTION_FILE}: no take is kept.")
    _log.info("%d of %d takes are kept", len(kept), len(paths))
    return [
        PackTake(
            path=path,
            told=read_sidecar(path),
            star=kept[path.stem].star,
            note=kept[path.stem].note,
        )
        for path in paths
        if path.stem in kept
    ]


def _export(
    take: PackTake,
    folder: Path,
    names: Names,
    request: ExportRequest,
    *,
    pack: str,
    signer: FileSigner | None,
) -> Exported:
    """Write one take into the new pack."""
    wav, from_rate = read_audio(take.path)
    if wav.shape[0] > 2:
        raise ValueError(f"{take.path}: a pack holds mono and stereo, not {wav.shape[0]} channels.")
    try:
        ready = make_ready(wav, from_rate, request.rate, find_loop(take.told, take.path))
    except ValueError as error:
        raise ValueError(f"{take.path}: {error}") from None
    prompt = str(take.told.get("prompt", "") or take.path.stem)
    bpm = ready.loop.bpm if ready.loop else None
    made = take.path.stat().st_mtime
    stem = names.give(prompt, bpm=bpm, key=ready.measures.key)
    suffix, encoding = FORMATS[request.audio_format]
    path = folder / ready.kind / f"{stem}{suffix}"
    if path.exists():
        raise ValueError(f"{path}: two takes of one name.")
    digest = sha256_file(take.path)
    written = dithered(ready.wav, digest) if encoding == "PCM_16" else ready.wav
    sidecar = {
        **take.told,
        "seconds": written.shape[1] / request.rate,
        "sample_rate": request.rate,
        "measures": asdict(ready.measures),
        "export": {"file": take.path.name, "sha256": digest, "note": take.note, "star": take.star},
    }
    if ready.loop is not None:
        loop = take.told["loop"] if isinstance(take.told["loop"], dict) else {}
        sidecar["loop"] = {**loop, "samples": written.shape[1]}
    write_audio(path, written, request.rate, encoding=encoding, sidecar=sidecar)
    if suffix == ".wav":
        chunks = describe(ready, take.told, pack=pack, name=stem, made=int(made))
        cut = write_chunks(path, chunks)
        if cut:  # what did not fit is kept in full beside the sound
            text = json.dumps({**sidecar, "cut_in_wav": cut}, indent=2, ensure_ascii=False)
            atomic_write_text(path.with_suffix(".json"), text + "\n")
    if signer is not None:  # whatever changes the file after this breaks the signature
        signer.sign(path, provenance(take.told, path.name, made))
    return Exported(
        path=f"{ready.kind}/{path.name}",
        kind=ready.kind,
        told=take.told,
        loop=ready.loop,
        facts=_facts(ready, take, request.rate, digest),
        picture=drawn(ready.wav, request.rate),
        sound=resample(ready.wav, request.rate, SHEET_RATE).clamp(-1, 1),
    )


def _signer(sign: tuple[Path, Path], takes: Sequence[PackTake]) -> FileSigner:
    """Return what signs the files; errors as of `load_signer`, and for takes of unknown origin."""
    unknown = [take.path.name for take in takes if not take.told.get("model_digest")]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: no JSON file tells which model made it, so it cannot be signed\n"
            f"  ({len(unknown)} such takes; leave them out of the selection, or --sign)"
        )
    return load_signer(*sign)


def _facts(ready: Ready, take: PackTake, rate: int, digest: str) -> dict[str, Any]:
    """Numbers of the manifest."""
    numbers = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(ready.measures).items()
    }
    kind: Kind = ready.kind
    has_seam = kind == "Loops" and ready.wav.shape[1] >= 16
    return {
        **numbers,
        "seconds": ready.wav.shape[1] / rate,
        "samples": ready.wav.shape[1],
        "sample_rate": rate,
        "channels": ready.wav.shape[0],
        "seam_score": round(measure_seam(ready.wav, rate).score, 4) if has_seam else None,
        "star": take.star,
        "note": take.note,
        "take": take.path.name,
        "sha256": digest,
    }


def _attribution(model: Path, takes: Sequence[PackTake]) -> Path:
    """Return the model's list of the sounds that it learnt from.

    Raises:
        ValueError: the model has none, it is damaged, or the model made none of these takes.
    """
    folder = find_model(model)
    path = folder / ATTRIBUTION_FILE
    if not path.is_file():
        raise ValueError(f"{path}: the model has no such list; leave --model out.")
    read_attribution(path)
    digest = model_digest(folder)
    others = [take for take in takes if take.told.get("model_digest") != digest]
    if len(others) == len(takes):
        raise ValueError(f"{model}: none of these takes was made by this model.")
    if others:
        _log.warning("%d takes are not of %s: ATTRIBUTION.csv lacks theirs", len(others), model)
    return path
