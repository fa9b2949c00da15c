"""What a cluster says of itself becomes sentences: steps, holders, cycles."""

from __future__ import annotations

from typing import Any

from cyray._driver.facts import Facts, number, seconds
from cyray._driver.why import explain

Row = dict[str, Any]
JOB = "01000000"


def task(number_: int, name: str, **more: Any) -> Row:
    return {"task_id": f"{number_:032x}", "name": name, "attempt": 1, **more}


def obj(made_by: Row | None = None, **more: Any) -> Row:
    found = {"object_id": (made_by or {"task_id": "f" * 32})["task_id"] + "01000000", **more}
    if made_by is not None:
        found["task"] = made_by
    return {"state": "pending", **found}


def run(of: Row, ms: int = 3_000) -> Row:
    return {"task_id": of["task_id"], "name": of["name"], "for_ms": ms}


def wait(*objects: Row, for_all: bool = True) -> Row:
    count = len(objects)
    return {"what": "objects", "for_all": for_all, "for_ms": 6_000, "size": count, "missing": count,
            "objects": list(objects)}  # fmt: skip


def process(worker: str, **more: Any) -> Row:
    return {"worker_id": worker, "job": JOB, "running": [], "waits": [], "pending": [], **more}


def node(*processes: Row, lent: Any = (), pending: Any = (), actors: Any = (), **more: Any) -> Row:
    used = sum(lease["resources"].get("CPU", 0) for lease in lent)
    rows = [
        {"worker_id": p["worker_id"], "pid": 100 + i, "job": p["job"], "state": "leased"}
        for i, p in enumerate(processes)
        if not p.get("driver")
    ]
    return {
        "node_id": "aa",
        "ip": "10.0.0.1",
        "resources": {"total": {"CPU": 2.0}, "available": {"CPU": 2.0 - used}},
        "leases": {"lent": list(lent), "pending": list(pending)},
        "workers": rows,
        "actors": list(actors),
        "processes": list(processes),
        **more,
    }


def lease(worker: str, cpus: float = 1.0, ms: int = 7_000, **more: Any) -> Row:
    return {"worker_id": worker, "resources": {"CPU": cpus}, "for_ms": ms, **more}


def told(found: Row | list[Row], *nodes: Row, job: str = JOB) -> str:
    objects = found if isinstance(found, list) else [found]
    return "\n".join(explain(objects, Facts({"nodes": list(nodes)}), job))


def test_a_task_that_runs_is_said_to_run_and_where():
    f = task(1, "f", place="pushed", worker="w1")
    text = told(obj(f), node(process("w1", running=[run(f, 12_000)])))
    assert text == "  f has run for 12 s in the worker pid 100 on 10.0.0.1"


def test_a_task_that_lacks_resources_names_who_holds_them_the_longest_first():
    f = task(1, "f", place="queued", demand={"CPU": 1.0})
    g = task(2, "g")
    text = told(
        obj(f),
        node(
            process("w1", running=[run(g)]),
            process("w2"),
            lent=[lease("w1"), lease("w2", ms=9_000, actor="a1")],
            actors=[{"actor_id": "a1", "class": "Holder", "state": "alive", "worker_id": "w2"}],
        ),
    )
    first, second, third = text.splitlines()
    assert first == "  f waits for CPU: 1:"
    assert second == (
        "    CPU: 1 is held since 9.0 s by the actor Holder (pid 101 on 10.0.0.1), as long as that lives"
    )
    assert third.endswith("by the worker pid 100 on 10.0.0.1; it runs g for 3.0 s")


def test_what_no_node_has_is_said_to_be_had_nowhere():
    f = task(1, "f", place="queued", demand={"GPU": 1.0})
    assert "no node has as much as GPU: 1 (10.0.0.1 has CPU: 2)" in told(obj(f), node())
    demand = {"CPU": 1.0, "accelerator_type:V100": 0.001}
    text = told(waiting(demand=demand), node())
    assert "f waits for CPU: 1, accelerator_type:V100:" in text
    assert "no node has as much as accelerator_type:V100 (10.0.0.1 has CPU: 2)" in text


def test_free_resources_are_about_to_be_taken():
    f = task(1, "f", place="queued", demand={"CPU": 1.0})
    assert "10.0.0.1 has that much free" in told(obj(f), node())


def test_a_program_of_another_job_is_named():
    f = task(1, "f", place="queued", demand={"CPU": 2.0})
    hog = process("w1", running=[run(task(2, "hog"))])
    hog["job"] = "02000000"
    driver = {"job": "02000000", "worker_id": "d2", "pid": 77, "title": "python other.py"}
    text = told(obj(f), node(hog, lent=[lease("w1", 2.0)], drivers=[driver]))
    assert "of another program: python other.py (pid 77)" in text


def test_a_cpu_that_is_lent_while_its_task_waits_is_held_by_nobody():
    f = task(1, "f", place="queued", demand={"CPU": 2.0})
    text = told(obj(f), node(process("w1"), process("w2"),
                             lent=[lease("w1", cpu_lent=True), lease("w2")]))  # fmt: skip
    assert text.count("is held") == 1


# --- Nodes that are asked for --------------------------------------------------------------------

GROUP = "ab" * 18


def two_nodes() -> tuple[Row, Row]:
    """One in the EU, whose CPUs an actor holds, and one in the US, which is free."""
    eu = node(
        process("w1"),
        lent=[lease("w1", 2.0, actor="a1")],
        actors=[{"actor_id": "a1", "class": "Holder", "state": "alive", "worker_id": "w1"}],
        labels={"region": "eu", "cyray.io/node-id": "aa"},
    )
    us = {**node(), "node_id": "bb", "ip": "10.0.0.2", "labels": {"region": "us"}}
    return eu, us


def selected(*values: str, op: int = 0) -> Row:
    term = {"key": "region", "op": op, "values": list(values)}
    return {"text": "region in (...)", "selectors": [[term]]}


def waiting(**wanted: Any) -> Row:
    return obj(task(1, "f", place="queued", **{"demand": {"CPU": 1.0}, **wanted}))


def test_only_nodes_with_the_labels_count():
    text = told(waiting(labels=selected("eu")), *two_nodes())
    assert "f waits for CPU: 1 on a node with region in (...):" in text
    assert "by the actor Holder" in text and "free" not in text
    assert "10.0.0.2 has that much free" in told(waiting(labels=selected("eu", op=1)), *two_nodes())
    none = told(waiting(labels=selected("asia")), *two_nodes())
    assert "no node has such labels (10.0.0.1 has region=eu; 10.0.0.2 has region=us)" in none
    large = told(waiting(labels=selected("us"), demand={"CPU": 3.0}), *two_nodes())
    assert "no node with these labels has as much as CPU: 3 (10.0.0.2 has CPU: 2)" in large
    either = {"text": "", "selectors": [[{"key": "gpu", "op": 2, "values": []}],
                                        [{"key": "gpu", "op": 3, "values": []}]]}  # fmt: skip
    assert "10.0.0.2 has that much free" in told(waiting(labels=either), *two_nodes())


def test_only_the_node_that_it_is_bound_to_counts():
    text = told(waiting(node_affinity="aa"), *two_nodes())
    assert "f waits for CPU: 1 on node aa:" in text and "by the actor Holder" in text
    soft = {"node_affinity": "aa", "node_affinity_soft": True}
    assert "free" not in told(waiting(**soft), *two_nodes()), "it has the first node only"
    eu, us = two_nodes()
    us["resources"] = {"total": {"CPU": 8.0}, "available": {"CPU": 8.0}}
    large = waiting(demand={"CPU": 5.0}, **soft)
    assert "10.0.0.2 has that much free" in told(large, eu, us), "the first can never have it"
    unknown = told(waiting(node_affinity="cc"), *two_nodes())
    assert "node cc is not one of those that are known (yet)" in unknown
    silent = Facts({"nodes": two_nodes(), "silent_nodes": ["cc"]})
    assert "node cc does not say" in "\n".join(explain([waiting(node_affinity="cc")], silent, JOB))


def test_an_actor_that_waits_at_a_node_waits_for_that_one():
    eu, us = two_nodes()
    eu["leases"]["pending"] = [{"actor": "a2", "demand": {"CPU": 1.0}, "waited_ms": 5_000}]
    call = task(1, "A.m", place="queued", actor="a2", actor_state="PendingCreation")
    text = told(obj(call), eu, us)
    assert "by the actor Holder" in text and "free" not in text
    assert "to be placed, for CPU: 1:" in text, "nobody asked for that node"


def in_group(cpus: float, number: str = "") -> Row:
    names = {f"CPU_group_{GROUP}": cpus, f"bundle_group_{GROUP}": 0.001}
    if number:
        names |= {f"CPU_group_{number}_{GROUP}": cpus, f"bundle_group_{number}_{GROUP}": 0.001}
    return names


def group_node(free: float = 0.0) -> Row:
    """One with a bundle of 2 CPUs, of which an actor holds some."""
    held = in_group(2.0 - free, "0")
    total = {"CPU": 2.0, **in_group(2.0, "0"), f"bundle_group_{GROUP}": 1000.0}
    total[f"bundle_group_0_{GROUP}"] = 1000.0
    made = node(process("w1"), lent=[{"worker_id": "w1", "resources": held, "for_ms": 7_000}])
    left = {name: amount - held.get(name, 0) for name, amount in total.items()}
    made["resources"] = {"total": total, "available": {**left, "CPU": 0.0}}
    return made


def told_of_groups(found: Row, *nodes: Row, known: Row | None = None) -> str:
    facts = Facts({"nodes": list(nodes)})
    facts.groups = {} if known is None else {GROUP: known}
    text = "\n".join(explain([found], facts, JOB))
    assert "_group_" not in text and "bundle: " not in text
    return text


def test_what_waits_in_a_placement_group_is_told_in_its_words():
    text = told_of_groups(waiting(demand=in_group(1.0, "0")), group_node())
    assert f"f waits for CPU: 1 in bundle 0 of the placement group {GROUP}:" in text
    assert f"CPU: 2 in bundle 0 of the placement group {GROUP} is held since 7.0 s by" in text
    named = told_of_groups(waiting(demand=in_group(1.0)), group_node(), known={"name": "mine"})
    assert "f waits for CPU: 1 in the placement group 'mine':" in named
    free = told_of_groups(waiting(demand=in_group(1.0)), group_node(free=1.0))
    assert "10.0.0.1 has that much free" in free


def test_a_group_that_is_not_in_place_says_what_it_waits_for():
    wanted = waiting(demand=in_group(1.0, "0"))
    text = told_of_groups(wanted, node())
    assert text.splitlines()[1:] == [f"    bundle 0 of the placement group {GROUP} is not in place"]
    said = told_of_groups(wanted, node(), known={"name": "a", "waits": "It waits for more nodes."})
    assert said.endswith("'a' is not in place\n      It waits for more nodes.")
    row = {"name": "a", "waits": "", "bundles": [{"CPU": 2.0}, {"CPU": 1.0}], "nodes": ["", "aa"]}
    held = told_of_groups(wanted, node(process("w1"), lent=[lease("w1", 2.0)]), known=row)
    assert "its bundle 0 waits for CPU: 2:\n        CPU: 2 is held since" in held
    assert "bundle 1" not in held


def test_what_a_group_keeps_is_said_to_be_kept():
    text = told_of_groups(waiting(), group_node(), known={"name": "mine"})
    assert "CPU: 2 on 10.0.0.1 is kept for the placement group 'mine'" in text
    assert "has CPU: 2)" in told_of_groups(waiting(demand={"CPU": 3.0}), group_node())


def test_what_waits_for_a_group_to_go_is_no_cycle():
    inner = task(10, "inner", place="queued", demand={"CPU": 1.0})
    outer = task(1, "outer", place="pushed", worker="w1")
    made = group_node()
    made["processes"] = [process("w1", running=[run(outer)], waits=[wait(obj(inner))])]
    made["leases"]["lent"] = [lease("w1", 1.0)]
    assert "cycle" not in told_of_groups(obj(outer), made)


def test_arguments_are_followed():
    g = task(2, "g", place="queued", demand={"GPU": 1.0})
    f = task(1, "f", place="args", args=[obj(g)])
    lines = told(obj(f), node()).splitlines()
    assert lines[:2] == ["  f waits for its arguments:", "    g waits for GPU: 1:"]


def test_an_object_of_another_process_is_found_there():
    g = task(2, "g", place="queued", demand={"GPU": 1.0})
    borrowed = {**obj(g), "owner": "w1"}
    del borrowed["task"]
    assert "g waits for GPU: 1" in told(borrowed, node(process("w1", pending=[g])))


def test_an_actor_that_calls_itself_is_a_cycle():
    inner = task(2, "A.other", place="pushed", actor="a1", actor_state="Alive", worker="w1")
    outer = task(1, "A.run", place="pushed", actor="a1", actor_state="Alive", worker="w1")
    actor = {"actor_id": "a1", "class": "A", "state": "alive", "worker_id": "w1"}
    text = told(
        obj(outer),
        node(process("w1", running=[run(outer)], waits=[wait(obj(inner))]), actors=[actor]),
    )
    assert "This is a cycle" in text
    assert "A.run (the actor A (pid 100 on 10.0.0.1)) waits for A.other" in text
    assert "max_concurrency=2" in text


def two_actors(for_all: bool) -> str:
    call_b = task(2, "B.call", place="pushed", actor="b", actor_state="Alive", worker="wb")
    back = task(3, "A.back", place="pushed", actor="a", actor_state="Alive", worker="wa")
    run_a = task(1, "A.run", place="pushed", actor="a", actor_state="Alive", worker="wa")
    elsewhere = task(9, "x", place="pushed", worker="wx")
    awaited = [obj(call_b)] if for_all else [obj(call_b), obj(elsewhere)]
    return told(
        obj(run_a),
        node(
            process("wa", running=[run(run_a)], waits=[wait(*awaited, for_all=for_all)]),
            process("wb", running=[run(call_b)], waits=[wait(obj(back))]),
            process("wx", running=[run(elsewhere)]),
        ),
    )


def test_two_actors_that_call_each_other_are_a_cycle():
    assert "A.run" in two_actors(True).partition("This is a cycle")[2]


def test_a_wait_that_something_else_can_end_is_no_cycle():
    assert "cycle" not in two_actors(False)


def test_tasks_that_hold_what_their_own_tasks_need_are_a_cycle():
    def waiting(i: int) -> tuple[Row, Row, Row]:
        inner = task(10 + i, "inner", place="queued", demand={"CPU": 1.0})
        outer = task(i, f"Outer.run{i}", place="pushed", worker=f"w{i}")
        return outer, process(f"w{i}", running=[run(outer)], waits=[wait(obj(inner))]), inner

    (outer, first, _), (_, second, _) = waiting(1), waiting(2)
    everything = node(first, second, lent=[lease("w1"), lease("w2")])
    assert "This is a cycle" in told(obj(outer), everything)
    idle = node(first, process("w2"), lent=[lease("w1"), lease("w2")])
    assert "cycle" not in told(obj(outer), idle)


def test_an_actor_that_is_not_placed_names_what_it_waits_for():
    call = task(1, "A.m", place="queued", actor="a1", actor_state="PendingCreation", waits="")
    call["class"] = "A"
    request = {"actor": "a1", "demand": {"CPU": 2.0}, "waited_ms": 5_000}
    text = told(obj(call), node(process("w1"), lent=[lease("w1")], pending=[request]))
    assert "A.m waits for the actor A, which waits since 5.0 s to be placed, for CPU: 2" in text
    assert "by the worker pid 100" in text


def test_what_the_gcs_says_of_an_actor_is_passed_on():
    call = task(1, "A.m", place="queued", actor="a1", actor_state="PendingCreation",
                waits="which waits for a node with GPU: 1")  # fmt: skip
    assert "which waits for a node with GPU: 1" in told(obj(call), node())


def test_nothing_of_an_answer_is_taken_for_granted():
    assert Facts.parse("the raylet did not answer").nodes == []
    assert Facts.parse("[]").nodes == []
    assert told({"object_id": "ab", "state": "pending"}) != ""
    assert told(obj(task(1, "f", place="pushed", worker="gone"))) != ""


def test_long_stories_end():
    chain = task(100, "f100", place="queued", demand={})
    for i in range(60):
        chain = task(i, f"f{i}", place="args", args=[obj(chain)])
    assert len(told([obj(chain)] * 5).splitlines()) < 50


def test_numbers_are_short():
    assert [number(1.0), number(0.5), number(1e9)] == ["1", "0.5", "1000000000"]
    assert [seconds(400), seconds(61_000), seconds(600_000)] == ["0.4 s", "61 s", "10 min"]
    assert seconds(9_000_000) == "2 h"
