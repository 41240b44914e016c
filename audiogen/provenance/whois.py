"""What is behind a take: its prompt and seed, its model, and the sounds that the model learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from audiogen.audio.io.decoding import opened
from audiogen.audio.io.files import samples_digest
from audiogen.library import library_folders
from audiogen.provenance.attribution import ATTRIBUTION_FILE, read_attribution
from audiogen.run_folder import model_digest, model_folders
from audiogen.takes.take import Take, read_take

MAX_AUTHORS = 20


def whois(path: Path, *, model: Path | None = None, runs: Path = Path("runs")) -> str:
    """Say what is known of a take, a line per fact.

    Args:
        path: A take, beside its JSON file.
        model: The run or model folder that made it, where that is known; None looks in the folder
            above the take's, and in `runs`.
        runs: A folder of run folders.

    Raises:
        AudioReadError: the file is not audio, or damaged.
        ValueError: there is no JSON file beside it, or it is not a take's.
    """
    with opened(path) as audio:
        digest = samples_digest(audio.blocks(), audio.sample_rate)
    take = _require_take(path)
    folder, place = _find_model(path, take, model, runs)
    facts = {
        "file": str(path),
        "samples": _samples(take, digest),
        "prompt": take.prompt or "(none)",
        "seed": take.seed,
        "model": f"{take.model}, digest {take.model_digest or '(never saved)'}",
        "found": place,
        "edit of": _sources(take),
        "policy": _policy(take),
        "licences": _counts(take),
        "codec": take.codec_licence,
        "authors": "" if folder is None else _authors(folder),
    }
    return "\n".join(f"{name:<9} {value}" for name, value in facts.items() if value != "")


def _require_take(path: Path) -> Take:
    """The take that a file is; ValueError where nothing tells which model made it."""
    take, beside = read_take(path), path.with_suffix(".json")
    if take is None:
        raise ValueError(
            f"{path}: its metadata are lost, there is no {beside.name} beside it.\n"
            "They stand in the JSON file that was written with the take, and do not survive when\n"
            "the sound is moved or converted alone. Put the two side by side, under one name."
        )
    if not take.model:
        raise ValueError(f"{beside}: does not name the model that made the take.")
    return take


def _samples(take: Take, digest: str) -> str:
    """Compare the sound with the one that the JSON file was written with."""
    if not take.samples_sha256:
        return "not recorded: whether this is the sound that the JSON file tells of is not known"
    if take.samples_sha256 == digest:
        return "as they were written"
    return "CHANGED: edited, resampled or encoded with loss; the rest tells of the original"


def _find_model(path: Path, take: Take, model: Path | None, runs: Path) -> tuple[Path | None, str]:
    """The folder whose weights made the take, or None, and what to say of it."""
    places = _near(path, runs) if model is None else iter([model])
    for place in places:
        for folder in model_folders(place):
            if _digest_of(folder) == take.model_digest:
                return folder, str(folder)
    if model is None:
        return None, f"no: neither near the file nor in {runs}; --model RUN names its folder"
    others = [_digest_of(folder) for folder in model_folders(model)]
    state = f"holds other weights ({', '.join(others)})" if others else "holds no model"
    return None, f"no: {model} {state}"


def _digest_of(folder: Path) -> str:
    """Digest of a model; "damaged" for one that is not sealed, which keeps no other from view."""
    try:
        return model_digest(folder)
    except ValueError:
        return "damaged"


def _near(path: Path, runs: Path) -> Iterator[Path]:
    """Where the model may be, the likeliest first: a take lies in RUN/takes."""
    yield path.resolve().parent.parent
    if runs.is_dir():
        yield from sorted(one for one in runs.iterdir() if one.is_dir())
    yield from library_folders()


def _sources(take: Take) -> str:
    """The sounds that an edit was made from."""
    sources = () if take.edit is None else take.edit.sources
    return ", ".join(f"{one.file} (sha256 {one.sha256[:16]})" for one in sources)


def _policy(take: Take) -> str:
    own = "; sounds without a licence are stated to be the trainer's own"
    return f"{take.licence_policy or 'not stated'}{own if take.i_own_these else ''}"


def _counts(take: Take) -> str:
    counts = (f"{name} ({count} files)" for name, count in take.licences.items())
    return ", ".join(counts) or "not stated"


def _authors(folder: Path) -> str:
    """Authors by number of files, and where all of them are named."""
    table = folder / ATTRIBUTION_FILE
    if not table.is_file():
        return f"not stated: the model has no {ATTRIBUTION_FILE}"
    counts = Counter(row["author"] or "(not given)" for row in read_attribution(table))
    shown = [f"{name} ({count})" for name, count in counts.most_common(MAX_AUTHORS)]
    more = [f"and {len(counts) - MAX_AUTHORS} more"] if len(counts) > MAX_AUTHORS else []
    return f"{', '.join(shown + more)}; file by file in {table}"
