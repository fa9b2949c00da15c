"""Who may import whom in python/cyray: rooms in an order, no circles, one door upwards out of the core.

Usage: `python tools/check_layers.py`. Prints one line a breach and exits with 1 when there is any. Reads
the `.py` files (every import counts, also one inside a function and one by name, out of a module's `_LAZY`
or with `import_module`; those for type checkers do not), the text of `_raylet.pyx` and its parts, and the
table of `_hooks.py`. docs/python.md says what each room is.
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
    ("_hooks", "_compat", "_ids", "_process"),
    ("_os",),
    ("_spec",),
    ("_pickle",),
    ("_errors",),
    ("_raylet",),
    ("_node",),
    ("_driver", "_worker"),
    ("_api",),
    # "": cyray/__init__.py
    ("", "actor", "dag", "exceptions", "internal", "remote_function", "runtime_context", "types"),
    ("util", "cluster_utils", "test_utils"),
    ("accelerators", "cloudpickle", "experimental", "_private"),
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
        elif isinstance(node, ast.Call):
            names = names_imported_by_call(node)
        elif isinstance(node, ast.Assign):
            names = list(read_lazy(node).values())
        else:
            continue
        for name in names:
            if name in known:
                found.setdefault(name, node.lineno)
    return found


def names_imported_by_call(node: ast.Call) -> list[str]:
    """The argument of `import_module("...")` or `__import__("...")`."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    called = node.func.id if isinstance(node.func, ast.Name) else called
    if called not in ("import_module", "__import__"):
        return []
    return [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]


def read_lazy(node: ast.AST) -> dict[str, str]:
    """The table of an assignment to `_LAZY`: name -> module; empty for what is none."""
    if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", "") != "_LAZY":
        return {}
    table: dict[str, str] = ast.literal_eval(node.value)
    return table


def is_for_type_checkers(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def reachable(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if is_for_type_checkers(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from reachable(other)
        else:
            yield from reachable(child)


# A statement begins its line, or follows another one or a colon; names may stand in parentheses, on
# several lines, with comments between them.
_FROM = re.compile(
    rf"(?:^|[;:])[ \t]*from\s+({PACKAGE}[\w.]*)\s+import\s*(\([^)]*\)|[^\n;]*)", re.M
)
_IMPORT = re.compile(r"(?:^|[;:])[ \t]*import\s+([^\n;(]*)", re.M)


def imports_of_cython(source: str, known: set[str]) -> dict[str, int]:
    """What Cython text imports of the package at run time; `cimport` is the compiler's."""
    # Without comments, and with continued lines as one; the numbers of lines stay.
    source = re.sub(r"#[^\n]*", "", source).replace("\\\n", " \n")
    found: dict[str, int] = {}
    for match in [*_FROM.finditer(source), *_IMPORT.finditer(source)]:
        if match.re is _FROM:
            parts = [part.split() for part in match[2].strip("() \n").split(",")]
            full = [f"{match[1]}.{part[0]}" for part in parts if part]
            names = [name if name in known else match[1] for name in full]
        else:
            names = [part.split()[0] for part in match[1].split(",") if part.strip()]
        line = source.count("\n", 0, match.start(1)) + 1
        for name in names:
            if name in known:
                found.setdefault(name, line)
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


def breaches_of_lazy_names(root: Path) -> Iterator[str]:
    """Names in a `_LAZY` that lead nowhere, or elsewhere than type checkers are told."""
    modules = modules_in(root)
    for module, path in modules.items():
        if module == CORE:
            continue
        lazy: dict[str, str] = {}
        told: dict[str, str] = {}
        for node in ast.parse(path.read_text()).body:
            lazy.update(read_lazy(node))
            if is_for_type_checkers(node):
                for part in ast.walk(node):
                    if isinstance(part, ast.ImportFrom):
                        told.update({alias.name: part.module or "" for alias in part.names})
        for name, target in lazy.items():
            if target not in modules or name not in names_defined(modules[target].read_text()):
                yield f"{module}: {name!r} leads to {target}, which has none"
            elif told.get(name) != target:
                yield f"{module}: type checkers are not told that {name!r} is of {target}"


def breaches(root: Path) -> list[str]:
    graph = read_imports(root)
    found = list(breaches_of_order(graph))
    found += [f"a circle: {', '.join(group)}" for group in circles(graph)]
    found += breaches_of_hooks(root)
    found += breaches_of_lazy_names(root)
    return found


def main() -> int:
    found = breaches(ROOT / "python" / PACKAGE)
    for breach in found:
        print(breach)
    print(f"rooms of python/{PACKAGE}: {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
