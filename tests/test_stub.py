"""_raylet.pyi says what the extension has: each public name of the one is a name of the other."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import pytest

from cyray import _raylet

STUB = ast.parse((Path(_raylet.__file__).parent / "_raylet.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def names_in(body: list[ast.stmt]) -> set[str]:
    """What these statements define, but for private names and those of Python itself."""
    found = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return {name for name in found if not name.startswith("_")}


def public(names: object) -> set[str]:
    return {
        name
        for name in dir(names)
        if not name.startswith("_") and not isinstance(getattr(names, name), types.ModuleType)
    }


def test_the_stub_has_every_name_of_the_extension_and_no_other():
    assert names_in(STUB.body) == public(_raylet)


@pytest.mark.parametrize("name", CLASSES)
def test_the_stub_has_every_member_of_a_class_and_no_other(name):
    found = getattr(_raylet, name)
    of_python = [base for base in found.__mro__ if base.__module__ == "builtins"]
    assert names_in(CLASSES[name].body) == public(found).difference(*map(dir, of_python))


def test_parameters_are_called_as_the_stub_says():
    for node in STUB.body:
        function = getattr(_raylet, getattr(node, "name", ""), None)
        if isinstance(node, ast.FunctionDef) and hasattr(function, "__code__"):
            code = function.__code__
            count = code.co_argcount + code.co_kwonlyargcount
            given = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            assert given == list(code.co_varnames[:count]), node.name
