"""Why nothing happens: from what a cluster said of itself to sentences for people.

Place: pure; above `facts`. Asked by `waiting` (a driver that waits, `GetTimeoutError`) and by `cyray status -v`.

An object waits for the task that makes it; a task for its arguments, for resources, for what runs before it
in its process, or for what its own code waits for. Those steps are told one by one. Where they lead back to
a task that was on the way, nothing of it can ever go on, and that is said.
"""

from __future__ import annotations

from cyray._driver import wants
from cyray._driver.facts import Facts, Row, amounts, covers, seconds
from cyray._driver.wants import Want, available, shown, total
from cyray._spec import labels

_MOST_STEPS = 12
_MOST_HOLDERS = 5
_MOST_OBJECTS = 3


def explain(objects: list[Row], facts: Facts, job: str = "") -> list[str]:
    """Lines that say what these objects wait for. `job`: whose asks; tasks of others are said to be such."""
    story = _Story(facts, job)
    for found in objects[:_MOST_OBJECTS]:
        story.tell_object(found, 1)
    if len(objects) > _MOST_OBJECTS:
        story.say(1, "and others")
    for found in objects[:_MOST_OBJECTS]:
        cycle = story.find_cycle(found)
        if cycle:
            story.tell_cycle(cycle)
            break
    if facts.silent_nodes:
        nodes = ", ".join(node[:8] for node in facts.silent_nodes)
        story.say(1, f"no answer came from the raylet of node {nodes}")
    return story.lines


def explain_group(row: Row, facts: Facts) -> list[str]:
    """Lines that say what a placement group waits for; `row`: what the GCS says of it."""
    story = _Story(facts, "")
    story.tell_group(row, 1)
    return story.lines


def store_lines(facts: Facts, node_id: str) -> list[str]:
    """The largest objects of a node's store, and who owns and maps them."""
    node = next((node for node in facts.nodes if node.get("node_id") == node_id), {})
    largest = node.get("store", {}).get("largest", [])
    lines = ["  The largest objects there:"] if largest else []
    for found in largest[:_MOST_HOLDERS]:
        pins = found.get("pins", 0)
        lines.append(
            f"    {found['object_id']}: {found['bytes'] / 1e6:.1f} MB, owned by "
            f"{describe_process(facts, found.get('owner', ''))}"
            + (f", mapped {pins} times by processes that read it" if pins else "")
        )
    return lines


def describe_process(facts: Facts, worker: str) -> str:
    """Who that is, where."""
    return _Story(facts, "").describe_process(worker)


def describe_holder(facts: Facts, node: Row, lease: Row) -> str:
    """What a lease holds, since when, and for whom."""
    return _Story(facts, "").describe_holder(node, lease)


class _Story:
    def __init__(self, facts: Facts, job: str) -> None:
        self.facts = facts
        self.job = job
        self.lines: list[str] = []
        self._told: set[str] = set()  # tasks, and demands

    def say(self, depth: int, text: str) -> None:
        if len(self.lines) < 40:
            self.lines.append(f"{'  ' * depth}{text}")

    # --- Step by step -------------------------------------------------------------------------

    def tell_object(self, found: Row, depth: int) -> None:
        task = self.facts.task_of(found)
        short = f"object {found.get('object_id', '?')}"
        if found.get("state") == "stored":
            nodes = " ".join(node[:8] for node in found.get("nodes", []))
            self.say(depth, f"{short} is in the store of node {nodes}, and on its way here")
        elif task is not None:
            self.tell_task(task, depth)
        elif found.get("owner"):
            owner = self.describe_process(found["owner"])
            self.say(depth, f"{short}, which {owner} owns, and of which it has told nothing more")
        else:
            self.say(depth, f"{short}, for which nothing is known to be on its way")

    def tell_task(self, task: Row, depth: int) -> None:
        key = task["task_id"]
        name = task.get("name", "a task")
        if key in self._told or depth > _MOST_STEPS:
            self.say(depth, f"{name} (as above)")
            return
        self._told.add(key)
        running = self.facts.running.get(key)
        place = task.get("place")
        if running is not None:
            self._tell_running(running[0], running[1], depth)
        elif place == "args":
            self.say(depth, f"{name} waits for its arguments:")
            for found in task.get("args", []):
                self.tell_object(found, depth + 1)
        elif task.get("actor"):
            self._tell_call(task, depth)
        elif place == "pushed":
            self._tell_behind(name, task.get("worker", ""), depth)
        else:
            want = Want.of(task)
            if want.turn_of:
                self.say(depth, f"{name} waits for {want.words(self.facts.groups)}")
                return
            self.say(depth, f"{name} waits for {want.words(self.facts.groups)}:")
            self._tell_want(want, depth + 1)

    def _tell_running(self, worker: str, task: Row, depth: int) -> None:
        where = self.describe_process(worker)
        text = f"{task['name']} has run for {seconds(task.get('for_ms', 0))} in {where}"
        waits = self.facts.waits_of(worker)
        if not waits:
            self.say(depth, text)
            return
        others = len(self.facts.running_at(worker)) > 1
        self.say(depth, f"{text}, {'where a thread waits' if others else 'and waits itself'} for:")
        for wait in waits:
            for found in wait.get("objects", [])[:_MOST_OBJECTS]:
                self.tell_object(found, depth + 1)

    def _tell_call(self, task: Row, depth: int) -> None:
        actor, name = self.describe_actor(task), task.get("name", "a call")
        state = task.get("actor_state")
        if state == "Alive":
            if task.get("worker") and not task.get("reachable", True):
                self.say(depth, f"{name}: the process of {actor} cannot be reached now")
            else:
                self._tell_behind(name, task.get("worker", ""), depth)
            return
        request = self.facts.request_of_actor(task["actor"])
        if request is not None:
            want = _of_request(request)
            self.say(
                depth,
                f"{name} waits for {actor}, which waits since {seconds(request.get('waited_ms', 0))} "
                f"to be placed, for {want.words(self.facts.groups)}:",
            )
            self._tell_want(want, depth + 1)
            return
        self.say(depth, f"{name} waits for {actor}, {self._why_no_actor(task)}")

    def _why_no_actor(self, task: Row) -> str:
        known = self.facts.actors.get(task["actor"])
        if known is not None and known.get("state") == "creating":
            worker = self.facts.workers.get(known.get("worker_id", ""), {})
            return f"whose __init__ runs in process {worker.get('pid', '?')}"
        if task.get("waits"):
            return str(task["waits"])
        if task.get("actor_state") == "Restarting":
            return "which is being restarted"
        return "which does not live yet"

    def _tell_behind(self, name: str, worker: str, depth: int) -> None:
        """It was sent to a process, and does not run there."""
        where = self.describe_process(worker)
        running = self.facts.running_at(worker)
        if worker not in self.facts.processes:
            self.say(depth, f"{name} was sent to {where}, which does not answer what it does")
        elif not running and (ms := self.facts.processes[worker].get("saving_ms")) is not None:
            self.say(
                depth,
                f"{name} waits for {where}, which has been saving its state for {seconds(ms)}",
            )
        elif not running:
            self.say(depth, f"{name} was sent to {where}, and is about to begin")
        else:
            self.say(depth, f"{name} waits in {where} behind:")
            for task in running[:_MOST_OBJECTS]:
                self._tell_running_once(worker, task, depth + 1)

    def _tell_running_once(self, worker: str, task: Row, depth: int) -> None:
        if task["task_id"] in self._told or depth > _MOST_STEPS:
            self.say(depth, f"{task['name']} (as above)")
            return
        self._told.add(task["task_id"])
        self._tell_running(worker, task, depth)

    # --- Resources ----------------------------------------------------------------------------

    def _tell_want(self, want: Want, depth: int) -> None:
        key = f"{want.words(self.facts.groups)} at {want.at}"
        if key in self._told:
            self.say(depth, f"{want.words(self.facts.groups)} (as above)")
            return
        self._told.add(key)
        reason = self._why_nowhere(want)
        if reason is not None:
            for line in reason:
                self.say(depth, line)
            bundle = wants.bundle_of(want.demand)
            if bundle is not None and bundle.group in self.facts.groups:
                self.tell_group(self.facts.groups[bundle.group], depth + 1)
            return
        free = [n for n in self._able(want) if covers(available(n), want.demand)]
        if free:
            self.say(
                depth, f"{free[0].get('ip', '?')} has that much free: a worker is about to take it"
            )
            return
        holders = self._holders(want)
        for node, lease in holders[:_MOST_HOLDERS]:
            self.say(depth, self.describe_holder(node, lease))
        if len(holders) > _MOST_HOLDERS:
            self.say(depth, f"and {len(holders) - _MOST_HOLDERS} more hold some of it")
        for line in self._kept(want)[:_MOST_HOLDERS]:
            self.say(depth, line)
        for _, lease in holders[:_MOST_HOLDERS]:
            for task in self.facts.running_at(lease["worker_id"])[:1]:
                if self.facts.waits_of(lease["worker_id"]):
                    self._tell_running_once(lease["worker_id"], task, depth + 1)

    def _able(self, want: Want) -> list[Row]:
        """The nodes that could have it, were nothing held."""
        nodes = self.facts.nodes
        return [n for n in nodes if want.may_be_at(n, nodes) and covers(total(n), want.demand)]

    def _why_nowhere(self, want: Want) -> list[str] | None:
        """Why no node could have it; None: one could."""
        if self._able(want):
            return None
        nodes = self.facts.nodes
        bundle = wants.bundle_of(want.demand)
        if bundle is not None:
            if not any(bundle.marker() in total(node) for node in nodes):
                return [f"{bundle.words(self.facts.groups)} is not in place"]
        elif want.node and not any(node.get("node_id") == want.node for node in nodes):
            if want.node in self.facts.silent_nodes:
                return [f"node {want.node[:8]} does not say what it has"]
            return [f"node {want.node[:8]} is not one of those that are known (yet)"]
        elif not any(want.matches(node) for node in nodes):
            return [f"no node has such labels ({_labels_of(nodes)}): it waits until one joins"]
        allowed = [node for node in nodes if want.may_be_at(node, nodes)] or nodes
        have = "; ".join(f"{n.get('ip', '?')} has {amounts(shown(total(n)))}" for n in allowed)
        asked = wants.words(_on_none(allowed, want) or want.demand, self.facts.groups)
        which = " with these labels" if want.labels else ""
        return [f"no node{which} has as much as {asked} ({have}): it waits until one joins"]

    def tell_group(self, known: Row, depth: int) -> None:
        """What a placement group waits for, as far as that is known."""
        if known.get("waits"):
            self.say(depth, known["waits"])
            return
        missing = [
            (index, wanted)
            for index, (wanted, node) in enumerate(
                zip(known.get("bundles", []), known.get("nodes", []), strict=False)
            )
            if not node
        ]
        for index, wanted in missing[:_MOST_OBJECTS]:
            self.say(depth, f"its bundle {index} waits for {amounts(wanted)}:")
            self._tell_want(Want(wanted), depth + 1)

    def _holders(self, want: Want) -> list[tuple[Row, Row]]:
        """Who holds of what is short on the nodes that could have it, the longest first."""
        able = {node.get("node_id") for node in self._able(want)}
        found = []
        for node, lease in self.facts.lent():
            if node.get("node_id") not in able:
                continue
            held = lease.get("resources", {})
            if lease.get("cpu_lent"):
                held = {name: value for name, value in held.items() if wants.base(name) != "CPU"}
            if any(held.get(name) for name in _short(node, want)):
                found.append((node, lease))
        return sorted(found, key=lambda item: -item[1].get("for_ms", 0))

    def _kept(self, want: Want) -> list[str]:
        """What of that placement groups keep, on the same nodes."""
        lines = []
        for node in self._able(want):
            for group, kept in sorted(wants.kept_by_groups(node, set(_short(node, want))).items()):
                who = wants.group_words(group, self.facts.groups)
                lines.append(f"{amounts(kept)} on {node.get('ip', '?')} is kept for {who}")
        return lines

    def describe_holder(self, node: Row, lease: Row) -> str:
        worker = lease["worker_id"]
        held = wants.words(lease.get("resources", {}), self.facts.groups) or "a worker"
        since = seconds(lease.get("for_ms", 0))
        running = self.facts.running_at(worker)
        text = f"{held} is held since {since} by {self.describe_process(worker)}"
        if lease.get("actor"):
            text += ", as long as that lives"
        if running:
            task = running[0]
            text += f"; it runs {task['name']} for {seconds(task.get('for_ms', 0))}"
        return text + self._of_another(self.facts.job_of(worker))

    def _of_another(self, job: str) -> str:
        if not job or not self.job or job == self.job:
            return ""
        driver = self.facts.drivers.get(job)
        if driver is None:
            return ", of another program"
        return f", of another program: {driver.get('title') or '?'} (pid {driver.get('pid')})"

    # --- Who ----------------------------------------------------------------------------------

    def describe_process(self, worker: str) -> str:
        """ "the actor Counter (pid 7 on 10.0.0.1)", "worker pid 8 on 10.0.0.1", "the driver (pid 9 ...)"."""
        known = self.facts.workers.get(worker) or self.facts.processes.get(worker)
        if known is None:
            return f"process {worker[:8] or '?'}, of which nothing is known"
        where = f"pid {known.get('pid', '?')} on {known.get('ip', '?')}"
        actor = self.facts.actor_of.get(worker)
        if actor is not None:
            return f"the actor {self.facts.actors[actor].get('class') or actor} ({where})"
        kind = "the driver" if known.get("state") == "driver" else "the worker"
        return f"{kind} {where}"

    def describe_actor(self, task: Row) -> str:
        known = self.facts.actors.get(task["actor"], {})
        name = task.get("class") or known.get("class") or task.get("name", "").partition(".")[0]
        return f"the actor {name}" if name else f"the actor {task['actor']}"

    # --- Cycles -------------------------------------------------------------------------------

    def find_cycle(self, found: Row) -> list[Row]:
        """The tasks that wait for each other in a ring, if this object waits for such."""
        task = self.facts.task_of(found)
        return self._follow(task, []) if task is not None else []

    def _follow(self, task: Row, path: list[Row]) -> list[Row]:
        ids = [step["task_id"] for step in path]
        if task["task_id"] in ids:
            return path[ids.index(task["task_id"]) :]
        if len(path) > _MOST_STEPS:
            return []
        path = [*path, task]
        for needs_all, nexts in self._awaited_by(task):
            rings = [self._follow(other, path) for other in nexts]
            if rings and (all(rings) if needs_all else any(rings)):
                return next(ring for ring in rings if ring)
        return []

    def _awaited_by(self, task: Row) -> list[tuple[bool, list[Row]]]:
        """What a task waits for: groups of tasks, any of which holds it up, or only all together."""
        running = self.facts.running.get(task["task_id"])
        if running is not None:
            worker = running[0]
            if len(self.facts.running_at(worker)) > 1:
                return []  # which of its threads waits is not known
            return [
                (not wait.get("for_all"), self._makers(wait.get("objects", [])))
                for wait in self.facts.waits_of(worker)
            ]
        if task.get("place") == "args":
            return [(False, self._makers(task.get("args", [])))]
        if task.get("actor"):
            if task.get("actor_state") == "Alive":
                return [(True, self._blocked_at(task.get("worker", "")))]
            request = self.facts.request_of_actor(task["actor"])
            return [] if request is None else [self._holding(_of_request(request))]
        if task.get("place") == "pushed":
            return [(True, self._blocked_at(task.get("worker", "")))]
        return [self._holding(Want.of(task))]

    def _makers(self, objects: list[Row]) -> list[Row]:
        makers = (self.facts.task_of(found) for found in objects)
        return [task for task in makers if task is not None]

    def _blocked_at(self, worker: str) -> list[Row]:
        return self.facts.running_at(worker)

    def _holding(self, want: Want) -> tuple[bool, list[Row]]:
        if self._kept(want):
            return True, []  # whoever removes the group ends the wait
        holders = self._holders(want)
        tasks = [self.facts.running_at(lease["worker_id"]) for _, lease in holders]
        if not all(len(running) == 1 for running in tasks):
            return True, []  # one of them holds it without running, or runs several
        return True, [running[0] for running in tasks]

    def tell_cycle(self, cycle: list[Row]) -> None:
        names = [f"{step.get('name', 'a task')}{self._at(step)}" for step in [*cycle, cycle[0]]]
        self.say(
            1, "This is a cycle, which cannot end by itself: " + " waits for ".join(names) + "."
        )
        if any(self._actor_at(step) for step in cycle):
            self.say(
                1,
                "An actor runs one call at a time: with max_concurrency=2, or as an async method that "
                "awaits, it answers others while it waits.",
            )
        else:
            self.say(1, "What waits holds what the others need: ask for less, or start more CPUs.")

    def _at(self, task: Row) -> str:
        worker = self.facts.running.get(task["task_id"], (task.get("worker", ""), {}))[0]
        return f" ({self.describe_process(worker)})" if worker in self.facts.workers else ""

    def _actor_at(self, task: Row) -> bool:
        worker = self.facts.running.get(task["task_id"], ("", {}))[0]
        return bool(task.get("actor")) or worker in self.facts.actor_of


def _of_request(request: Row) -> Want:
    """Of an actor, at the raylet that is to start it: the GCS has chosen that, no user."""
    return Want(request["demand"], at=request.get("node_id", ""))


def _short(node: Row, want: Want) -> list[str]:
    free = available(node)
    return [name for name, amount in want.demand.items() if free.get(name, 0) < amount]


def _on_none(nodes: list[Row], want: Want) -> Row:
    """What of it is more than any of these nodes has."""
    if wants.bundle_of(want.demand) is not None:
        return {}
    return {
        name: amount
        for name, amount in want.demand.items()
        if not any(covers(total(node), {name: amount}) for node in nodes)
    }


def _labels_of(nodes: list[Row]) -> str:
    told = []
    for node in nodes[:_MOST_HOLDERS]:
        has = ", ".join(
            f"{key}={value}"
            for key, value in sorted(node.get("labels", {}).items())
            if key != labels.NODE_ID
        )
        told.append(f"{node.get('ip', '?')} has {has or 'none'}")
    return "; ".join(told)
