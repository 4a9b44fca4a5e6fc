"""Structure of the source: lines, modules, levels and imports of each package.

    python -m benchmarks.structure                     # this checkout
    python -m benchmarks.structure --before OTHER      # beside another checkout
    python -m benchmarks.structure --json FILE

A package is a folder with modules, subpackages counted by themselves. An *import* is one module
naming another, inside functions too; imports for type checking alone do not count. *Levels* are
the longest chain of imports inside a package. The *walk* of an entry point is the longest chain of
imports that starts there, and its *reach* every module that it can come to.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

Graph = dict[str, set[str]]
"""Modules, by dotted name below ``tumorlens``, with those that each imports."""

ENTRIES = {
    "tumorlens train": ("cli.train",),
    "POST /predict": ("serving.api.predict", "serving.routes"),
}


@dataclass(frozen=True)
class Package:
    """Size, depth and imports of one package."""

    modules: int
    lines: int
    levels: int
    imports_inside: int
    imports_outside: int


@dataclass(frozen=True)
class Structure:
    """One checkout."""

    lines: dict[str, int]
    packages: dict[str, Package]
    circles: list[list[str]]
    walks: dict[str, dict[str, int | list[str]]]


def measure(root: Path) -> Structure:
    """Measure the checkout at ``root``; `SystemExit` where it holds no ``src/tumorlens``."""
    source = root / "src" / "tumorlens"
    if not source.is_dir():
        raise SystemExit(f"{root}: no src/tumorlens there; give the root of a checkout")
    files = {_dotted(path, source): path for path in sorted(source.rglob("*.py"))}
    graph = {name: set(_imported(path, name, files)) - {name} for name, path in files.items()}
    folders: dict[str, list[str]] = {}
    for name, path in files.items():
        if path.name != "__init__.py":
            folders.setdefault(".".join(path.relative_to(source).parts[:-1]), []).append(name)
    packages = {
        folder or "tumorlens": _package(members, files, graph)
        for folder, members in sorted(folders.items())
    }
    circles = [sorted(each) for each in _components(graph) if len(each) > 1]
    return Structure(_all_lines(root), packages, circles, _walks(graph))


def _all_lines(root: Path) -> dict[str, int]:
    kinds: dict[str, Iterable[Path]] = {
        "source (.py)": (root / "src").rglob("*.py"),
        "source (web, settings)": (
            path
            for kind in ("*.js", "*.css", "*.html", "*.j2", "*.yaml")
            for path in (root / "src").rglob(kind)
        ),
        "tests": (root / "tests").rglob("*.py"),
        "benchmarks": (root / "benchmarks").rglob("*.py"),
        "docs (.md)": [*(root / "docs").rglob("*.md"), *root.glob("*.md")],
    }
    return {kind: sum(_lines(path) for path in paths) for kind, paths in kinds.items()}


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def _dotted(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def _imported(path: Path, name: str, files: dict[str, Path]) -> Iterator[str]:
    for module in _named(ast.parse(path.read_text("utf-8"))):
        if module in files:
            yield module


def _named(node: ast.AST) -> Iterator[str]:
    """Yield every module of ``tumorlens`` that an import below ``node`` may refer to."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (
                a.name.partition(".")[2] for a in child.names if a.name.startswith("tumorlens.")
            )
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("tumorlens"):
            base = (child.module or "").partition(".")[2]
            inside = [f"{base}.{alias.name}".lstrip(".") for alias in child.names]
            yield from ([base, *inside] if base else inside)
        else:
            yield from _named(child)


def _package(members: list[str], files: dict[str, Path], graph: Graph) -> Package:
    own = set(members)
    inside = {name: graph[name] & own for name in members}
    return Package(
        modules=len(members),
        lines=sum(_lines(files[name]) for name in members),
        levels=max(len(_longest(name, inside)) for name in members),
        imports_inside=sum(map(len, inside.values())),
        imports_outside=sum(len(graph[name] - own) for name in members),
    )


def _longest(start: str, graph: Graph) -> list[str]:
    """Return the longest chain of imports from a module; each module occurs once."""
    circle = {name: frozenset(each) for each in _components(graph) for name in each}

    @cache
    def below(group: frozenset[str]) -> tuple[str, ...]:
        after = {circle[to] for name in group for to in graph[name]} - {group}
        return (*sorted(group), *max((below(each) for each in after), key=len, default=()))

    return list(below(circle[start]))


def _components(graph: Graph) -> list[set[str]]:
    """Return strongly connected components (Tarjan, SIAM J. Comput. 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for to in sorted(graph[name]):
            if to not in index:
                visit(to)
                low[name] = min(low[name], low[to])
            elif to in stack:
                low[name] = min(low[name], index[to])
        if low[name] == index[name]:
            at = stack.index(name)
            found.append(set(stack[at:]))
            del stack[at:]

    sys.setrecursionlimit(10_000)
    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def _walks(graph: Graph) -> dict[str, dict[str, int | list[str]]]:
    walks: dict[str, dict[str, int | list[str]]] = {}
    for entry, names in ENTRIES.items():
        start = next((name for name in names if name in graph), None)
        if start is None:
            continue
        chain = _longest(start, graph)
        reached, waiting = {start}, [start]
        while waiting:
            new = graph[waiting.pop()] - reached
            reached |= new
            waiting += new
        walks[entry] = {"longest": len(chain), "reach": len(reached), "chain": chain}
    return walks


def show(now: Structure, before: Structure | None) -> None:
    """Print the tables in Markdown, with those of the earlier checkout if given."""

    def beside(value: object, old: object) -> str:
        return f"{value}" if before is None else f"{old} → {value}"

    print("| | lines |\n|---|---|")
    for kind, count in now.lines.items():
        print(f"| {kind} | {beside(count, before and before.lines.get(kind, 0))} |")
    print("\n| package | modules | lines | levels | imports inside | imports outside |")
    print("|---|---|---|---|---|---|")
    tables = [("", now.packages)] if before is None else [
        ("before: ", before.packages), ("", now.packages)
    ]  # fmt: skip
    for when, packages in tables:
        for name, package in packages.items():
            print(f"| {when}`{name}` | " + " | ".join(map(str, asdict(package).values())) + " |")
    print("\n| entry | longest walk, files | reach, files |\n|---|---|---|")
    for entry, walk in now.walks.items():
        old = before.walks.get(entry, {}) if before else {}
        print(f"| `{entry}` | {beside(walk['longest'], old.get('longest'))} | "
              f"{beside(walk['reach'], old.get('reach'))} |")  # fmt: skip
    print(f"\ncircles: {beside(len(now.circles), before and len(before.circles))}")


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structure")
    parser.add_argument("root", nargs="?", type=Path, default=Path())
    parser.add_argument("--before", type=Path, help="root of another checkout to compare with")
    parser.add_argument("--json", type=Path, help="also write the results to this JSON file")
    given = parser.parse_args()
    now = measure(given.root)
    before = measure(given.before) if given.before else None
    show(now, before)
    if given.json:
        told = {"now": asdict(now), "before": asdict(before) if before else None}
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
