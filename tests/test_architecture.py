"""Rules of the architecture that no reviewer should have to check by eye."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.structure import measure

from tumorlens import errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "tumorlens"

# level, package, the packages it may import; docs/architecture.md shows the same table.
TABLE: dict[str, tuple[int, frozenset[str]]] = {
    package: (level, frozenset(below.split()))
    for level, package, below in [
        (8, "cli",
         "workflows training reporting serving bench client evaluation calibration export runs "
         "jobs dicom seriesreport fhir pacs deidentification "
         "inference ood data augmentation modelfile plots volumes imaging metrics atomic errors"),
        (7, "workflows",
         "training reporting evaluation export runs drift inference ood data augmentation "
         "modelfile plots imaging metrics models atomic errors"),
        (7, "client", "serving errors"),
        (6, "training",
         "runs inference data augmentation modelfile metrics "
         "models imaging atomic errors"),
        (6, "reporting",
         "pages runs inference data modelfile plots imaging "
         "metrics models atomic errors"),
        (6, "serving", "drift dicom seriesreport fhir inference modelfile volumes imaging errors"),
        (6, "pacs", "dicom inference volumes imaging atomic errors"),
        (6, "bench", "inference modelfile imaging models errors"),
        (5, "evaluation",
         "pages inference data modelfile plots imaging metrics models atomic errors"),
        (5, "dicom", "inference modelfile volumes imaging atomic errors"),
        (5, "seriesreport", "pages inference modelfile volumes metrics errors"),
        (5, "fhir", "inference modelfile volumes errors"),
        (5, "calibration", "drift inference data modelfile imaging metrics errors"),
        (5, "export", "inference ood modelfile imaging models atomic errors"),
        (5, "jobs", "inference modelfile volumes imaging atomic errors"),
        (5, "runs", "inference data augmentation modelfile plots imaging metrics atomic errors"),
        (4, "inference", "modelfile pages volumes imaging metrics errors"),
        (4, "data", "pages volumes imaging metrics atomic errors"),
        (4, "deidentification", "volumes imaging atomic errors"),
        (4, "drift", "modelfile metrics errors"),
        (4, "ood", "augmentation imaging metrics models errors"),
        (3, "augmentation", "errors"),
        (3, "modelfile", "pages imaging metrics atomic errors"),
        (3, "plots", "metrics errors"),
        (3, "volumes", "imaging errors"),
        (2, "imaging", "errors"),
        (2, "metrics", "errors"),
        (2, "models", "errors"),
        (1, "pages", "errors"), (1, "atomic", "errors"),
        (0, "errors", ""),
    ]
}  # fmt: skip

# What the packages of the base install may import from outside, at module level.
BASE_PACKAGES: dict[str, frozenset[str]] = {
    package: frozenset(names.split())
    for package, names in {
        "cli": "typer click rich pydantic",
        "serving": "fastapi starlette uvicorn pydantic pydantic_settings structlog "
        "prometheus_client dotenv python_multipart asgi_correlation_id numpy cv2 isal",
        "bench": "cv2 numpy",
        "client": "httpx pydantic",
        "evaluation": "cv2 numpy",
        "calibration": "numpy",
        "drift": "cv2 numpy",
        "jobs": "",
        "seriesreport": "numpy cv2",
        "fhir": "",
        "inference": "onnxruntime cv2 numpy pydantic",
        "data": "numpy cv2",
        "modelfile": "pydantic numpy",
        "deidentification": "numpy pydicom",
        "imaging": "numpy cv2 PIL pydicom tifffile",
        "volumes": "numpy cv2 pydicom nibabel",
        "metrics": "numpy cv2",
        "pages": "jinja2",
        "plots": "numpy",
        "atomic": "",
        "errors": "",
        "tumorlens": "",
    }.items()
}

# The same packages may import these inside functions: module → packages of an extra.
LAZY_EXTRAS: dict[str, frozenset[str]] = {
    "plots.curves": frozenset({"matplotlib", "seaborn"}),
    "plots.galleries": frozenset({"matplotlib"}),
    "plots.levels": frozenset({"matplotlib"}),
    "plots.style": frozenset({"matplotlib"}),
    "evaluation.localization.scores": frozenset({"torch"}),
    "evaluation.robustness": frozenset({"matplotlib"}),
    "evaluation.shortcuts.mirror": frozenset({"scipy"}),
    "evaluation.shortcuts.probes": frozenset({"sklearn"}),
    "data.download": frozenset({"kagglehub", "requests"}),
    "data.near_duplicates.search": frozenset({"faiss"}),
    "data.audit.shortcuts": frozenset({"sklearn"}),
    "deidentification.rules": frozenset({"dicomanonymizer"}),
    "volumes.itk": frozenset({"SimpleITK"}),
    "volumes.slices": frozenset({"scipy"}),
    "metrics.localization": frozenset({"scipy"}),
    "serving.observability.tracing": frozenset({"opentelemetry"}),
    "bench.forward": frozenset({"torch"}),
    "jobs.storage": frozenset({"fsspec"}),
    "jobs.tables": frozenset({"pyarrow"}),
    "jobs.encode": frozenset({"pyarrow"}),
    "jobs.local": frozenset({"cv2"}),
    "jobs.cluster": frozenset({"ray"}),
    "jobs.run": frozenset({"pyarrow", "ray"}),
}

# Modules of these packages that need torch as a whole: the others import them inside functions.
TORCH_MODULES = frozenset({"evaluation.localization.sanity", "evaluation.shortcuts.features"})

HEAVY = frozenset({"torch", "lightning", "monai", "matplotlib", "sklearn", "pandas", "scipy"})
PICKLES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"})


@dataclass(frozen=True)
class Import:
    """One imported module as the source names it, absolute."""

    name: str
    line: int
    lazy: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def below_tumorlens(self) -> str:
        return [*self.name.split("."), "tumorlens"][1]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "tumorlens"


def package_of(path: Path) -> str:
    return dotted(path).partition(".")[0]


def imports_of(path: Path) -> list[Import]:
    return list(_walk(ast.parse(path.read_text("utf-8")), path, lazy=False))


def _walk(node: ast.AST, path: Path, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from _from_import(child, path, lazy)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, path, lazy=lazy or inside or _typing_only(child))


def _from_import(node: ast.ImportFrom, path: Path, lazy: bool) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        here = ("tumorlens", *path.relative_to(PACKAGE).parts[:-1])
        above = here[: len(here) - node.level + 1]
        base = ".".join((*above, base) if base else above)
    if base == "tumorlens":  # `from tumorlens import errors` names the package after the import
        yield from (Import(f"tumorlens.{alias.name}", node.lineno, lazy) for alias in node.names)
    else:
        yield Import(base, node.lineno, lazy)


def _typing_only(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def found(path: Path, imported: Import) -> str:
    return f"{path.relative_to(ROOT)}:{imported.line} imports {imported.name}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", [("torch.nn", False)]),
        ("from torch import nn", [("torch", False)]),
        ("from tumorlens import errors", [("tumorlens.errors", False)]),
        ("from tumorlens.errors import InputError", [("tumorlens.errors", False)]),
        ("from .. import errors", [("tumorlens.errors", False)]),
        ("from .decode import decode", [("tumorlens.imaging.decode", False)]),
        ("def f():\n    import torch", [("torch", True)]),
        ("if TYPE_CHECKING:\n    import torch", [("torch", True)]),
        ("class A:\n    import torch", [("torch", False)]),
        ("try:\n    import torch\nexcept ImportError:\n    pass", [("torch", False)]),
    ],
)
def test_the_walk_sees_every_form_of_import(
    source: str, expected: list[tuple[str, bool]], tmp_path: Path
) -> None:
    here = PACKAGE / "imaging" / "preprocess.py"
    walked = list(_walk(ast.parse(source), here, lazy=False))
    assert [(found.name, found.lazy) for found in walked] == expected


def test_the_table_only_points_down() -> None:
    upward = [
        f"{package} (level {level}) may import {below} (level {TABLE[below][0]})"
        for package, (level, allowed) in TABLE.items()
        for below in allowed
        if TABLE[below][0] >= level
    ]
    assert not upward


def test_the_documented_table_is_this_one() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|([^|]*)\|$", text, re.MULTILINE)
    documented = {
        package: (int(level), frozenset(re.findall(r"`(\w+)`", below)))
        for level, package, below in rows
    }
    assert documented == TABLE


def test_every_package_stands_in_the_table() -> None:
    packages = {package_of(path) for path in modules()} - {"tumorlens", "conf", "__main__"}
    assert packages <= set(TABLE), f"not in the table: {sorted(packages - set(TABLE))}"


def test_packages_import_only_those_below_them() -> None:
    wrong = [
        found(path, imported)
        for path in modules()
        if (package := package_of(path)) in TABLE
        for imported in imports_of(path)
        if imported.package == "tumorlens"
        and imported.below_tumorlens
        not in {package, "tumorlens", "__version__"} | TABLE[package][1]
    ]
    assert not wrong, "the table allows none of these:\n" + "\n".join(wrong)


def test_base_packages_import_only_what_the_base_install_has() -> None:
    wrong = []
    for path in modules():
        allowed = BASE_PACKAGES.get(package_of(path))
        if allowed is None:
            continue
        if dotted(path) in TORCH_MODULES:
            allowed |= {"torch"}
        lazily = allowed | LAZY_EXTRAS.get(dotted(path), frozenset())
        for imported in imports_of(path):
            name = imported.package
            if name == "tumorlens" or name in sys.stdlib_module_names:
                continue
            if name not in (lazily if imported.lazy else allowed):
                wrong.append(found(path, imported))
    assert not wrong, "these packages come without extras:\n" + "\n".join(wrong)


def test_base_rooms_import_what_needs_torch_inside_functions() -> None:
    wrong = [
        found(path, imported)
        for path in modules()
        if package_of(path) in BASE_PACKAGES and dotted(path) not in TORCH_MODULES
        for imported in imports_of(path)
        if not imported.lazy and imported.package == "tumorlens"
        if imported.below_tumorlens == "models"
        or imported.name.removeprefix("tumorlens.") in TORCH_MODULES
    ]
    assert not wrong, "these modules come without torch:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "module",
    [
        "tumorlens",
        "tumorlens.cli",
        "tumorlens.serving.app",
        "tumorlens.evaluation.performance",
        "tumorlens.evaluation.robustness",
        "tumorlens.evaluation.localization.scores",
        "tumorlens.evaluation.shortcuts.suite",
    ],
)
def test_a_fresh_interpreter_imports_it_without_anything_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_the_command_line_starts_without_training_and_serving() -> None:
    code = "import sys, tumorlens.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert (
        not {
            "tumorlens.training",
            "tumorlens.workflows",
            "tumorlens.serving",
            "fastapi",
            "onnxruntime",
        }
        & loaded
    )


def test_no_package_has_a_name_that_says_nothing() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
    named = [path for path in modules() if drawers & set(dotted(path).split("."))]
    assert not named


def test_nothing_reads_or_writes_pickles() -> None:
    wrong = []
    for path in modules():
        wrong += [found(path, i) for i in imports_of(path) if i.package in PICKLES]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            flags = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            called = ast.unparse(node.func)
            if flags.get("allow_pickle") or (
                called == "torch.load" and flags.get("weights_only") is not True
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {called} with pickles")
    assert not wrong


def test_modules_are_short() -> None:
    lengths = {dotted(path): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_the_drawn_exception_tree_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    drawn: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+Error)\b", line):
            drawn.append((len(match[1]) // 4, match[2]))

    def real(kind: type[Exception], depth: int = 0) -> Iterator[tuple[int, str]]:
        yield depth, kind.__name__
        for below in kind.__subclasses__():
            if below.__module__ == errors.__name__:
                yield from real(below, depth + 1)

    assert drawn == list(real(errors.TumorLensError))


def test_no_package_is_too_large_too_deep_or_in_a_circle() -> None:
    structure = measure(ROOT)
    assert {n: p.modules for n, p in structure.packages.items() if p.modules > 20} == {}
    assert {n: p.levels for n, p in structure.packages.items() if p.levels > 6} == {}
    assert structure.circles == []
