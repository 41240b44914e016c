"""Signed provenance of exported files (C2PA): a manifest in each says how it was made."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import audiogen
from audiogen.audio.io.riff import plain_text
from audiogen.storage import first_line, replacing
from audiogen.takes.take import Take

INSTALL = "pip install 'audiogen[c2pa]'"
MEDIA_TYPES = {".wav": "audio/wav", ".flac": "audio/flac"}
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
UNTRUSTED = "signingCredential.untrusted"
"""What reading says of a certificate that is on no list: whom to trust is the reader's choice."""


@dataclass(frozen=True, kw_only=True)
class FileSigner:
    """Signs files with one key; `load_signer` makes it.

    Attributes:
        algorithm: of the signature, in C2PA's words.
        certificates: PEM, the signer's own first.
        key: PEM (PKCS#8); it stays in memory, and out of every text.
    """

    algorithm: str
    certificates: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def sign(self, path: Path, manifest: Mapping[str, Any]) -> None:
        """Put a signed manifest into a WAV or FLAC file, whose samples and metadata stay.

        It comes last: whatever changes the file afterwards breaks the signature.

        Args:
            path: is replaced as a whole or not at all.
            manifest: see `provenance`.

        Raises:
            ValueError: it cannot be signed, or is not found signed when it is read back.
        """
        import c2pa  # noqa: PLC0415 (an extra)

        info = c2pa.C2paSignerInfo(self.algorithm, self.certificates, self.key, None)
        kind = MEDIA_TYPES[path.suffix]
        with (
            replacing(path) as temporary,
            path.open("rb") as source,
            temporary.open("w+b") as target,
        ):
            try:
                with c2pa.Signer.from_info(info) as signer, c2pa.Builder(dict(manifest)) as builder:
                    builder.sign(signer, kind, source, target)
                target.seek(0)
                with c2pa.Reader(kind, target) as reader:
                    results = reader.get_validation_results() or {}
            except c2pa.C2paError as error:
                reason = first_line(error)[:150]
                raise ValueError(f"{path.name}: cannot be signed ({reason})") from None
            found = results.get("activeManifest", {"failure": [{"code": "no manifest"}]})
            wrong = sorted({str(one["code"]) for one in found["failure"]} - {UNTRUSTED})
            if wrong:
                text = f"the signature is not valid ({', '.join(wrong)[:200]})"
                raise ValueError(f"{path.name}: {text}")


def load_signer(certificate: Path, key: Path) -> FileSigner:
    """Read a certificate and its key, and try them.

    Args:
        certificate: PEM; the chain that vouches for it, if any, behind it.
        key: PEM, not encrypted: elliptic curve P-256, P-384 or P-521, Ed25519, or RSA.

    Raises:
        ValueError: the library is missing, or certificate and key cannot sign.
        OSError: a file cannot be read.
    """
    try:
        importlib.import_module("c2pa")
        from cryptography import x509  # noqa: PLC0415 (an extra)
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ValueError(
            f"files are signed by c2pa-python, which is not installed ({error})\n  run: {INSTALL}"
        ) from error
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
    except ValueError:
        raise ValueError(f"{certificate}: not a certificate in PEM") from None
    private = _read_key(key)
    own, now = chain[0], datetime.now(UTC)
    if own.public_key() != private.public_key():
        raise ValueError(f"{certificate}: its first certificate is not that of the key {key}")
    if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        begin, end = own.not_valid_before_utc, own.not_valid_after_utc
        raise ValueError(f"{certificate}: valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, not today")
    signer = FileSigner(
        algorithm=_algorithm(private, key),
        certificates=b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain),
        key=private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "silence.wav"
            soundfile.write(sound, np.zeros(16), 8000)
            signer.sign(sound, provenance(Take(prompt="", seconds=0, seed=0), sound.name, 0.0))
    except ValueError as error:
        raise ValueError(f"{certificate}: {error}") from None
    return signer


def provenance(take: Take, name: str, made: float) -> dict[str, Any]:
    """Return what a manifest says of a sound.

    Args:
        take: that the sound is.
        name: of the file.
        made: when the take was made, seconds since 1970.
    """
    # An edit may hold sound of other files.
    kind = "compositeWithTrainedAlgorithmicMedia" if take.edit else "trainedAlgorithmicMedia"
    agent = {"name": "audiogen", "version": audiogen.__version__}
    facts = {
        "model": take.model,
        "model_digest": take.model_digest,
        "prompt": take.prompt,
        "negative_prompt": take.negative_prompt,
        "seed": str(take.seed),
    }
    action = {
        "action": "c2pa.created",
        "when": datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "softwareAgent": agent,
        "digitalSourceType": SOURCE_TYPE + kind,
        "parameters": {
            **{key: plain_text(text) for key, text in facts.items() if text},
            "licences": [plain_text(one) for one in sorted(take.licences)],
        },
    }
    return {
        "claim_generator_info": [agent],
        "title": name,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _read_key(path: Path) -> Any:
    """The private key of a file; errors say nothing of what it holds."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 (an extra)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except TypeError:
        raise ValueError(f"{path}: the key is encrypted; give one that is not") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path}: not a private key in PEM") from None


def _algorithm(key: Any, path: Path) -> str:
    """The algorithm of signatures by a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError(f"{path}: expected a key of P-256, P-384, P-521, Ed25519 or RSA")
