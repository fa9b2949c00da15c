"""Graphs of calls: bound first, run later, each step once a run, actors once a graph."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest
from support import eventually

import cyray
from cyray.dag import InputNode, MultiOutputNode
from cyray.exceptions import ActorDiedError
from cyray.util import list_named_actors

INIT = {"num_cpus": 2, "namespace": "graphs"}
pytestmark = pytest.mark.usefixtures("shared_session")


class Pair(NamedTuple):
    a: object
    b: object


@cyray.remote
def add(a, b=1):
    return a + b


@cyray.remote
def total(numbers, more=None):
    return sum(cyray.get(list(numbers))) + sum(cyray.get(list((more or {}).values())))


@cyray.remote
def fail(text):
    raise KeyError(text)


@cyray.remote(num_cpus=0)
class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, by=1):
        self.value += by
        return self.value

    @cyray.method(num_returns=2)
    def both(self, factor):
        return self.value, self.value * factor

    async def get(self):
        return self.value


@cyray.remote(num_cpus=0)
class Calls:
    """Remembers what it was called with."""

    def __init__(self):
        self.seen = []

    def see(self, what):
        self.seen.append(what)
        return what

    def all(self):
        return self.seen


def test_a_task_runs_when_its_graph_is_executed():
    calls = Calls.remote()
    step = calls.see.bind("once")
    assert cyray.get(calls.all.remote()) == []
    assert cyray.get(step.execute()) == "once"
    assert cyray.get(step.execute()) == "once"
    assert cyray.get(calls.all.remote()) == ["once", "once"]


def test_steps_are_arguments_of_steps():
    assert cyray.get(add.bind(add.bind(1), b=add.bind(2, 3)).execute()) == 7
    assert cyray.get(add.options(num_cpus=0, name="plus").bind(1, 2).execute()) == 3


def test_steps_in_containers_become_refs_in_containers_of_the_same_kind():
    graph = total.bind([add.bind(1), add.bind(2)], more={"x": add.bind(3)})
    assert cyray.get(graph.execute()) == 2 + 3 + 4

    @cyray.remote
    def kinds(pair, nested, plain):
        return type(pair).__name__, pair.b, type(nested[0]["x"][0]).__name__, plain

    graph = kinds.bind(Pair(add.bind(1), 5), [{"x": (add.bind(1),)}], [1, (2,)])
    assert cyray.get(graph.execute()) == ("Pair", 5, "ObjectRef", [1, (2,)])


def test_what_is_given_to_bind_is_what_runs():
    numbers = [add.bind(1), add.bind(2)]
    graph = total.bind(numbers)
    numbers.append(add.bind(100))
    assert cyray.get(graph.execute()) == 5


def test_a_list_with_itself_inside_is_an_argument_like_others():
    circle = [1]
    circle.append(circle)

    @cyray.remote
    def is_circle(value):
        return value[1] is value

    assert cyray.get(is_circle.bind(circle).execute())


def test_a_step_that_several_need_runs_once_a_run():
    calls = Calls.remote()
    shared = calls.see.bind(1)
    graph = total.bind([add.bind(shared), add.bind(shared), shared])
    assert cyray.get(graph.execute()) == 5
    assert cyray.get(calls.all.remote()) == [1]
    assert cyray.get(graph.execute()) == 5
    assert cyray.get(calls.all.remote()) == [1, 1]


def test_several_outputs():
    a, b = add.bind(1), add.bind(2)
    refs = MultiOutputNode([a, b, add.bind(a, b)]).execute()
    assert cyray.get(refs) == [2, 3, 5]


def test_a_deep_graph_is_no_deep_recursion():
    step = add.options(num_cpus=0).bind(0)
    for _ in range(1500):
        step = add.options(num_cpus=0).bind(step)
    assert cyray.get(step.execute()) == 1501


def test_the_input_of_a_graph():
    with InputNode() as inp:
        graph = add.bind(add.bind(inp), b=inp)
    assert cyray.get(graph.execute(2)) == 5
    assert cyray.get(graph.execute(cyray.put(10))) == 21, "a ref is replaced by its value"


def test_items_and_attributes_of_the_input():
    with InputNode() as inp:
        items = add.bind(inp["a"], b=inp["in"]["b"])
        several = add.bind(inp[0], b=inp.other)
        attribute = add.bind(inp.imag, inp.real)
    assert cyray.get(items.execute({"a": 1, "in": {"b": 2}})) == 3
    assert cyray.get(several.execute(1, 7, other=5)) == 6
    assert cyray.get(attribute.execute(3 + 4j)) == 7


def test_what_the_input_does_not_have_is_named():
    with InputNode() as inp:
        graph = add.bind(inp[1], b=inp.other)
        item = add.bind(inp["a"])
    with pytest.raises(IndexError, match=r"1 positional arguments.*number 1"):
        graph.execute(1, other=2)
    with pytest.raises(AttributeError, match="no argument named 'other'"):
        graph.execute(1, 2)
    with pytest.raises(KeyError, match="'a'"):
        item.execute({})
    with pytest.raises(TypeError, match=r"InputNode\['a'\]: the input is a ref"):
        item.execute(cyray.put({"a": 1}))


def test_the_actor_of_a_graph_is_made_once_and_ends_with_the_graph():
    actor = Counter.options(name="of-graph").bind(add.bind(9))
    graph = actor.add.bind()
    assert list_named_actors() == []
    assert cyray.get([graph.execute() for _ in range(3)]) == [11, 12, 13]
    assert list_named_actors() == ["of-graph"]
    assert cyray.get(cyray.get_actor("of-graph").get.remote()) == 13
    del actor, graph
    eventually(lambda: list_named_actors() == [])


def test_calls_of_an_actor_run_in_the_order_in_which_they_were_bound():
    one, two = Counter.bind(10), Counter.bind(10)
    assert cyray.get(one.get.bind().execute()) == 10
    one.add.bind(2)
    one.add.bind(4)
    two.add.bind(6)
    graph = add.bind(one.get.bind(), two.get.bind())
    assert cyray.get(graph.execute()) == 32


def test_an_actor_of_a_graph_is_an_argument_and_a_result():
    @cyray.remote
    def use(counter):
        return cyray.get(counter.add.remote(5))

    actor = Counter.bind()
    assert cyray.get(use.bind(actor).execute()) == 5
    assert cyray.get(actor.execute().get.remote()) == 5


def test_calls_of_an_actor_that_is_there():
    counter = Counter.remote(1)
    with InputNode() as inp:
        graph = counter.add.bind(add.bind(inp))
    assert [cyray.get(graph.execute(i)) for i in range(3)] == [2, 4, 7]


def test_methods_with_several_results():
    counter = Counter.remote(3)
    value, multiple = counter.both.bind(10)
    assert cyray.get(add.bind(value, multiple).execute()) == 33
    assert cyray.get(multiple.execute()) == 30
    refs = Counter.bind(2).both.options(name="both").bind(4).execute()
    assert cyray.get(refs) == [2, 8]


def test_generators_in_graphs():
    @cyray.remote
    def numbers(n):
        yield from range(n)

    @cyray.remote
    def collect(generator):
        return [cyray.get(ref) for ref in generator]

    assert [cyray.get(ref) for ref in numbers.bind(3).execute()] == [0, 1, 2]
    assert cyray.get(collect.bind(numbers.bind(3)).execute()) == [0, 1, 2]


def test_errors_of_steps_are_those_of_tasks():
    with pytest.raises(KeyError, match="why"):
        cyray.get(add.bind(fail.bind("why")).execute())

    class Failing:
        def __init__(self):
            raise ValueError("no")

        def method(self):
            pass

    with pytest.raises(ActorDiedError, match="no"):
        cyray.get(cyray.remote(Failing).bind().method.bind().execute())


def test_an_actor_of_a_graph_that_died_is_made_again_by_the_next_run():
    calls = Calls.remote()
    actor = Counter.bind(calls.see.bind(4))
    graph = add.bind(actor.add.bind(), actor.get.bind())
    assert [cyray.get(graph.execute()) for _ in range(2)] == [10, 12]
    first = actor.execute()
    cyray.kill(first)
    with pytest.raises(ActorDiedError, match="kill"):
        cyray.get(first.get.remote())
    assert [cyray.get(graph.execute()) for _ in range(2)] == [10, 12], "from the same arguments"
    assert actor.execute() != first
    assert cyray.get(calls.all.remote()) == [4, 4]


def test_an_actor_whose_constructor_failed_is_tried_again(tmp_path):
    @cyray.remote(num_cpus=0)
    class Opens:
        def __init__(self, path):
            self.text = path.read_text()

        def get(self):
            return self.text

    path = tmp_path / "settings"
    graph = Opens.bind(path).get.bind()
    with pytest.raises(ActorDiedError, match="No such file"):
        cyray.get(graph.execute())
    path.write_text("now")
    assert cyray.get(graph.execute()) == "now"


def test_graphs_run_in_tasks_and_from_several_threads():
    @cyray.remote
    def inside():
        actor = Counter.bind(1)
        return cyray.get([actor.add.bind().execute(), add.bind(1, 1).execute()])

    assert cyray.get(inside.remote()) == [2, 2]

    graph = Counter.bind().add.bind()
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(cyray.get(graph.execute())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 9)), "one actor for all of them"


def test_a_step_cannot_be_sent():
    with pytest.raises(TypeError, match="yet to be computed"):
        add.remote(add.bind(1))
    with pytest.raises(TypeError, match="yet to be computed"):
        cyray.put([add.bind(1)])
