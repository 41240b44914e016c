"""Signed files: another reader finds who made them and how, and nothing else in them changes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import soundfile
import torch
from chunk_reader import read_chunks
from typer.testing import CliRunner

from audiogen.audio.io.files import read_audio, write_audio
from audiogen.cli.texture import texture
from audiogen.pack.export.exporting import ExportRequest, export_pack
from audiogen.pack.export.signing import load_signer, provenance
from audiogen.take_request import Tempo
from audiogen.takes.take import Edit, Take, write_take

RATE = 22_050
WITHOUT = "c2pa-python is not installed: pip install 'audiogen[c2pa]'"
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PROMPTS = ("rain on a roof", "雨 “rain” \" ' ` \n", "x" * 5000)


@dataclass(frozen=True)
class Authority:
    """A certificate that vouches for others, and how to make them."""

    issue: Callable[..., tuple[Path, Path]]
    pem: str


@pytest.fixture(scope="module")
def c2pa() -> Any:
    return pytest.importorskip("c2pa", reason=WITHOUT)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of the test's own; its `issue` writes a certificate with chain, and a key."""
    pytest.importorskip("cryptography", reason=WITHOUT)
    from cryptography import x509  # noqa: PLC0415 (an extra)
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    kinds: dict[str, Callable[[], Any]] = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "other": lambda: ec.generate_private_key(ec.SECP256K1()),
    }

    def named(text: str) -> x509.Name:
        pairs = ((x509.NameOID.ORGANIZATION_NAME, "Test"), (x509.NameOID.COMMON_NAME, text))
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])

    def certify(
        name: str, key: Any, issuer: str, by: Any, *, starts: int = -1, purpose: str = "sign"
    ) -> x509.Certificate:
        begin, is_ca = datetime.now(UTC) + timedelta(days=starts), purpose == "ca"
        uses = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        uses |= {"key_cert_sign": True, "crl_sign": True} if is_ca else {"digital_signature": True}
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**uses), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False
            )
        )
        purposes = {
            "sign": x509.ExtendedKeyUsageOID.EMAIL_PROTECTION,
            "server": x509.ExtendedKeyUsageOID.SERVER_AUTH,
        }
        if not is_ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purposes[purpose]]), True)
        return builder.sign(by, hashes.SHA256())

    root_key = kinds["p256"]()
    root = certify("Root", root_key, "Root", root_key, purpose="ca").public_bytes(pem)

    def issue(
        kind: str = "p256", *, password: bytes | None = None, sec1: bool = False, **changes: Any
    ) -> tuple[Path, Path]:
        key, folder = kinds[kind](), tmp_path_factory.mktemp("keys")
        certificate = certify("Artist", key, "Root", root_key, **changes)
        (folder / "chain.pem").write_bytes(certificate.public_bytes(pem) + root)
        how = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.TraditionalOpenSSL if sec1 else pkcs8
        (folder / "key.pem").write_bytes(key.private_bytes(pem, form, how))
        return folder / "chain.pem", folder / "key.pem"

    return Authority(issue=issue, pem=root.decode())


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop and two textures by a model."""
    folder = tmp_path_factory.mktemp("work") / "pack"
    generator = torch.Generator().manual_seed(0)
    for number, prompt in enumerate(PROMPTS):
        wav = 0.1 * torch.randn(2, RATE, generator=generator)
        is_loop = number == 0
        take = Take(
            prompt=prompt,
            seed=number,
            seconds=1.0,
            loop=is_loop,
            tempo=Tempo(bpm=60.0, bars=1, beats_per_bar=1) if is_loop else None,
            model="small",
            model_digest="ab" * 8,
            licences={"CC0-1.0": 4, "CC-BY-4.0": 2},
            sample_rate=RATE,
        )
        write_take(folder / f"{number}.wav", wav, take)
    return folder


def read_back(c2pa: Any, path: Path) -> tuple[str, dict[str, Any], set[str]]:
    """State of the signature, the manifest, and what is wrong with it, by C2PA's own reader."""
    with c2pa.Reader(str(path)) as reader:
        results = reader.get_validation_results()["activeManifest"]
        manifest: dict[str, Any] = reader.get_active_manifest()
        return reader.get_validation_state(), manifest, {one["code"] for one in results["failure"]}


@pytest.mark.parametrize("audio_format", ["wav24", "wav16", "flac"])
def test_a_signed_file_tells_how_it_was_made_and_is_otherwise_the_same(
    c2pa: Any,
    authority: Authority,
    pack: Path,
    tmp_path: Path,
    audio_format: Literal["wav24", "wav16", "flac"],
) -> None:
    request = ExportRequest(to=tmp_path / "plain", audio_format=audio_format)
    plain = export_pack(pack, request)
    keys = authority.issue()
    signed = export_pack(
        pack, ExportRequest(to=tmp_path / "signed", audio_format=audio_format, sign=keys)
    )
    suffix = ".flac" if audio_format == "flac" else ".wav"
    files = sorted(signed.rglob(f"*{suffix}"))
    assert len(files) == len(PROMPTS)
    told = {}
    for path in files:
        before = plain / path.relative_to(signed)
        for reader in (read_audio, lambda file: soundfile.read(file, dtype="int32")):
            (one, rate), (other, other_rate) = reader(before), reader(path)
            assert rate == other_rate
            assert (torch.as_tensor(one) == torch.as_tensor(other)).all()
        if suffix == ".wav":
            assert read_chunks(path) == read_chunks(before)
        state, manifest, failures = read_back(c2pa, path)
        assert (state, failures) == ("Valid", {"signingCredential.untrusted"})
        assert manifest["title"] == path.name
        assert manifest["claim_generator_info"][0]["name"] == "audiogen"
        [actions] = [one for one in manifest["assertions"] if one["label"] == "c2pa.actions.v2"]
        [action] = actions["data"]["actions"]
        assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", TRAINED)
        assert action["softwareAgent"]["name"] == "audiogen"
        facts = action["parameters"]
        assert (facts["model"], facts["model_digest"]) == ("small", "ab" * 8)
        assert facts["licences"] == ["CC-BY-4.0", "CC0-1.0"]
        told[facts["seed"]] = facts["prompt"]
    assert told == {"0": PROMPTS[0], "1": PROMPTS[1].replace("\n", " ").strip(), "2": PROMPTS[2]}
    assert not list(signed.rglob("*.tmp-*"))
    secret = keys[1].read_bytes().splitlines()[1]
    assert all(secret not in path.read_bytes() for path in signed.rglob("*") if path.is_file())


def test_wavinfo_reads_the_chunks_of_a_signed_file(
    c2pa: Any, authority: Authority, pack: Path, tmp_path: Path
) -> None:
    wavinfo = pytest.importorskip("wavinfo", reason="wavinfo is not installed")
    out = export_pack(pack, ExportRequest(to=tmp_path / "out", sign=authority.issue()))
    [loop] = (out / "Loops").glob("*.wav")
    assert read_back(c2pa, loop)[0] == "Valid"
    found = wavinfo.WavInfoReader(loop, info_encoding="utf-8")
    assert found.info.title == found.bext.description == PROMPTS[0]
    assert (found.smpl.sample_loops[0].start, found.smpl.sample_loops[0].end) == (0, 47_999)
    assert found.data.frame_count == 48_000


def test_with_the_authority_on_its_list_a_reader_trusts_the_file_until_it_changes(
    c2pa: Any, authority: Authority, pack: Path, tmp_path: Path
) -> None:
    out = export_pack(pack, ExportRequest(to=tmp_path / "out", sign=authority.issue()))
    path = next((out / "Textures").glob("*.wav"))
    trust = {"trust": {"user_anchors": authority.pem}, "verify": {"verify_trust": True}}
    with c2pa.Reader(str(path), context=c2pa.Context.from_dict(trust)) as reader:
        assert reader.get_validation_state() == "Trusted"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1  # a sample
    path.write_bytes(content)
    state, _, failures = read_back(c2pa, path)
    assert (state, "assertion.dataHash.mismatch" in failures) == ("Invalid", True)


@pytest.mark.usefixtures("c2pa")
@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa"])
def test_usual_keys_can_sign(authority: Authority, kind: str) -> None:
    load_signer(*authority.issue(kind))
    if kind == "p256":
        load_signer(*authority.issue(kind, sec1=True))


@pytest.mark.usefixtures("c2pa")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"starts": -60}, "not today"),
        ({"starts": 10}, "not today"),
        ({"password": b"secret"}, "the key is encrypted"),
        ({"kind": "other"}, "expected a key of"),
        ({"purpose": "server"}, "chain.pem: "),
        ({"purpose": "ca"}, "chain.pem: "),
        ("swapped", "not a certificate in PEM"),
        ("garbage", "not a certificate in PEM"),
        ("other key", "is not that of the key"),
        ("no key", "not a private key in PEM"),
    ],
)
def test_what_cannot_sign_is_refused_before_anything_is_written(
    authority: Authority,
    pack: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wrong: str | dict[str, Any],
    said: str,
) -> None:
    certificate, key = authority.issue(**(wrong if isinstance(wrong, dict) else {}))
    secret = key.read_text().splitlines()[1]
    match wrong:
        case "swapped":
            certificate, key = key, certificate
        case "garbage":
            certificate.write_bytes(b"\x00\xff" * 40)
        case "other key":
            _, key = authority.issue()
        case "no key":
            key.write_text(key.read_text().replace(secret[:8], "A" * 8))
    with pytest.raises(ValueError, match=said) as caught:
        export_pack(pack, ExportRequest(to=tmp_path / "out", sign=(certificate, key)))
    assert len(str(caught.value).splitlines()) <= 4
    assert secret[8:] not in str(caught.value) + caplog.text
    assert list(tmp_path.iterdir()) == []


def test_what_no_model_is_known_to_have_made_is_not_signed(
    authority: Authority, tmp_path: Path
) -> None:
    wav = 0.1 * torch.randn(1, RATE)
    write_audio(tmp_path / "pack" / "field.wav", wav, RATE)
    request = ExportRequest(to=tmp_path / "out", sign=authority.issue())
    with pytest.raises(ValueError, match=r"field\.wav: no JSON file tells which model made it"):
        export_pack(tmp_path / "pack", request)
    assert not (tmp_path / "out").exists()


def test_edits_are_not_told_to_be_a_models_alone() -> None:
    def source(edit: Edit | None) -> str:
        take = Take(prompt="rain", seed=0, seconds=1.0, edit=edit)
        [assertion] = provenance(take, "a.wav", 0.0)["assertions"]
        text: str = assertion["data"]["actions"][0]["digitalSourceType"]
        return text.rpartition("/")[2]

    assert source(None) == "trainedAlgorithmicMedia"
    assert source(Edit(operation="extend", sources=())) == "compositeWithTrainedAlgorithmicMedia"


def test_where_the_library_is_missing_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, pack: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    request = ExportRequest(to=tmp_path / "out", sign=(tmp_path / "c.pem", tmp_path / "k.pem"))
    with pytest.raises(ValueError, match=r"run: pip install 'audiogen\[c2pa\]'") as caught:
        export_pack(pack, request)
    assert len(str(caught.value).splitlines()) <= 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("c2pa")
def test_the_command_takes_certificate_and_key(
    authority: Authority, pack: Path, tmp_path: Path
) -> None:
    given = ["export", str(pack), "--to", str(tmp_path / "out"), "--sign"]
    result = CliRunner().invoke(texture, [*given, *map(str, authority.issue())])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").rglob("*.wav"))) == len(PROMPTS)
