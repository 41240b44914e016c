"""The package's shape is tested: layers, sizes, names, and nothing that runs code from data."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "audiogen"
LAYERS = (  # a module may import from its own package and from rows above it, never from below
    {"items", "limits", "devices"},
    {"types", "seeds", "trees", "schema", "storage", "seal", "library", "run_folder", "locking"},
    {"audio", "pages"},
    {"nn", "judge"},
    {"codecs", "conditioning"},
    {"generators", "data"},
    {"experiment", "start", "train_config", "take_request"},
    {"stage_settings", "tune"},
    {"model_folder", "remaking"},
    {"pipeline"},
    {"takes", "clip_batch"},
    {"provenance"},
    {"evaluation"},
    {"training", "adapter"},
    {"pack"},
    {"cli"},
    {"__main__", "__init__"},
)
RANK = {name: row for row, names in enumerate(LAYERS) for name in names}
SAME_ROW = {
    ("schema", "trees"),  # a typed file is read as a tree first
    ("seal", "storage"),  # what is sealed has been written
    ("locking", "storage"),  # a folder that refuses the lock is told as any other
    ("run_folder", "trees"),  # how far a run is, its settings tell
    ("run_folder", "library"),  # a model may be called by its name there
    ("run_folder", "seal"),  # the names of weights come from seals
    ("experiment", "train_config"),
    ("experiment", "start"),  # where training begins is a setting
    ("train_config", "start"),
    ("pages", "audio"),  # spectrograms are drawn of sounds
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc", "core", "base_utils"}
CODE_FROM_DATA = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {
    "torch.load",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "os.system",
    "eval",
    "exec",
}
BANNED_TRUE = {"shell", "allow_pickle", "trust_remote_code"}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "tools").rglob("*.py"))]


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def home(path: Path) -> str:
    """Return the top-level package or module that `path` belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Return the names directly under `audiogen` that a module imports, wherever it does so."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    below = {name.split(".")[1] for name in names if name.startswith("audiogen.")}
    return below - {"__version__"}  # stands in `__init__` for all, and needs no import


def upward(tree: ast.Module, of: str) -> set[str]:
    """Return what a module of the package or module `of` imports from its own row or below it."""
    return {
        name
        for name in imported(tree) - {of}
        if RANK[name] >= RANK[of] and (of, name) not in SAME_ROW
    }


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a command of the CLI, whose parameters are the options."""
    names = (ast.unparse(decorator) for decorator in function.decorator_list)
    return any(name.endswith(".command()") for name in names)


def oversized(tree: ast.Module) -> list[str]:
    """Return the functions that are too long or take too many parameters."""
    found = []
    for function in functions(tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        given = function.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        count = len([one for one in parameters if one.arg not in {"self", "cls"}])
        if lines > MAX_FUNCTION_LINES:
            found.append(f"{function.name}: {lines} lines")
        if count > MAX_PARAMETERS and not is_command(function):
            found.append(f"{function.name}: {count} parameters")
    return found


def banned(tree: ast.Module) -> list[str]:
    """Return what a module uses that could run code from data, with its line."""
    found = []
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names} & CODE_FROM_DATA
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {node.module.split(".")[0]} & CODE_FROM_DATA
            names |= {f"{node.module}.{alias.name}" for alias in node.names} & BANNED_CALLS
        elif isinstance(node, ast.Call):
            names = {ast.unparse(node.func)} & BANNED_CALLS
        elif isinstance(node, ast.Attribute):
            names = {ast.unparse(node)} & BANNED_CALLS
        elif isinstance(node, ast.keyword) and node.arg in BANNED_TRUE:
            is_off = isinstance(node.value, ast.Constant) and node.value.value is False
            names = set() if is_off else {f"{node.arg}={ast.unparse(node.value)}"}
        found += [f"line {getattr(node, 'lineno', '?')}: {name}" for name in sorted(names)]
    return found


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_point_down(path: Path) -> None:
    tree = parse(path)
    unknown = ({home(path)} | imported(tree)) - set(RANK)
    assert not unknown, f"not in the table of layers: {sorted(unknown)}"
    assert not upward(tree, home(path)), f"{path.name} imports from its own layer or below"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_module_is_small_and_named_for_one_idea(path: Path) -> None:
    assert not set(path.relative_to(ROOT).with_suffix("").parts) & FORBIDDEN_NAMES
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_functions_are_small(path: Path) -> None:
    assert oversized(parse(path)) == []


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_no_code_comes_from_data(path: Path) -> None:
    assert banned(parse(path)) == []


def third_party(tree: ast.Module) -> set[str]:
    """Return the top-level packages of others that a module imports, wherever it does so."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
    return names - sys.stdlib_module_names - {"audiogen"}


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras if name != "dev")]
    declared = {re.split(r"[^\w-]", one)[0].lower() for names in lists for one in names}
    imported_ = set().union(*(third_party(parse(path)) for path in MODULES))
    known = packages_distributions()
    undeclared = {
        name
        for name in imported_
        if name not in declared and not {d.lower() for d in known.get(name, [])} & declared
    }
    assert undeclared <= {"c2pa"}  # an extra that may not be installed: of c2pa-python
    assert {"torch", "yaml", "sklearn", "PIL", "llvmlite"} <= imported_


def test_the_checks_themselves_find_what_they_look_for() -> None:
    long_body = "\n".join("    x = 1" for _ in range(MAX_FUNCTION_LINES))
    assert oversized(ast.parse(f"def f():\n{long_body}")) == ["f: 61 lines"]
    assert oversized(ast.parse("def f(a, b, c, d, e, f, g, h, *, i): ...")) == ["f: 9 parameters"]
    assert oversized(ast.parse("def f(self, b, c, d, e, f, g, h, i): ...")) == []
    assert upward(ast.parse("from audiogen.training.loop.ema import Ema"), "codecs") == {"training"}
    assert upward(ast.parse("def f():\n    from audiogen import pipeline"), "nn") == {"pipeline"}
    assert upward(ast.parse("from audiogen.nn.dit import DiT"), "codecs") == set()
    for line in (
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "from torch import load",
        "read = yaml.load",
        "run(command, shell=True)",
        "np.load(path, allow_pickle=flag)",
        "eval(text)",
    ):
        assert banned(ast.parse(line)), line
    assert banned(ast.parse("yaml.safe_load(text); model.eval(); run(c, shell=False)")) == []
