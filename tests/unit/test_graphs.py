"""What `bind` refuses, and how a graph looks: nothing of it needs a node."""

from __future__ import annotations

import copy

import pytest

import cyray
from cyray.dag import (
    ClassMethodNode,
    ClassNode,
    DAGNode,
    FunctionNode,
    InputAttributeNode,
    InputNode,
    MultiOutputNode,
)


@cyray.remote
def add(a, b):
    return a + b


@cyray.remote
class Counter:
    def __init__(self, start):
        self.value = start

    def add(self, by):
        self.value += by

    @staticmethod
    def fixed(x):
        return x


def test_kinds_of_steps():
    with InputNode() as inp:
        step = add.bind(inp, b=2)
        steps = [
            step,
            Counter.bind(1),
            Counter.bind(1).add.bind(2),
            inp["a"],
            MultiOutputNode([step]),
        ]
    kinds = [FunctionNode, ClassNode, ClassMethodNode, InputAttributeNode, MultiOutputNode]
    assert [type(step) for step in steps] == kinds
    assert all(isinstance(step, DAGNode) for step in steps)
    assert step.get_args() == (inp,) and step.get_kwargs() == {"b": 2}
    assert add.options(num_cpus=2).bind(1, 2).get_options() == {"num_cpus": 2}
    assert Counter.options(num_cpus=2).bind(7).get_args() == (7,)
    assert [repr(step) for step in steps] == [
        "FunctionNode(add)",
        "ClassNode(Counter)",
        "ClassMethodNode(Counter.add)",
        "InputNode['a']",
        "MultiOutputNode([FunctionNode(add)])",
    ]
    assert repr(inp.x[0]) == "InputNode.x[0]"


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        (lambda: add.bind(1), "missing 1 required positional argument: 'b'"),
        (lambda: add.bind(1, 2, c=3), "unexpected keyword argument 'c'"),
        (lambda: Counter.bind(), "missing 1 required positional argument: 'start'"),
        (lambda: Counter.bind(1).add.bind(), "missing 1 required positional argument: 'by'"),
        (lambda: Counter.bind(1).fixed.bind(1, 2), "takes 1 positional argument but 2"),
        (lambda: MultiOutputNode(add.bind(1, 2)), "takes a list of steps"),
        (lambda: MultiOutputNode([add.bind(1, 2), 3]), "takes a list of steps"),
        (lambda: add.bind(1, 2).execute(1), "no InputNode is in the graph"),
        (lambda: add.bind(InputNode(), 2).execute(), "needs its value"),
        (lambda: list(InputNode()), "not iterable"),
        (lambda: copy.copy(add.bind(1, 2)), "yet to be computed"),
        (lambda: Counter.bind(1).add.options(num_returns="all"), "num_returns"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_bound(bind, text):
    with pytest.raises((TypeError, ValueError), match=text):
        bind()


@pytest.mark.parametrize("start", [InputNode(), InputNode()["a"], add.bind(InputNode(), 1)])
def test_an_actor_does_not_depend_on_the_input(start):
    with pytest.raises(ValueError, match="the actor is made once"):
        Counter.bind([start])


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: add.bind(1, 2).experimental_compile(), "Compiled graphs are not there"),
        (lambda: InputNode().experimental_compile(), "Compiled graphs are not there"),
        (lambda: Counter.bind(1).experimental_compile(), "Compiled graphs are not there"),
        (lambda: add.bind(1, 2).remote(), "execute"),
        (lambda: Counter.bind(1).add.remote(2), r"Counter.add.bind\(...\)"),
        (lambda: Counter.bind(1).bind(2), "bound already"),
        (lambda: Counter.bind(1).other, r"ClassNode\(Counter\) has no method 'other'"),
        (lambda: Counter.bind(1).__len__, "has no method"),
        (lambda: add.bind(1, 2).other, "'FunctionNode' has no attribute 'other'"),
        (lambda: InputNode()._private, "no attribute '_private'"),
    ],
)
def test_what_is_not_there_says_what_is(ask, text):
    with pytest.raises(AttributeError, match=text):
        ask()
