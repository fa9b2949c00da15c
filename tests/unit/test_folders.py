"""Folders in which nothing can be written, or whose names cannot be told."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

import pytest

from cyray._node import sessions
from cyray._os import files


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("CYRAY_TMPDIR", str(tmp_path))
    # The length of pytest's own folders is not what is tested here.
    monkeypatch.setattr(sessions, "_MAX_SOCKET_PATH", 1000)


@contextlib.contextmanager
def no_room():
    """Files cannot grow in this process: writing fails as on a full disk.

    Not a fixture: pytest itself writes before those are taken down, maybe to a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_without_room_is_named_and_no_folder_left():
    refusal = r"cannot be written \(File too large\); set CYRAY_TMPDIR"
    with pytest.raises(RuntimeError, match=refusal), no_room():
        sessions.make_session()
    assert sessions.sessions() == []


def test_a_file_that_cannot_be_written_is_named_and_not_left(tmp_path):
    with pytest.raises(OSError, match=r"File too large: '.*/note'"), no_room():
        files.write_atomically(str(tmp_path / "note"), "text")
    assert not list(tmp_path.glob("note*"))


def test_a_file_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "note").write_text("before")
    with pytest.raises(FileExistsError):
        files.write_new(str(tmp_path / "note"), "after")
    assert (tmp_path / "note").read_text() == "before"


def test_a_folder_whose_name_is_no_text_is_refused(monkeypatch):
    monkeypatch.setenv("CYRAY_TMPDIR", "/tmp/cy\udcff")
    with pytest.raises(RuntimeError, match=r"CYRAY_TMPDIR names .*not UTF-8"):
        sessions.base_dir()


def test_in_a_removed_folder_paths_are_absolute_or_refused(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", "here", "/there"])
    assert files.import_path() == [str(gone), str(gone / "here"), "/there"]
    os.rmdir(gone)
    assert files.working_folder() == ""
    assert files.import_path() == ["/there"]
    monkeypatch.setenv("CYRAY_TMPDIR", "relative")
    with pytest.raises(RuntimeError, match="CYRAY_TMPDIR names 'relative', and the folder"):
        sessions.base_dir()
