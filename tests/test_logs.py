"""What tasks and actors print appears at the driver, with who printed it."""

from __future__ import annotations

import os
import re

from support import eventually, run_driver

import cyray


def lines_of(text, pattern):
    return re.findall(pattern, text)


def test_a_tasks_output_has_its_name_and_pid(tmp_path):
    out, err = run_driver(
        tmp_path,
        """
        import os
        import sys
        import cyray

        @cyray.remote
        def speak():
            print("to stdout")
            print("to stderr", file=sys.stderr)
            return os.getpid()

        cyray.init(num_cpus=1)
        pid = cyray.get(speak.remote())
        cyray.get(speak.options(name="special").remote())
        cyray.shutdown()
        print("pid", pid)
        """,
    )
    (pid,) = lines_of(out, r"(?m)^pid (\d+)$")
    assert f"(speak pid={pid}) to stdout" in out
    assert f"(speak pid={pid}) to stderr" in err
    assert "(special pid=" in out
    assert "\x1e" not in out + err


def test_an_actors_output_has_its_class_or_repr(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        @cyray.remote
        class Plain:
            def speak(self):
                print("one")

        @cyray.remote
        class Named:
            def __init__(self, n):
                self.n = n

            def __repr__(self):
                return f"Named({self.n})"

            def speak(self):
                print("two")

        cyray.init(num_cpus=1)
        plain, named = Plain.remote(), Named.remote(7)
        cyray.get([plain.speak.remote(), named.speak.remote()])
        """,
    )
    assert lines_of(out, r"\(Plain pid=\d+\) one")
    assert lines_of(out, r"\(Named\(7\) pid=\d+\) two")


def test_lines_without_newline_and_long_lines_arrive(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import sys
        import cyray

        @cyray.remote
        def speak():
            sys.stdout.write("a half")
            sys.stdout.write(" line\\n")
            print("x" * 10_000)
            for i in range(200):
                print("line", i)
            sys.stdout.write("no newline")
            sys.stdout.flush()

        cyray.init(num_cpus=1)
        cyray.get(speak.remote())
        """,
    )
    assert "a half line" in out
    assert "x" * 1000 in out
    assert [int(i) for i in lines_of(out, r"line (\d+)")] == list(range(200))
    assert lines_of(out, r"\(speak pid=\d+\) no newline\n")


def test_output_of_c_code_and_of_children_arrives(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import os
        import cyray

        @cyray.remote
        def speak():
            os.write(1, b"raw bytes\\n")
            os.system("echo from a shell")

        cyray.init(num_cpus=1)
        cyray.get(speak.remote())
        """,
    )
    assert lines_of(out, r"pid=\d+\) raw bytes")
    assert lines_of(out, r"pid=\d+\) from a shell")


def test_the_same_line_of_many_processes_is_printed_once(tmp_path):
    program = """
        import cyray

        @cyray.remote
        class A:
            def speak(self):
                print("all say the same")

        cyray.init(num_cpus=2)
        actors = [A.remote() for _ in range(4)]
        cyray.get([a.speak.remote() for a in actors])
    """
    out, _ = run_driver(tmp_path, program)
    assert len(lines_of(out, "all say the same")) == 2
    assert "repeated 3x across cluster" in out
    out, _ = run_driver(tmp_path, program, CYRAY_DEDUP_LOGS="0")
    assert len(lines_of(out, r"\(A pid=\d+\) all say the same")) == 4


def test_output_can_be_kept_from_the_driver(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        @cyray.remote
        def speak():
            print("hidden")

        cyray.init(num_cpus=1, log_to_driver=False)
        cyray.get(speak.remote())
        """,
    )
    assert "hidden" not in out


def test_output_is_in_the_sessions_log_folder():
    context = cyray.init(num_cpus=1, log_to_driver=False)

    @cyray.remote
    def speak():
        print("for the file")
        return os.getpid()

    pid = cyray.get(speak.remote())
    logs = os.path.join(context["session_dir"], "logs")

    def written():
        for name in os.listdir(logs):
            if name.startswith("worker-") and name.endswith(f"-{pid}.out"):
                with open(os.path.join(logs, name)) as file:
                    return "for the file" in file.read()
        return False

    eventually(written)
    assert {"raylet.out", "gcs_server.out"} <= set(os.listdir(logs))


def test_a_traceback_of_a_dying_worker_reaches_the_driver(tmp_path):
    _, err = run_driver(
        tmp_path,
        """
        import faulthandler
        import cyray

        @cyray.remote(max_retries=0)
        def crash():
            faulthandler.enable()
            import ctypes

            ctypes.string_at(0)

        cyray.init(num_cpus=1)
        try:
            cyray.get(crash.remote())
        except cyray.exceptions.WorkerCrashedError:
            pass
        """,
    )
    assert "Segmentation fault" in err


def test_output_of_another_node_reaches_the_driver(tmp_path):
    out, err = run_driver(
        tmp_path,
        """
        import sys
        import cyray
        from cyray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1, resources={"other": 1})

        @cyray.remote(resources={"other": 1})
        def speak():
            print("said there")
            print("shouted there", file=sys.stderr)
            sys.stdout.write("without an end")
            sys.stdout.flush()

        cyray.get(speak.remote())
        cyray.shutdown()
        cluster.shutdown()
        """,
    )
    assert lines_of(out, r"\(speak pid=\d+\) said there")
    assert lines_of(err, r"\(speak pid=\d+\) shouted there")
    assert lines_of(out, r"\(speak pid=\d+\) without an end")


def test_progress_of_tasks_and_actors_is_shown_by_their_driver(tmp_path):
    out, err = run_driver(
        tmp_path,
        """
        import cyray
        from cyray.experimental import tqdm_ray

        @cyray.remote
        def work(n):
            for _ in tqdm_ray.tqdm(range(n), desc="work", flush_interval_s=1000):
                pass

        @cyray.remote
        class Worker:
            def work(self):
                bar = tqdm_ray.tqdm(total=3, desc="calls", flush_interval_s=0)
                for _ in range(3):
                    bar.update()
                bar.close()

        cyray.init(num_cpus=2)
        cyray.get([work.remote(4), Worker.remote().work.remote()])
        cyray.shutdown()
        """,
    )
    assert lines_of(out, r"\(work pid=\d+\) (work: .*)") == [
        "work: 0/4 it (0 %)",
        "work: 4/4 it (100 %)",
    ]
    assert lines_of(out, r"\(Worker pid=\d+\) calls: (\d)/3") == ["0", "1", "2", "3"]
    assert "tqdm" not in out + err
