"""Who may import whom in python/cyray: rooms in an order, no circles, one door upwards out of the core.

Usage: `python tools/check_layers.py`. Prints one line a breach and exits with 1 when there is any. Reads
the `.py` files (every import counts, also one inside a function; those for type checkers do not), the text
of `_raylet.pyx` and its parts, and the table of `_hooks.py`. docs/python.md says what each room is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "cyray"
# From the ground up. A room imports rooms above its line in this list, and itself; rooms of one line do
# not know each other.
ROOMS = (
    ("_hooks", "_compat", "_process"),
    ("_os",),
    ("_spec",),
    ("_pickle",),
    ("_errors",),
    ("_raylet",),
    ("_node",),
    ("_driver", "_worker"),
    ("_api",),
    ("", "actor", "exceptions"),  # "": cyray/__init__.py
    ("util", "cluster_utils", "test_utils"),
    ("accelerators", "_private"),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
CORE = f"{PACKAGE}._raylet"
DOOR = f"{PACKAGE}._hooks"
BELOW_CORE = {DOOR, f"{PACKAGE}._compat"}

Imports = dict[str, dict[str, int]]  # module -> imported module -> line


def room_of(module: str) -> str:
    """`cyray._node.local` -> `_node`, `cyray` -> ``."""
    return module.split(".")[1] if "." in module else ""


def modules_in(root: Path) -> dict[str, Path]:
    """The modules of the package by name; `cyray._raylet` is the .pyx."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    found[CORE] = root / "_raylet.pyx"
    return found


def imports_of_python(source: str, known: set[str], package: str) -> dict[str, int]:
    """What a module imports of the package, with the line."""
    found: dict[str, int] = {}
    for node in reachable(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            full = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in full]
        else:
            continue
        for name in names:
            if name in known:
                found.setdefault(name, node.lineno)
    return found


def reachable(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from reachable(other)
        else:
            yield from reachable(child)


def imports_of_cython(source: str, known: set[str]) -> dict[str, int]:
    """What Cython text imports of the package at run time; `cimport` is the compiler's."""
    found: dict[str, int] = {}
    for number, line in enumerate(source.splitlines(), 1):
        match = re.match(rf"\s*from ({PACKAGE}[\w.]*) import ([\w, ]+)", line)
        if match:
            names = [f"{match[1]}.{name.split()[0]}" for name in match[2].split(",")]
            names = [name if name in known else match[1] for name in names]
        else:
            match = re.match(rf"\s*import ({PACKAGE}[\w.]*)", line)
            names = [match[1]] if match else []
        for name in names:
            if name in known:
                found.setdefault(name, number)
    return found


def read_imports(root: Path) -> Imports:
    """The graph of a package's folder."""
    modules = modules_in(root)
    known = set(modules)
    graph: Imports = {}
    for module, path in modules.items():
        if module == CORE:
            graph[module] = {}
            for part in [path, *sorted(root.glob("includes/*.pxi"))]:
                if part.exists():
                    graph[module].update(imports_of_cython(part.read_text(), known))
        else:
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            graph[module] = imports_of_python(path.read_text(), known, package)
            graph[module].pop(module, None)
    return graph


def breaches_of_order(graph: Imports) -> Iterator[str]:
    """Imports that go up or sideways, and modules that have no room."""
    for module, imported in graph.items():
        room = room_of(module)
        if room not in RANK:
            yield f"{module}: the room {room!r} is not in the list of tools/check_layers.py"
            continue
        for other, line in imported.items():
            target = room_of(other)
            if module == CORE and other not in BELOW_CORE:
                yield f"{module}:{line}: the core imports {other}; its only door is {DOOR}"
            elif target in RANK and target != room and RANK[target] >= RANK[room]:
                yield f"{module}:{line}: {room or PACKAGE!r} may not import {other}"


def circles(graph: Imports) -> list[list[str]]:
    """Groups of modules that import each other, directly or by others (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def names_defined(source: str) -> set[str]:
    """Functions, classes and variables at the top of a module."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def read_hooks(source: str) -> tuple[dict[str, str], list[str]]:
    """The table of the door, and the modules that workers are to have."""
    table: dict[str, str] = {}
    needed: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "TABLE":
                table = ast.literal_eval(node.value)
            elif node.targets[0].id == "WORKERS_NEED":
                needed = list(ast.literal_eval(node.value))
    return table, needed


def breaches_of_hooks(root: Path) -> Iterator[str]:
    """Hooks that lead nowhere, are asked for and not there, or are there and not asked for."""
    modules = modules_in(root)
    table, needed = read_hooks(modules[DOOR].read_text())
    for name, target in table.items():
        module, _, attribute = target.partition(":")
        if module not in modules or attribute not in names_defined(modules[module].read_text()):
            yield f"{DOOR}: {name!r} leads to {target}, which is not there"
    for module in needed:
        if module not in modules:
            yield f"{DOOR}: workers need {module}, which is not there"
    used: set[str] = set()
    for part in sorted(root.glob("includes/*.pxi")):
        used |= set(re.findall(r'\bhook\("(\w+)"\)', part.read_text()))
    for name in sorted(used - set(table)):
        yield f"{CORE}: hook({name!r}) is not in the table of {DOOR}"
    for name in sorted(set(table) - used):
        yield f"{DOOR}: nothing asks for {name!r}"


def breaches(root: Path) -> list[str]:
    graph = read_imports(root)
    found = list(breaches_of_order(graph))
    found += [f"a circle: {', '.join(group)}" for group in circles(graph)]
    found += breaches_of_hooks(root)
    return found


def main() -> int:
    found = breaches(ROOT / "python" / PACKAGE)
    for breach in found:
        print(breach)
    print(f"rooms of python/{PACKAGE}: {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
