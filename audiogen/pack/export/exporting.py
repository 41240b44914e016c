"""A pack for a DAW: the takes that were kept, with names, levels and metadata that it reads."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiogen.audio.dsp import resample
from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.files import read_audio
from audiogen.audio.io.riff import append_chunks
from audiogen.audio.loops import Seam, measure_seam
from audiogen.data.intake.walk import is_hidden
from audiogen.pack.curation.choices import SELECTION_FILE, Choice, find_selection
from audiogen.pack.export.documents import (
    SHEET_RATE,
    Exported,
    contact_page,
    contact_picture,
    licence_text,
    manifest_text,
    reaper_project,
)
from audiogen.pack.export.names import Names, Naming
from audiogen.pack.export.signing import FileSigner, load_signer, provenance
from audiogen.pack.export.sound import (
    FORMATS,
    Format,
    describe,
    dithered,
    make_ready,
    vorbis_comments,
)
from audiogen.pack.job import TAKES_FOLDER
from audiogen.pages.pictures import spectrogram
from audiogen.provenance.attribution import ATTRIBUTION_FILE, read_attribution
from audiogen.run_folder import find_model, model_digest
from audiogen.storage import atomic_write_text, publish_folder, sha256_file
from audiogen.takes.take import Export, Take, amend_take, read_take, write_take
from audiogen.trees import did_you_mean

RATES_HZ = (44_100, 48_000, 88_200, 96_000)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What `audiogen texture export` is asked for.

    Attributes:
        to: the folder to make; it must not be there, or be empty.
        naming: splice, ucs or plain; see `Names`.
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
        if self.rate not in RATES_HZ:
            raise ValueError(f"rate: expected one of {RATES_HZ}, got {self.rate}.")
        if self.to.exists() and (not self.to.is_dir() or any(self.to.iterdir())):
            raise ValueError(
                f"{self.to}: something is there already, and nothing was changed.\n"
                "Name a new folder with --to, or remove this one first."
            )


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
        files = [
            _export(path, take, folder, names, request, pack=name, signer=signer)
            for path, take in takes
        ]
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


def find_takes(pack: Path) -> list[tuple[Path, Take]]:
    """Return the takes of a pack that are to be exported with their files, in order of names.

    They are in its folder of takes, as `texture make` writes them, or in the pack itself, which may
    be any folder of takes. Where there is a `selection.json`, those that it keeps; else all.

    Raises:
        ValueError: there is none, or the selection is damaged or keeps takes that are not there.
    """
    if not pack.is_dir():
        raise ValueError(f"{pack}: no such folder{did_you_mean(pack)}")
    folder = pack / TAKES_FOLDER if (pack / TAKES_FOLDER).is_dir() else pack
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES and not is_hidden(path.name)
    )
    if not paths:
        raise ValueError(f"{folder}: no sounds in it. A pack is a folder of takes and JSON files.")
    selection = find_selection(pack)
    chosen = {} if selection is None else selection.takes
    kept = {stem: one for stem, one in chosen.items() if one.status == "keep"}
    missing = sorted(kept.keys() - {path.stem for path in paths})
    if missing:
        raise ValueError(f"{pack / SELECTION_FILE}: keeps takes that are not there: {missing[:5]}.")
    if selection is not None:
        if not kept:
            raise ValueError(f"{pack / SELECTION_FILE}: no take is kept.")
        _log.info("%d of %d takes are kept", len(kept), len(paths))
        paths = [path for path in paths if path.stem in kept]
    return [(path, _take_of(path, kept.get(path.stem, Choice()))) for path in paths]


def _take_of(path: Path, choice: Choice) -> Take:
    """The take that a file is; one of unknown origin where no JSON file lies beside it."""
    take = read_take(path) or Take(prompt="", seconds=0, seed=0)
    if not take.is_sound(path):
        raise ValueError(
            f"{path}: not the sound that its JSON file tells of; its samples are others\n"
            "  it would go out with the prompt and the licences of another sound: put the take's\n"
            f"  own sound back, or move {path.with_suffix('.json').name} away, which exports it as"
            " of unknown origin"
        )
    told = Export(file=path.name, note=choice.note, star=choice.star)
    return take.model_copy(update={"export": told})


def _export(
    source: Path,
    take: Take,
    folder: Path,
    names: Names,
    request: ExportRequest,
    *,
    pack: str,
    signer: FileSigner | None,
) -> Exported:
    """Write one take into the new pack."""
    wav, from_rate = read_audio(source)
    if wav.shape[0] > 2:
        raise ValueError(f"{source}: a pack holds mono and stereo, not {wav.shape[0]} channels.")
    before = measure_seam(wav, from_rate) if take.loop and wav.shape[1] >= 16 else None
    try:
        wav, kind, take = make_ready(wav, from_rate, request.rate, take)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    stem = names.give(
        take.prompt or source.stem,
        bpm=None if take.tempo is None else take.tempo.bpm,
        key=None if take.measures is None else take.measures.key,
    )
    suffix, encoding = FORMATS[request.audio_format]
    path = folder / kind / f"{stem}{suffix}"
    if path.exists():
        raise ValueError(f"{path}: two takes of one name.")
    digest, made = sha256_file(source), source.stat().st_mtime
    told = (take.export or Export(file=source.name)).model_copy(update={"sha256": digest})
    take = take.model_copy(update={"export": told})
    _report_seam(source, take, before)
    tags = vorbis_comments(take, pack=pack, name=stem) if suffix == ".flac" else {}
    bits = dithered(wav, digest) if encoding == "PCM_16" else wav
    write_take(path, bits, take, encoding, tags)
    if suffix == ".wav":
        cut = append_chunks(path, describe(wav, kind, take, pack=pack, name=stem, made=int(made)))
        if cut:  # what did not fit is kept in full beside the sound
            whole = told.model_copy(update={"cut_in_wav": cut})
            amend_take(path, export=whole)
    if signer is not None:  # whatever changes the file after this breaks the signature
        signer.sign(path, provenance(take, path.name, made))
    return Exported(
        path=f"{kind}/{path.name}",
        kind=kind,
        take=take,
        picture=spectrogram(wav, request.rate, width=256),
        sound=resample(wav, request.rate, SHEET_RATE).clamp(-1, 1),
    )


def _report_seam(source: Path, take: Take, before: Seam | None) -> None:
    """Say when a loop's seam is heard at the new rate, and whether that is new."""
    if take.seam is None or take.seam.passes:
        return
    text = "%s: its seam is heard at %d Hz (score %.2f, above 1; before %.2f); give --rate %s"
    model_rate = "of the take, or make it as another loop (`texture redo --loop --vary 1`)"
    score = math.nan if before is None else before.score
    _log.warning(text, source.name, take.sample_rate or 0, take.seam.score, score, model_rate)


def _signer(sign: tuple[Path, Path], takes: Sequence[tuple[Path, Take]]) -> FileSigner:
    """What signs the files; ValueError where it cannot, or a take is of unknown origin."""
    unknown = [path.name for path, take in takes if not take.model_digest]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: no JSON file tells which model made it, so it cannot be signed\n"
            f"  ({len(unknown)} such takes; leave them out of the selection, or --sign)"
        )
    return load_signer(*sign)


def _attribution(model: Path, takes: Sequence[tuple[Path, Take]]) -> Path:
    """The model's list of the sounds that it learnt from; ValueError where it is not of use."""
    folder = find_model(model)
    path = folder / ATTRIBUTION_FILE
    if not path.is_file():
        raise ValueError(f"{path}: the model has no such list; leave --model out.")
    read_attribution(path)
    digest = model_digest(folder)
    others = [path for path, take in takes if take.model_digest != digest]
    if len(others) == len(takes):
        raise ValueError(f"{model}: none of these takes was made by this model.")
    if others:
        _log.warning("%d takes are not of %s: ATTRIBUTION.csv lacks theirs", len(others), model)
    return path
