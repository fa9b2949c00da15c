"""What values become on their way through tasks and the store: the same, or an error that says which part."""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import importlib.util
import io
import pickle
import re
import sys
import threading

import numpy as np
import pytest
from support import Driver, run_driver

import cyray
from cyray import _raylet
from cyray.util import deregister_serializer, inspect_serializability, register_serializer

INIT = {"object_store_memory": 300_000_000}
pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote
def echo(value):
    return value


@cyray.remote
def call(function, *args):
    return function(*args)


def through_a_task(value):
    return cyray.get(echo.remote(value))


# --- The same --------------------------------------------------------------------------------------


def test_what_is_one_object_stays_one():
    shared = [0]
    first, second = through_a_task([shared, shared])
    assert first is second
    for size in (10, 100_000):  # inline, and in the store
        numbers = np.arange(float(size))
        first, second = through_a_task({"a": numbers, "b": [numbers]}.values())
        assert first is second[0] and (first == numbers).all()


def test_what_contains_itself_comes_back():
    looped = []
    looped.append(looped)
    back = through_a_task(looped)
    assert back[0] is back
    tree = {"leaf": 1}
    tree["parent"] = [tree]
    back = cyray.get(cyray.put(tree))
    assert back["parent"][0] is back


def test_a_pickle_made_by_hand_is_bytes_as_others():
    looped = []
    looped.append(looped)

    def says(pickled):
        return f"Successfully passed {pickle.loads(pickled)} into f."

    assert (
        cyray.get(call.remote(says, pickle.dumps(looped))) == "Successfully passed [[...]] into f."
    )


@pytest.mark.parametrize(
    "made",
    [
        lambda: bytearray(b"abc" * 100_000),
        lambda: array.array("d", range(50_000)),
        lambda: (ctypes.c_double * 50_000)(*range(10)),
        lambda: memoryview(np.arange(50_000.0)),
        lambda: memoryview(np.asfortranarray(np.arange(90_000.0).reshape(300, 300))),
        lambda: memoryview(np.arange(50_000.0))[::2],
        lambda: memoryview(b""),
        lambda: bytes(300_000),
    ],
    ids=["bytearray", "array", "ctypes", "view", "F", "strided", "empty", "bytes"],
)
def test_buffers_of_every_kind_come_back(made):
    value = made()
    back = through_a_task(value)
    assert type(back) is type(value)
    assert memoryview(back).tobytes() == memoryview(value).tobytes()
    assert memoryview(back).shape == memoryview(value).shape


def in_band(value):
    """Bytes of the encoded value that are not buffers: what is copied when it is read."""
    out = []
    pickled = cyray.cloudpickle.dumps(value, 5, buffer_callback=out.append)
    return len(pickled)


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_contiguous_arrays_are_views_of_the_store(order):
    value = np.asarray(np.arange(90_000.0).reshape(300, 300), order=order)
    assert in_band([value]) < 1000
    for back in (through_a_task(value), through_a_task([value])[0]):
        assert back.flags[f"{order}_CONTIGUOUS"] and (back == value).all()
        assert not back.flags.owndata and not back.flags.writeable


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


OF_MAIN = """
import ctypes, enum, functools, typing
import cyray

T = typing.TypeVar("T")

class Lazy:
    made = 0

    @functools.cached_property
    def value(self):
        self.made += 1
        return 42

@functools.singledispatch
def kind(x):
    "What x is."
    return "other"

@kind.register
def _(x: int):
    return "int"

@kind.register(list)
def _(x):
    return [kind(one) for one in x]

class Visitor:
    @functools.singledispatchmethod
    def visit(self, x):
        return "other"

    @visit.register
    def _(self, x: int):
        return "int"

@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

class Slotted(typing.Generic[T]):
    __slots__ = ("one", "__two")

    def __init__(self, one, two):
        self.one, self.__two = one, two

    def two(self):
        return self.__two

class OfInt(Slotted[int]):
    __slots__ = ()

class Point(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("x", ctypes.c_byte), ("y", ctypes.c_double)]

class Line(ctypes.Structure):
    _fields_ = [("ends", Point * 2)]

class Colour(enum.Enum):
    RED = 1

@cyray.remote
def lazy(x):
    return x.value, x.value, x.made

@cyray.remote
def kinds(x):
    return kind(x), kind.__doc__, kind.dispatch(bool)(True), Visitor().visit(1), Visitor().visit("")

@cyray.remote
def cached():
    return fib(25), fib.cache_info().hits > 0

@cyray.remote
def slotted(x):
    assert not hasattr(x, "__dict__")
    return type(x)(x.one + 1, x.two() + 1)

@cyray.remote
def of_ctypes(point):
    line = Line((point, Point(3, 4.0)))
    return line, ctypes.sizeof(Point)

@cyray.remote
def echo(x):
    return x

cyray.init(num_cpus=1)
assert cyray.get(lazy.remote(Lazy())) == (42, 42, 1)
doc = "What x is."
assert cyray.get(kinds.remote([1, "a"])) == (["int", "other"], doc, "int", "int", "other")
assert cyray.get(cached.remote()) == (75025, True)
for made in (Slotted(1, 2), OfInt(1, 2)):
    back = cyray.get(slotted.remote(made))
    assert type(back) is type(made) and (back.one, back.two()) == (2, 3)
assert cyray.get(echo.remote(Slotted[int])) == Slotted[int]
line, size = cyray.get(of_ctypes.remote(Point(1, 2.0)))
assert size == 9 == ctypes.sizeof(Point)
assert type(line) is Line and [(end.x, end.y) for end in line.ends] == [(1, 2.0), (3, 4.0)]
assert cyray.get(echo.remote(Colour.RED)) is Colour.RED
print("done")
"""


def test_functions_and_classes_of_the_program_itself_work_in_tasks(tmp_path):
    out, _ = run_driver(tmp_path, OF_MAIN)
    assert out == "done\n"


def test_a_cached_function_of_a_module_goes_by_its_name():
    assert through_a_task(_cached) is _cached
    assert through_a_task(_dispatched) is _dispatched


@functools.lru_cache
def _cached():
    return 1


@functools.singledispatch
def _dispatched(x):
    return x


class Stream(io.StringIO):
    def __reduce__(self):
        raise TypeError("no copy of this")


def test_the_standard_streams_are_those_of_the_process():
    with contextlib.redirect_stdout(Stream()), contextlib.redirect_stderr(Stream()):
        back = through_a_task({"streams": [sys.stdout, sys.stderr]})
        assert back["streams"][0] is sys.stdout and back["streams"][1] is sys.stderr


# --- Errors that name the part ------------------------------------------------------------------------


class Model:
    def __init__(self):
        self.lock = threading.Lock()


LIBRARY = ctypes.CDLL(None)
GETPID = LIBRARY.getpid


def refusal(value, **given):
    with pytest.raises(TypeError, match="Could not serialize") as caught:
        echo.remote(value=value)
    return str(caught.value)


def test_the_way_to_the_part_is_named():
    text = refusal({"models": [Model()]})
    assert "the argument 'value': value['models'][0].lock is <unlocked _thread.lock" in text


def test_an_open_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "data.txt").write_text("text")
    for mode in ("r", "rb", "w", "r+b"):
        with open(tmp_path / "data.txt", mode) as file:
            text = refusal([file])
            assert "value[0] is <_io." in text
            assert (
                "an open file (" in text and "data.txt') cannot be passed on: pass its path" in text
            )
    assert "a file that is closed" in refusal(file)


def test_what_ctypes_loaded_is_refused_with_what_to_do():
    def asks():
        return LIBRARY.getpid()

    def asks_directly():
        return GETPID()

    for function, name in ((asks, "LIBRARY"), (asks_directly, "GETPID")):
        text = refusal(function)
        assert f"uses the global variable {name}; {name} is" in text
        assert "load it where it is used" in text
    assert "pointers cannot be pickled" in refusal([ctypes.pointer(ctypes.c_int(1))])


def test_what_a_task_returns_is_named_too():
    with pytest.raises(TypeError, match=r"value\['a'\]\.lock is <unlocked"):
        cyray.get(call.remote(lambda: {"a": Model()}))


# --- Exceptions ---------------------------------------------------------------------------------------

FAILURES = """
import threading
import numpy as np
import cyray

class Refusal(Exception):
    def __init__(self, reason, *, code):
        super().__init__(f"refused: {reason}")
        self.reason, self.code = reason, code

class Locked(Exception):
    def __init__(self):
        super().__init__("locked", np.arange(3))
        self.lock = threading.Lock()

@cyray.remote
def fails():
    try:
        try:
            raise Locked
        except Locked as error:
            raise KeyError("middle") from error
    except KeyError:
        raise Refusal("late", code=3)

@cyray.remote
def passes_on():
    try:
        cyray.get(fails.remote())
    except Refusal as error:
        raise ValueError("passed on") from error

cyray.init(num_cpus=2)
try:
    cyray.get(fails.remote())
except Refusal as error:
    assert (error.code, error.reason, str(error.cause)) == (3, "late", "refused: late")
    middle = error.__context__
    assert type(middle) is KeyError and type(middle.__cause__) is Locked
    text, numbers = middle.__cause__.args
    assert text == "locked" and numbers.tolist() == [0, 1, 2]
    assert "cannot be pickled" in middle.__cause__.lock
try:
    cyray.get(passes_on.remote())
except ValueError as error:
    inner = error.__cause__
    assert isinstance(inner, Refusal) and isinstance(inner, cyray.exceptions.RayTaskError)
    assert inner.code == 3 and type(inner.__context__.__cause__) is Locked
print("done")
"""


def test_exceptions_of_the_program_itself_come_with_what_hangs_on_them(tmp_path):
    out, _ = run_driver(tmp_path, FAILURES)
    assert out == "done\n"


# --- Serializers of the user's own -------------------------------------------------------------------


class Connection:
    """Of this module, and with what cannot be pickled."""

    def __init__(self, address):
        self.address = address
        self.lock = threading.Lock()


class Other(Connection):
    pass


@pytest.fixture
def connections():
    register_serializer(Connection, serializer=lambda c: c.address, deserializer=Connection)
    yield
    deregister_serializer(Connection)


def test_a_serializer_holds_for_values_of_its_class(connections):
    def addresses(first, rest):
        return first.address, rest["b"].address

    given = [Connection("a"), {"b": Connection("c")}]
    assert cyray.get(call.remote(addresses, *given)) == ("a", "c")
    assert cyray.get(cyray.put([Connection("d")]))[0].address == "d"


def test_a_serializer_holds_for_what_functions_and_exceptions_carry(connections):
    carried = Connection("carried")
    assert cyray.get(cyray.remote(lambda: carried.address).remote()) == "carried"

    @cyray.remote
    class Fails:  # so that it is registered in this process alone
        def fail(self, connection):
            register_serializer(Connection, serializer=lambda c: c.address, deserializer=Connection)
            raise ValueError("with", connection)

    with pytest.raises(ValueError) as caught:
        cyray.get(Fails.remote().fail.remote(carried))
    assert caught.value.cause.args[1].address == "carried"


def test_a_serializer_holds_for_its_class_alone_and_can_be_taken_back(connections):
    with pytest.raises(TypeError, match="Could not serialize"):
        echo.remote(Other("x"))
    deregister_serializer(Connection)
    with pytest.raises(TypeError, match="Could not serialize"):
        echo.remote(Connection("x"))
    deregister_serializer(Connection)  # nothing happens


def test_a_serializer_is_this_process_alone(connections):
    with pytest.raises(TypeError, match="Could not serialize"):
        cyray.get(call.remote(lambda: Connection("made there")))


def test_a_serializer_for_arrays_counts_for_arrays_by_themselves():
    register_serializer(np.ndarray, serializer=np.ndarray.tolist, deserializer=tuple)
    try:
        assert through_a_task(np.arange(3)) == (0, 1, 2)
        assert through_a_task([np.arange(2)]) == [(0, 1)]
    finally:
        deregister_serializer(np.ndarray)


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(TypeError, match="pickle writes values of dict itself"):
        register_serializer(dict, serializer=list, deserializer=dict)
    with pytest.raises(TypeError, match="registered for a class, not for 5"):
        register_serializer(5, serializer=list, deserializer=dict)
    with pytest.raises(TypeError, match="the deserializer of Connection is a function, not None"):
        register_serializer(Connection, serializer=list, deserializer=None)
    with pytest.raises(ValueError, match="use_pickle=True, or use_dict=True, or"):
        cyray.register_custom_serializer(Connection)
    with pytest.raises(ValueError, match="use_pickle=True, or use_dict=True, or"):
        cyray.register_custom_serializer(Connection, use_pickle=True, use_dict=True)
    with pytest.raises(TypeError, match="the deserializer of Connection is a function"):
        cyray.register_custom_serializer(Connection, serializer=str)
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"value\[1\] uses the captured variable lock"):
        cyray.register_custom_serializer(Connection, lambda c: lock, Connection)


OLD_SPELLING = """
import threading
import cyray as ray

class Foo:
    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()

class Bar:
    def __init__(self, x):
        self.x, self.y = x, [x]

@ray.remote
def make(x):
    return [Foo(x)]

@ray.remote
def make_by_another(x):
    return ray.get(make.remote(x))

@ray.remote
class Maker:
    def make(self, x):
        return Foo(x)

ray.init(num_cpus=2)
try:
    ray.get(make.remote(1))
    raise SystemExit("a lock was pickled")
except TypeError:
    pass
ray.register_custom_serializer(Foo, serializer=lambda foo: foo.x, deserializer=lambda x: Foo(x))
assert ray.get(make.remote(1))[0].x == 1            # described before, and run before
assert ray.get(make_by_another.remote(2))[0].x == 2
assert ray.get(Maker.remote().make.remote(3)).x == 3
assert ray.get(ray.put(Foo(4))).x == 4

ray.register_custom_serializer(Bar, use_dict=True)
assert vars(ray.get(ray.put(Bar(5)))) == {"x": 5, "y": [5]}
ray.register_custom_serializer(Bar, use_pickle=True)
assert vars(ray.get(ray.put(Bar(6)))) == {"x": 6, "y": [6]}

ray.register_custom_serializer(Foo, use_pickle=True)
try:
    ray.put(Foo(7))
    raise SystemExit("a lock was pickled")
except TypeError:
    pass
ray.register_custom_serializer(Foo, lambda foo: foo.x, Foo, local=True)
assert ray.get(ray.put(Foo(8))).x == 8
print("done")
"""


def test_the_old_spelling_holds_in_tasks_and_actors_too(tmp_path):
    out, _ = run_driver(tmp_path, OLD_SPELLING)
    assert out == "done\n"


# --- Reports ------------------------------------------------------------------------------------------


def test_a_report_says_what_can_be_pickled_and_what_cannot():
    out = io.StringIO()
    assert inspect_serializability([1, 2], print_file=out) == (True, set())
    assert "[1, 2]" in out.getvalue()
    lock, gate = threading.Lock(), threading.Event()

    def uses():
        return lock, gate

    out = io.StringIO()
    fine, failures = inspect_serializability(uses, name="task", print_file=out)
    assert not fine
    found = {failure.name: failure for failure in failures}
    assert found["lock"].obj is lock and found["lock"].parent is uses
    assert any(failure.parent is gate._cond for failure in failures)
    text = out.getvalue()
    assert "task: " in text and "lock: cannot pickle '_thread.lock' object" in text
    for failure in failures:
        assert repr(failure) in text


def test_a_report_goes_as_deep_as_it_is_told(capsys):
    value = {"a": {"b": {"c": threading.Lock()}}}
    for depth, name in ((0, "value"), (1, "['a']"), (2, "['b']"), (3, "['c']"), (9, "['c']")):
        fine, failures = inspect_serializability(value, name="value", depth=depth)
        assert not fine and [failure.name for failure in failures] == [name]
    assert "['c']: cannot pickle" in capsys.readouterr().out
    with pytest.raises(ValueError, match="depth"):
        inspect_serializability(value, depth=-1)


def test_pickling_by_hand_takes_what_tasks_take(connections, capsys):
    pickled = cyray.cloudpickle.dumps([Connection("x"), lambda: 5, memoryview(b"ab")])
    back = pickle.loads(pickled)
    assert back[0].address == "x" and back[1]() == 5 and back[2].tobytes() == b"ab"
    file = io.BytesIO()
    cyray.cloudpickle.dump(Connection("y"), file)
    assert cyray.cloudpickle.loads(file.getvalue()).address == "y"
    with pytest.raises(TypeError):
        cyray.cloudpickle.dumps_debug([threading.Lock()])
    assert "[0]: cannot pickle" in capsys.readouterr().out
    assert callable(cyray.cloudpickle.register_pickle_by_value)
    assert cyray.cloudpickle.subimport("array") is array


def test_encoded_values_by_hand():
    assert _raylet.decode_value(_raylet.encode_value({"a": Point(1, 2.0)}))["a"].y == 2.0


# --- Writing into what was got ------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], memoryview], ids=["", "list", "view"])
def test_small_results_are_private_copies_that_may_be_written(wrap):
    def unwrapped(value):
        return value[0] if type(value) is list else value

    for ref in (cyray.put(wrap(np.arange(10))), call.remote(lambda: wrap(np.arange(10)))):
        first, second = unwrapped(cyray.get(ref)), unwrapped(cyray.get(ref))
        third, fourth = map(unwrapped, cyray.get([ref, ref]))
        first[0], third[0] = 100, 200
        assert [one[0] for one in (first, second, third, fourth)] == [100, 0, 200, 0]
        assert unwrapped(cyray.get(ref))[0] == 0


def test_small_arguments_stay_read_only():
    def writes(values):
        values[0] = 1

    with pytest.raises(ValueError, match="inout="):
        cyray.get(call.remote(writes, np.arange(10)))


WRITES = """
import sys
import numpy as np
import cyray

sys.excepthook = lambda *error: sys.stderr.write("the hook that was there\\n")
before = sys.excepthook
cyray.init(num_cpus=1)
cyray.shutdown()
assert sys.excepthook is before
cyray.init(num_cpus=1)
small = cyray.get(cyray.put(np.zeros(10)))
small += 1
large = cyray.get(cyray.put(np.zeros(100_000)))
if sys.argv[1:]:
    raise ValueError("something else")
large += 1
"""


def test_a_program_that_ends_by_writing_into_the_store_is_told_what_to_do(tmp_path):
    _, err = Driver(tmp_path, WRITES).finish(code=1)
    assert "the hook that was there\ncyray: values of more than 100 KiB" in err
    assert "cyray.get(ref, writable=True)" in err
    _, err = Driver(tmp_path, WRITES, "other").finish(code=1)
    assert err == "the hook that was there\n"


# --- Refs in files ------------------------------------------------------------------------------------

BY_HAND = """
import gc, pickle, sys
import numpy as np
import cyray

@cyray.remote
def read(path):
    with open(path, "rb") as file:
        return float(cyray.get(pickle.load(file)).sum())

@cyray.remote
def fails(refs):
    raise ValueError("with refs", refs)

cyray.init(num_cpus=1)
captured = cyray.put(5)
assert cyray.get(cyray.remote(lambda: cyray.get(captured)).remote()) == 5
try:
    cyray.get(fails.remote([captured]))
except ValueError as error:
    assert cyray.get(error.cause.args[1]) == [5]
print("by hand from here", file=sys.stderr, flush=True)
ref = cyray.put(np.ones(1_000_000))
with open("ref.pickle", "wb") as file:
    pickle.dump(ref, file)
cyray.cloudpickle.dumps([ref, ref])
del ref
gc.collect()
assert cyray.get(read.remote("ref.pickle")) == 1_000_000
assert cyray.get(read.remote("ref.pickle")) == 1_000_000
print("done")
"""


def test_a_ref_in_a_file_keeps_its_object_and_is_told_of_once(tmp_path):
    out, err = run_driver(tmp_path, BY_HAND)
    assert out == "done\n"
    before, after = err.split("by hand from here\n")
    assert "by hand" not in before and after.count("was pickled by hand") == 1
    assert "the object stays in memory as long as this process and its owner live" in after


def test_a_handle_in_a_file_is_told_of_as_one(tmp_path):
    _, err = run_driver(
        tmp_path,
        """
        import pickle
        import cyray

        cyray.init(num_cpus=1)

        @cyray.remote
        class A:
            pass

        pickle.dumps(A.remote())
        """,
    )
    assert "cyray: an actor's handle was pickled by hand" in err and "ObjectRef" not in err
    assert "the actor lives as long as this process" in err


# --- Tables -------------------------------------------------------------------------------------------


def test_tables_of_pandas_come_back():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": np.arange(50_000), "b": np.random.default_rng(1).random(50_000)})
    table["text"] = [f"row {i}" for i in range(50_000)]
    table["kind"] = pandas.Categorical(["u", "v"] * 25_000)
    pandas.testing.assert_frame_equal(through_a_task(table), table)
    pandas.testing.assert_series_equal(through_a_task({"a": table["b"]})["a"], table["b"])
    pandas.testing.assert_frame_equal(through_a_task(table.iloc[5:9]), table.iloc[5:9])
    numbers = table[["a", "b"]]
    assert in_band(numbers) < 5000, "its columns are not copied when they are read"
    mine = cyray.get(echo.remote(numbers), writable=True)
    mine["a"] += 1
    assert (mine["a"] == numbers["a"] + 1).all()


OF_POLARS = """
import cyray
import polars

@cyray.remote
def echo(value):
    return value

cyray.init(num_cpus=1)
table = polars.DataFrame({"a": range(20_000), "text": [f"row {i}" for i in range(20_000)]})
assert cyray.get(echo.remote(table)).equals(table)
assert cyray.get(echo.remote([table["a"]]))[0].equals(table["a"])
query = cyray.get(echo.remote(table.lazy().filter(polars.col("a") < 3)))
assert query.collect().height == 3
print("done")
"""


def test_tables_of_polars_come_back(tmp_path):
    if importlib.util.find_spec("polars") is None:
        pytest.skip("no polars here")  # in a process of its own: it leaves threads and descriptors
    out, _ = run_driver(tmp_path, OF_POLARS)
    assert out == "done\n"


def test_tables_of_arrow_come_back_without_a_copy():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": range(50_000), "text": [f"row {i}" for i in range(50_000)]})
    assert in_band(table) < 5000
    back = through_a_task(table)
    assert back.equals(table) and back.schema == table.schema
    again = through_a_task(table)
    part = through_a_task({"part": table.slice(10, 5)})["part"]
    assert part.to_pylist() == table.slice(10, 5).to_pylist()
    assert again["a"].to_numpy()[-1] == 49_999


def test_tensors_of_torch_come_back():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(100_000, dtype=torch.float32).reshape(100, 1000)
    assert torch.equal(through_a_task(tensor), tensor)
    assert torch.equal(through_a_task([tensor[::2]])[0], tensor[::2])


# --- More than 4 GiB ----------------------------------------------------------------------------------

LARGE = 5 << 30
FIVE_GIB = """
import sys
import numpy as np
import cyray

@cyray.remote
def look(values):
    values = values["a"] if type(values) is dict else values
    return int(values[0]), int(values[(4 << 30) + 7]), int(values[-1]), values.size

cyray.init(num_cpus=1, object_store_memory=6 << 30)
made = np.zeros(5 << 30, np.uint8)
made[0], made[(4 << 30) + 7], made[-1] = 1, 2, 3
ref = cyray.put({"a": made} if sys.argv[1] == "pickled" else made)
assert cyray.get(look.remote(ref)) == (1, 2, 3, 5 << 30)
back = cyray.get(ref)
back = back["a"] if type(back) is dict else back
assert (back[0], back[(4 << 30) + 7], back[-1], back.size) == (1, 2, 3, 5 << 30)
print("done")
"""


def test_sizes_beyond_four_gib_are_counted_whole():
    zeros = np.zeros(LARGE, np.uint8)  # pages that nobody touches take no memory
    with pytest.raises(cyray.exceptions.ObjectStoreFullError) as caught:
        cyray.put(zeros)
    assert re.search(r"53687[0-9]{5}", str(caught.value)), "its size, and not that modulo 2**32"
    with pytest.raises(cyray.exceptions.ObjectStoreFullError, match=r"53687[0-9]{5}"):
        echo.remote([zeros])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["array", "pickled"])
def test_five_gib_go_through_the_store(tmp_path, kind):
    out, _ = Driver(tmp_path, FIVE_GIB, kind).finish(timeout=500)
    assert out == "done\n"
