"""The cache on disk: complete, private, bounded, and shared by processes."""
from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import pellucid
from pellucid.compiler import bytecode
from pellucid.native import build, cache, jit
from pellucid.native.cache import Cache
from pellucid.tensor.tracing import trace


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    build._memory.clear()
    return tmp_path / "cache"


def test_what_is_put_is_got(folder):
    c = cache.disk()
    assert c.get("a") is None and c.put("a", b"some bytes") and c.get("a") == b"some bytes"
    assert c.put("a", b"others") and c.get("a") == b"others" and c.put("empty", b"") and c.get("empty") == b""
    assert (c.hits, c.misses) == (3, 1)
    assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "a").stat().st_mode & 0o777 == 0o600
    assert not [p for p in folder.iterdir() if p.name.startswith(".new")]


@pytest.mark.parametrize("damage", (lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1]),
                                    lambda b: b"X" + b[1:], lambda b: b + b"more"))
def test_a_damaged_entry_is_removed_and_made_again(folder, damage):
    c = cache.disk()
    c.put("a", b"some bytes")
    (folder / "a").write_bytes(damage((folder / "a").read_bytes()))
    assert c.get("a") is None and not (folder / "a").exists() and c.broken == 1
    assert c.put("a", b"some bytes") and c.get("a") == b"some bytes"


@pytest.mark.parametrize("mode", (0o770, 0o707, 0o777, 0o722))
def test_a_directory_that_others_may_write_to_is_not_used(tmp_path, mode):
    place = tmp_path / "open"
    place.mkdir()
    (place / "a").write_bytes(b"planted")
    place.chmod(mode)
    c = Cache(str(place))
    assert "others may write" in c.why and c.get("a") is None and not c.put("a", b"x")
    place.chmod(0o755)                      # others may read it: that does no harm
    assert not Cache(str(place)).why


def test_an_entry_that_others_may_write_to_is_not_read(folder):
    c = cache.disk()
    c.put("a", b"some bytes")
    (folder / "a").chmod(0o666)
    assert c.get("a") is None


def test_another_users_files_are_not_read(folder, monkeypatch):
    c = cache.disk()
    c.put("a", b"some bytes")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert c.get("a") is None
    assert "belongs to another user" in Cache(str(folder)).why


def test_links_are_not_followed(folder, tmp_path):
    c = cache.disk()
    c.put("real", b"some bytes")
    os.symlink(folder / "real", folder / "link")
    assert c.get("link") is None
    os.symlink(folder, tmp_path / "elsewhere")
    assert "no directory" in Cache(str(tmp_path / "elsewhere")).why
    os.mkfifo(folder / "pipe")
    assert c.get("pipe") is None


def test_without_a_directory_nothing_is_kept(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    c = Cache(str(file / "sub"))
    assert c.why and not c.put("a", b"x") and c.get("a") is None
    monkeypatch.setenv("PELLUCID_CACHE", "0")
    assert cache.place() == "" and cache.disk().why == "switched off"


def test_the_place(monkeypatch):
    for name in ("PELLUCID_CACHE_DIR", "PELLUCID_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere/u")
    assert cache.place() == "/nowhere/u/.cache/pellucid"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.place() == "/elsewhere/pellucid"
    monkeypatch.setenv("PELLUCID_CACHE_DIR", "/here")
    assert cache.place() == "/here"


def test_the_oldest_entries_make_room(tmp_path):
    c = Cache(str(tmp_path / "small"), limit=10_000)
    assert not c.put("huge", bytes(5000))
    for i in range(12):
        assert c.put(f"k{i}", bytes(1000))
        os.utime(c.path(f"k{i}"), (1000 + i, 1000 + i))
    left = tmp_path / "small" / ".new-left"
    left.write_bytes(b"x")
    os.utime(left, (1000, 1000))
    c.trim()
    names = sorted(p.name for p in (tmp_path / "small").iterdir())
    assert names == sorted(f"k{i}" for i in range(5, 12))
    assert c.get("k5") is not None and abs(os.stat(c.path("k5")).st_mtime - time.time()) < 60      # used: young again


def test_many_small_entries_make_room_too(tmp_path):
    """To look through a quarter of a million of them takes longer than to compile."""
    c = Cache(str(tmp_path / "many"), entries=20)
    for i in range(500):
        assert c.put(f"k{i}", bytes([i % 256, i // 256]))
    assert len(os.listdir(c.directory)) < 400           # whichever process it is: one entry in 64 makes room
    c.trim()
    assert 15 <= len(os.listdir(c.directory)) <= 20


WRITER = """
import sys
from pellucid.native.cache import Cache
c = Cache(sys.argv[1])
for i in range(300):
    c.put("shared", bytes([i % 256]) * 5000)
    data = c.get("shared")
    assert data is None or len(data) == 5000 and len(set(data)) == 1
assert not c.broken
"""


def test_concurrent_writers(tmp_path):
    place = str(tmp_path / "busy")
    team = [subprocess.Popen([sys.executable, "-c", WRITER, place]) for _ in range(3)]
    assert [p.wait(60) for p in team] == [0, 0, 0]
    assert len(Cache(place).get("shared")) == 5000 and os.listdir(place) == ["shared"]


# ---------------------------------------------------------------------------------------------------- keys
def test_keys_depend_on_every_part():
    keys = {cache.key(*parts) for parts in (("a", "b"), ("a", "b", ""), ("a", "", "b"), ("a", "bc"), ("ab", "c"), ("a", b"b"[:0]))}
    assert len(keys) == 6
    assert cache.key("a", "b") == cache.key("a", b"b")


def graph_of(n=7, k=2.0, fn=None):
    return trace(fn or (lambda x, w: (pellucid.tanh(x @ w) * k).sum(0)), (pellucid.ones(5, n), pellucid.ones(n, 3))).graph


def test_equal_graphs_have_equal_signatures():
    assert build.signature(graph_of()) == build.signature(graph_of())
    different = {build.signature(g) for g in (graph_of(), graph_of(8), graph_of(7, 3.0), graph_of(7, 2),
                                              graph_of(fn=lambda x, w: (x @ w).sum(0) + pellucid.tensor([1.0, 2, 3])),
                                              graph_of(fn=lambda x, w: (x @ w).sum(0) + pellucid.tensor([1.0, 2, 4])))}
    assert len(different) >= 5


def test_attributes_only_python_knows_stay_in_this_process():
    with pytest.raises(build.Private):
        build.plain(object())
    with pytest.raises(build.Private):
        build.plain(lambda: 0)


# ---------------------------------------------------------------------------------------------------- programs
def test_objects_are_compiled_once(folder):
    made = []
    assert jit.compiled("object", ("text",), lambda: made.append(1) or b"code") == (b"code", False)
    assert jit.compiled("object", ("text",), lambda: made.append(1) or b"code") == (b"code", True)
    assert len(made) == 1


def test_a_program_comes_from_memory_and_from_disk(folder):
    g = graph_of()
    arrays = [np.full((5, 7), 0.1, np.float32), np.full((7, 3), 0.2, np.float32)]
    first = build.compile_graph(g)
    second = build.compile_graph(g)
    build._memory.clear()
    third = build.compile_graph(g)
    assert [e.report["cache"] for e in (first, second, third)] == ["none", "memory", "disk"]
    results = [e(arrays)[0] for e in (first, second, third)]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    assert third.plan.kernels                # made again, to read
    assert first.instance is not second.instance


def test_constants_are_kept_with_the_program(folder):
    def f(x):
        return x + pellucid.tensor([1.0, 2.0, 3.0]).exp() * pellucid.arange(3)
    g = trace(f, (pellucid.zeros(3),)).graph
    expected = build.compile_graph(g)([np.zeros(3, np.float32)])[0]
    build._memory.clear()
    again = build.compile_graph(trace(f, (pellucid.zeros(3),)).graph)
    assert again.report["cache"] == "disk"
    assert np.array_equal(again([np.zeros(3, np.float32)])[0], expected)


def test_a_program_that_cannot_be_read_is_made_again(folder):
    g = graph_of()
    build.compile_graph(g)
    name, = [p.name for p in folder.iterdir() if p.name.startswith("program-")]
    cache.disk().put(name, b"\x10" + bytes(40))
    build._memory.clear()
    e = build.compile_graph(g)
    assert e.report["cache"] == "none"
    e([np.ones((5, 7), np.float32), np.ones((7, 3), np.float32)])


SECOND = """
import numpy as np, pellucid
from pellucid.native import build, llvm
from pellucid.tensor.tracing import trace
compiled = llvm.compile_object
def refuse(*args): raise AssertionError("the second process compiled")
if {second}: llvm.compile_object = refuse
g = trace(lambda x, w: (pellucid.tanh(x @ w) * 2).sum(0), (pellucid.ones(5, 7), pellucid.ones(7, 3))).graph
e = build.compile_graph(g)
print(e.report["cache"], float(e([np.ones((5, 7), np.float32), np.ones((7, 3), np.float32)])[0].sum()))
"""


def test_a_second_process_compiles_nothing(folder):
    environment = {**os.environ, "PELLUCID_CACHE_DIR": str(folder)}
    out = [subprocess.run([sys.executable, "-c", SECOND.format(second=second)], env=environment, capture_output=True, text=True,
                          check=True).stdout.split() for second in (False, True)]
    assert [o[0] for o in out] == ["none", "disk"] and out[0][1] == out[1][1]


LONG = "def outer(x):\n" + "".join(f"    y{k} = x + {k}\n" for k in range(600)) + "    return [v for v in (y0, y599)], y1 / x\n"


def test_long_generated_python_is_compiled_once_for_all_processes(folder, monkeypatch):
    def ran(file):
        space: dict = {}
        exec(bytecode.bytecode(LONG, file), space)
        assert space["outer"](2) == ([2, 601], 1.5)
        with pytest.raises(ZeroDivisionError) as caught:
            space["outer"](0)
        assert caught.traceback[-1].frame.code.raw.co_filename == file and caught.traceback[-1].lineno == 601

    ran("<the first>")
    (entry,) = folder.iterdir()
    monkeypatch.setattr(bytecode, "compile", None, raising=False)       # nothing is compiled from here on
    ran("<the second>")
    monkeypatch.undo()
    monkeypatch.setenv("PELLUCID_CACHE_DIR", str(folder))
    entry.write_bytes(entry.read_bytes()[:-3])
    ran("<the third>")
