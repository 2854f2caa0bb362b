# SPDX-License-Identifier: Apache-2.0
"""Files are whole or as they were: links, modes, leftovers, full disks, several at once."""

import ast
import contextlib
import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tfprune.output import atomic_write
from tfprune.output.atomic_write import reserved, write

ROOT = Path(__file__).parents[2]
_WRITER = """
import sys
from tfprune.output.atomic_write import reserved
with reserved(sys.argv[1]) as place:
    print("reserved", flush=True)
    sys.stdin.readline()
    place.commit(b"theirs")
"""


def names(folder):
    return sorted(os.listdir(folder))


@contextlib.contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def disk_of(bytes_):
    """The system refuses longer files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def another_process(path):
    """A process that has reserved `path` and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        assert process.stdout.readline() == "reserved\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path, mask, mode):
    with umask(mask):
        assert write(tmp_path / "f", b"x") == tmp_path / "f"
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == mode


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(mode)
    with umask(0o022):
        write(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("held", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_is_followed(tmp_path, held):
    (tmp_path / "far").mkdir()
    if held:
        (tmp_path / "far" / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(Path("far") / "real")
    assert write(tmp_path / "link", b"new") == tmp_path / "far" / "real"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "real").read_bytes() == b"new"
    assert names(tmp_path / "far") == ["real"] and names(tmp_path) == ["far", "link"]


@pytest.mark.parametrize(
    "path, error, text",
    [
        ("", ValueError, "no file can have this one"),
        ("a\0b", ValueError, "no file can have"),
        (None, TypeError, "path=None: expected the path of the file to write, .* got NoneType"),
        (3, TypeError, "got int"),
        (".", IsADirectoryError, "it is a folder; pass the name of a file"),
        ("missing/f", FileNotFoundError, "folder .*missing does not exist; create it first"),
        ("file/f", NotADirectoryError, "cannot write file/f: Not a directory"),
        ("pipe", OSError, "it is a device or a pipe"),
        ("/dev/null", OSError, "it is a device"),
        ("loop", OSError, "cannot write loop: Too many levels of symbolic links"),
        ("n" * 300, OSError, "cannot write n*: File name too long"),
    ],
)
def test_what_cannot_be_written(tmp_path, monkeypatch, path, error, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    with pytest.raises(error, match=text):
        write(path, b"x")
    assert names(tmp_path) == ["file", "loop", "pipe"]
    assert (tmp_path / "file").read_bytes() == b"old" and stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_folders_and_files_without_permission(tmp_path, monkeypatch):
    """The suite may run as root, to whom everything is writable: system calls are replaced."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "f"
    path.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)
        with pytest.raises(PermissionError, match="the file there is read-only; remove it"):
            write(path, b"new")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="cannot write .*/f: Permission denied in the folder"):
        write(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("n" * 255, "\N{SNOWMAN}" * 85):
        with reserved(tmp_path / name) as place:
            assert len(names(tmp_path)) == 1
            place.commit(b"x")
        os.unlink(tmp_path / name)


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    write(path, b"old")
    with disk_of(1000), pytest.raises(OSError, match=f"cannot write {path}: File too large"):
        write(path, bytes(2000))
    assert path.read_bytes() == b"old" and names(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch, call, error):
    def interrupted(*_):
        raise error

    write(tmp_path / "f", b"old")
    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(error):
        write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old" and names(tmp_path) == ["f"]


def test_the_next_run_removes_what_a_kill_left_and_nothing_that_lives(tmp_path):
    path = tmp_path / "f"
    (tmp_path / ".f.part").write_bytes(b"somebody's")
    with another_process(path) as one, another_process(path) as other:
        theirs = names(tmp_path)
        assert len(theirs) == 3 and all(name.startswith(".f.") for name in theirs)
        write(path, b"ours")
        assert names(tmp_path) == [*theirs, "f"]
        one.kill()
        one.wait()
        write(tmp_path / "g", b"ours")  # of another file: nothing is swept
        assert len(names(tmp_path)) == 5
        write(path, b"ours")
        assert len(names(tmp_path)) == 4
        other.communicate("\n")
        assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == [".f.part", "f", "g"]


def test_a_file_that_is_swept_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    def swept(number, **_):
        if len(locked) == 0:
            os.unlink(tmp_path / names(tmp_path)[0])
        locked.append(number)

    locked = []
    monkeypatch.setattr(atomic_write, "_lock", swept)
    write(tmp_path / "f", b"x")
    assert len(locked) == 2 and (tmp_path / "f").read_bytes() == b"x"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("fails", range(4))
def test_several_files_are_replaced_all_or_none(tmp_path, monkeypatch, fails, links):
    """Two old files and a new one: the third, second or first cannot be renamed; or all can."""

    def rename(source, target):
        if not (Path(target) in paths and ".part" in str(source) and next(turns) == fails):
            return original(source, target)
        raise OSError(28, "No space left on device")

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    paths = [tmp_path / name for name in "abc"]
    for path in paths[:2]:
        path.write_bytes(b"old " + path.name.encode())
    original, turns = os.replace, iter(range(9))
    monkeypatch.setattr(os, "replace", rename)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    refused = (
        pytest.raises(OSError, match=f"{paths[fails]}: No space")
        if fails < 3
        else contextlib.nullcontext()
    )
    with refused, reserved(*paths) as place:
        assert place.paths == tuple(paths)
        place.commit(b"a", b"b", b"c")
    if fails < 3:
        assert names(tmp_path) == ["a", "b"]
        assert [path.read_bytes() for path in paths[:2]] == [b"old a", b"old b"]
    else:
        assert names(tmp_path) == ["a", "b", "c"]
        assert b"".join(path.read_bytes() for path in paths) == b"abc"


def test_several_files_on_a_full_disk(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    paths[0].write_bytes(b"old")
    with (
        disk_of(1000),
        pytest.raises(OSError, match=f"{paths[1]}: File too large"),
        reserved(*paths) as place,
    ):
        place.commit(b"new", bytes(2000))
    assert names(tmp_path) == ["a"] and paths[0].read_bytes() == b"old"


def _writes(path):
    """Calls by which a module could write a file itself."""
    text = path.read_text()
    if not re.search(r"open\(|\.write_|savefig|mkstemp|os\.re|np\.save", text):
        return
    for call in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        modes = {
            one.value
            for one in (*call.args, *(word.value for word in call.keywords))
            if isinstance(one, ast.Constant)
        } & {"w", "wb", "a", "ab", "x", "xb", "r+", "r+b"}
        if (
            name.endswith((".write_text", ".write_bytes", ".savefig", ".mkstemp"))
            or name in ("os.replace", "os.rename", "np.save", "np.savez")
            or modes
            and name.split(".")[-1] == "open"
        ):
            yield name


def test_nothing_else_writes_files():
    found = {
        str(path.relative_to(ROOT)): sorted(set(_writes(path)))
        for package in ("tfprune", "tflite_export")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: calls for path, calls in found.items() if calls} == {
        "tfprune/output/atomic_write.py": ["open", "os.replace"],
        "tflite_export/devices/vela.py": ["path.write_bytes"],  # in a temporary folder
        "tfprune/evaluation/figure_svg.py": ["figure.savefig"],  # into memory
    }
