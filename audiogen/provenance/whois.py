"""What is behind a take: its prompt and seed, its model, and the sounds that the model learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audiogen.audio.io.decoding import opened
from audiogen.audio.io.files import samples_digest
from audiogen.provenance.attribution import ATTRIBUTION_FILE, read_attribution
from audiogen.run_folder import model_digest, model_folders
from audiogen.takes.sidecar import read_sidecar

MAX_AUTHORS = 20


def whois(path: Path, *, model: Path | None = None, runs: Path = Path("runs")) -> str:
    """Say what is known of a take, a line per fact.

    Args:
        path: a take, beside its JSON file.
        model: run or model folder that made it, as far as is known; None looks in the folder above
            the take's, and in `runs`.
        runs: a folder of run folders.

    Raises:
        AudioReadError: the file is not audio, or damaged.
        ValueError: there is no JSON file beside it, or it is not a take's.
    """
    with opened(path) as audio:
        digest = samples_digest(audio.blocks(), audio.sample_rate)
    sidecar = _read_sidecar(path)
    folder, place = _find_model(path, sidecar, model, runs)
    facts = {
        "file": str(path),
        "samples": _samples(sidecar, digest),
        "prompt": sidecar["prompt"] or "(none)",
        "seed": sidecar["seed"],
        "model": f"{sidecar['model']}, digest {sidecar['model_digest'] or '(never saved)'}",
        "found": place,
        **_edit(sidecar),
        "policy": _policy(sidecar),
        "licences": _counts(sidecar["licences"]),
        "codec": sidecar.get("codec_licence", ""),
        "authors": "" if folder is None else _authors(folder),
    }
    return "\n".join(f"{name:<9} {value}" for name, value in facts.items() if value != "")


def _read_sidecar(path: Path) -> Mapping[str, Any]:
    """The JSON beside a take, which has all that is asked of it here."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise ValueError(
            f"{path}: its metadata are lost, there is no {beside.name} beside it.\n"
            "They stand in the JSON file that was written with the take, and do not survive when\n"
            "the sound is moved or converted alone. Put the two side by side, under one name."
        )
    found = read_sidecar(path)
    wanted = {"prompt": str, "seed": int, "model": str, "model_digest": str, "licences": dict}
    if not all(isinstance(found.get(key), kind) for key, kind in wanted.items()):
        raise ValueError(
            f"{beside}: not the JSON file of a take of audiogen.\n"
            f"Expected an object with {', '.join(wanted)}."
        )
    return found


def _samples(sidecar: Mapping[str, Any], digest: str) -> str:
    """Compare the sound with the one that the JSON file was written with."""
    written = sidecar.get("samples_sha256")
    if not written:
        return "not recorded: whether this is the sound that the JSON file tells of is not known"
    if written == digest:
        return "as they were written"
    return "CHANGED: edited, resampled or encoded with loss; the rest tells of the original"


def _find_model(
    path: Path, sidecar: Mapping[str, Any], model: Path | None, runs: Path
) -> tuple[Path | None, str]:
    """The folder whose weights made the take, or None, and what to say of it."""
    wanted = sidecar["model_digest"]
    places = _near(path, runs) if model is None else iter([model])
    for place in places:
        for folder in model_folders(place):
            if _digest_of(folder) == wanted:
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
    """Run folders where the model may be, the likeliest first: a take lies in RUN/takes."""
    yield path.resolve().parent.parent
    if runs.is_dir():
        yield from sorted(one for one in runs.iterdir() if one.is_dir())


def _edit(sidecar: Mapping[str, Any]) -> dict[str, str]:
    """The sounds that an edit was made from."""
    match sidecar:
        case {"edit": {"sources": [*sources]}}:
            files = [
                f"{one.get('file')} (sha256 {str(one.get('sha256'))[:16]})"
                for one in sources
                if isinstance(one, dict)
            ]
            return {"edit of": ", ".join(files)}
        case _:
            return {}


def _policy(sidecar: Mapping[str, Any]) -> str:
    policy = sidecar.get("licence_policy") or "not stated"
    own = "; sounds without a licence are stated to be the trainer's own"
    return f"{policy}{own if sidecar.get('i_own_these') else ''}"


def _counts(licences: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({count} files)" for name, count in licences.items()) or "not stated"


def _authors(folder: Path) -> str:
    """Authors by number of files, and where all of them are named."""
    table = folder / ATTRIBUTION_FILE
    if not table.is_file():
        return f"not stated: the model has no {ATTRIBUTION_FILE}"
    counts = Counter(row["author"] or "(not given)" for row in read_attribution(table))
    shown = [f"{name} ({count})" for name, count in counts.most_common(MAX_AUTHORS)]
    more = [f"and {len(counts) - MAX_AUTHORS} more"] if len(counts) > MAX_AUTHORS else []
    return f"{', '.join(shown + more)}; file by file in {table}"
