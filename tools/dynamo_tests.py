"""PyTorch's own tests of `torch.compile` as tests of values: how many pass on pellucid, file by file.

    python tools/dynamo_tests.py --tests TESTS --parity PARITY [FILE ...] [-k WORD] [--list-fail] [--tsv OUT] [--eager]

TESTS holds PyTorch's test/ folder, PARITY the shim for its test base (PARITY/get_pytorch_tests.sh DIR fetches the former). Each
test compiles functions and compares what they give with what they give when not compiled: that is all that is asked here. How
many graphs there were, and how many operators they had, is PyTorch's own affair: the counters of this harness equal every number.
`fullgraph=True` and backends of a test's own are ignored: MODULE.compile(fn, backend="eager") is what runs.

A test counts if it is in dynamo_tests.tsv: it names nothing private (PRIVATE), and passes on PyTorch under this very harness,
with its real compiler (`--module torch --accept` writes the list anew). `--eager` runs the tests without compiling: what fails
then is not the compiler's fault. Every test has 20 seconds; a file goes on after a crash, in a new process.
"""
from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
import unittest.mock
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = Path(__file__).with_suffix(".tsv")
FILES = ("test_misc.py", "test_functions.py", "test_exceptions.py", "test_ctx_manager.py", "test_modules.py", "test_repros.py")
SECONDS, GIGABYTES = 20, 10
SHIM = "torch._values"                                   # what `torch._dynamo` becomes in the tests' text
TEXT = ((r"\btorch\._dynamo\b", SHIM), (r"\btorch\.compile\b(?!r)", f"{SHIM}.compile"), (r"\btorch\._inductor\.test_case\b", f"{SHIM}.test_case"),
        (r"\bfrom torch import _dynamo\b", "from torch import _values as _dynamo"))
# In a test's source: what only PyTorch has. Graphs and guards as objects, logs, other compilers, private modules.
PRIVATE = re.compile(r"""torch\._(?!values|check|foreach)|torch\.(fx|ops|library|export|cuda|profiler|distributed|package|ao|onnx|func|_C)\b|
    FileCheck|jit\.(trace|script|load|save|freeze)\b|symbolic_shapes|ShapeEnv|_values\.(export|guards|source|variables|trace_rules|bytecode|eval_frame|convert_frame|
    symbolic_convert|output_graph|comptime|backends|mutation_guard|funcname_cache|side_effects|skipfiles|utils\.(?!same|ifdynstaticdefault|
    clone_input))|counters\b|compilation_metrics|assertExpectedInline|normalize_gm|EagerAndRecordGraphs|AotEager|logs_to_string|
    assertLogs|_logging|logging\.|GraphModule|\.graphs?\b|_guards|GuardManager|guard_fail_fn|guard_export_fn|aot_autograd|inductor|
    functorch|make_fx|FakeTensor|fake_mode|\bdis\.|TwoTensor|triton|_debug_get|BuiltinVariable|ConstantVariable|_pytree|DispatchMode|
    TorchFunctionMode|CompileId|cpp_extension|_guarded|refcount|set_eval_frame|__code__\.co_(?!name)|error_on_recompile|size_oblivious|
    PackageExporter|run_and_get_code|ConstraintViolation|dynamo_ctx|_Reduction|_profiler_enabled|onlyif_dynamo|
    "_subclasses"|forbidden[ ]callable|_ops_refs|to_sparse
    """, re.VERBOSE)


class AnyNumber:
    """A count that nobody asks about: every comparison with it holds."""

    def _self(self, *other: Any) -> AnyNumber:
        return self

    def _true(self, other: Any) -> bool:
        return True

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __iadd__ = __isub__ = __floordiv__ = _self
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _true  # type: ignore
    __hash__ = object.__hash__

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __repr__(self) -> str:
        return "any number"


ANY = AnyNumber()


class Counter:
    """CompileCounter and its relatives: backends that count. Here they count nothing, and are not called."""

    def __init__(self, backend: Any = "eager"):
        self.backend = backend

    frame_count = property(lambda self: ANY, lambda self, value: None)
    op_count = property(lambda self: ANY, lambda self, value: None)

    def clear(self) -> None:
        pass


class Config(types.ModuleType):
    """Settings: any name may be read, set and patched, without effect."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return False

    @staticmethod
    def patch(*args: Any, **kwargs: Any) -> Any:
        class Patch(contextlib.ContextDecorator):
            def __enter__(self) -> None:
                pass

            def __exit__(self, *exc: Any) -> bool:
                return False

            def __call__(self, thing: Any) -> Any:
                return thing
        return Patch()


def package(torch: Any, case: type, compiled: bool, absent: Any, placeholder: type) -> dict[str, types.ModuleType]:
    """{module name: module}: what stands for `torch._dynamo` in the tests."""
    own = torch.__name__ == "torch"
    real = importlib.import_module("torch._dynamo") if own else getattr(torch, "compiler")

    def module(name: str, kind: type = placeholder, **names: Any) -> types.ModuleType:
        made = kind(f"{SHIM}.{name}" if name else SHIM)
        made.__path__ = []
        made.__dict__.update(names)
        return made

    def compile(model: Any = None, *, fullgraph: bool = False, dynamic: Any = None, backend: Any = None, mode: Any = None, options: Any = None,
                disable: bool = False) -> Any:
        if model is None:
            return lambda model: compile(model, dynamic=dynamic, disable=disable)
        if disable or not compiled:
            return model
        return torch.compile(model, backend="eager", dynamic=dynamic)

    def optimize(backend: Any = None, *, nopython: bool = False, guard_export_fn: Any = None, guard_fail_fn: Any = None, disable: bool = False,
                 dynamic: Any = None, **other: Any) -> Any:
        return lambda model: compile(model, dynamic=dynamic, disable=disable)

    def same(a: Any, b: Any, fp64_ref: Any = None, tol: float = 1e-4, equal_nan: bool = False, exact_dtype: bool = True, **other: Any) -> bool:
        again = functools.partial(same, tol=tol, equal_nan=equal_nan, exact_dtype=exact_dtype)
        if isinstance(a, (list, tuple, collections.deque)):
            return isinstance(b, (list, tuple, collections.deque)) and len(a) == len(b) and all(again(x, y) for x, y in zip(a, b))
        if isinstance(a, dict):
            return isinstance(b, dict) and set(a) == set(b) and all(again(a[k], b[k]) for k in a)
        if isinstance(a, torch.Tensor):
            if not isinstance(b, torch.Tensor) or a.shape != b.shape or exact_dtype and a.dtype != b.dtype:
                return False
            if a.dtype == torch.bool or b.dtype == torch.bool:
                return bool(torch.equal(a.to(torch.bool), b.to(torch.bool)))
            return bool(torch.allclose(a.detach().to(b.dtype), b.detach(), atol=tol, rtol=tol, equal_nan=equal_nan))
        if isinstance(a, float) and isinstance(b, (int, float)):
            return abs(a - b) <= tol * max(1.0, abs(b)) or a == b or a != a and b != b
        if type(a).__module__ == "numpy":
            return bool((a == b).all() if hasattr(a == b, "all") else a == b)
        if type(a).__module__ in ("builtins", "torch") or a is None or a == b:
            return bool(a == b)
        return type(a) is type(b) and again(vars(a), vars(b)) if hasattr(a, "__dict__") else False

    def reset() -> None:
        getattr(real, "reset", lambda: None)()

    def standard_test(self: Any, fn: Any, nargs: int, expected_ops: Any = None, expected_ops_dynamic: Any = None, expected_frame_count: int = 1) -> None:
        first, second = [torch.randn(10, 10) for _ in range(nargs)], [torch.randn(10, 10) for _ in range(nargs)]
        wanted = fn(*first), fn(*second)
        reset()
        run = compile(fn)
        found = run(*first), run(*second), run(*first), run(*second)
        reset()
        self.assertTrue(same(found, wanted + wanted))

    def reduce_to_scalar_loss(out: Any) -> Any:
        if isinstance(out, torch.Tensor):
            return out.sum() / out.numel()
        parts = list(out.values() if isinstance(out, dict) else out)
        return sum(reduce_to_scalar_loss(x) for x in parts) / len(parts)

    def requires_bwd_pass(out: Any) -> bool:
        return any(map(requires_bwd_pass, out)) if isinstance(out, (list, tuple)) else isinstance(out, torch.Tensor) and out.requires_grad

    def collect_results(model: Any, prediction: Any, loss: Any, example_inputs: Any) -> list:
        def name(text: str) -> str:
            return re.sub(r"^_orig_mod[.]", "", text)
        parameters = list(model.named_parameters())
        grads = {name(n) + ".grad": torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters}
        inputs = [x for e in example_inputs for x in (e if isinstance(e, (tuple, list)) else [e]) if isinstance(x, torch.Tensor)]
        return [prediction, loss, grads, {name(n): p for n, p in parameters}, dict(model.named_buffers()), *[x.grad for x in inputs]]

    def rand_strided(size: Any, stride: Any, dtype: Any = torch.float32, device: Any = "cpu", extra_size: int = 0) -> Any:
        needed = extra_size + (sum((n - 1) * s for n, s in zip(size, stride)) + 1 if all(n > 0 for n in size) else 0)
        buffer = torch.randn(needed, dtype=dtype) if dtype.is_floating_point else torch.zeros(needed, dtype=dtype)
        return torch.as_strided(buffer, size, stride)

    def unsupported(x: Any, y: Any) -> Any:
        return x

    def plainly(thing: Any = None) -> Any:
        return plainly if thing is None else thing

    def clone_input(x: Any, **other: Any) -> Any:
        return x.detach().clone().requires_grad_(x.requires_grad)

    class TestCase(case):  # type: ignore
        def setUp(self) -> None:
            super().setUp()
            reset()

        def tearDown(self) -> None:
            super().tearDown()
            reset()

        def _why(self, x: Any, y: Any, *rest: Any) -> Any:
            return None if x is ANY or y is ANY else super()._why(x, y, *rest)

    needs_312 = unittest.skipUnless(sys.version_info >= (3, 12), "Python 3.12")
    testing = module("testing", three=3, standard_test=standard_test, same=same, CompileCounter=Counter, CompileCounterWithBackend=Counter,
                     reduce_to_scalar_loss=reduce_to_scalar_loss, requires_bwd_pass=requires_bwd_pass, collect_results=collect_results,
                     rand_strided=rand_strided, unsupported=unsupported, expectedFailureDynamic=plainly, skipIfNotPy311=plainly,
                     requiresPy310=plainly, skipIfPy312=unittest.skipIf(sys.version_info >= (3, 12), "Python 3.12"), skipIfNotPy312=needs_312,
                     xfailIfPy312=plainly, check_dynamic_shape_capture=lambda: False)
    exceptions = {n: type(n, (RuntimeError,), {}) for n in ("Unsupported", "UserError", "TorchRuntimeError", "InternalTorchDynamoError",
                                                            "BackendCompilerFailed", "RecompileError", "ArgsMismatchError", "TorchDynamoException")}
    config = module("config", Config)
    parts = {
        "config": config, "testing": testing, "exc": module("exc", **exceptions),
        "test_case": module("test_case", TestCase=TestCase, run_tests=lambda *a, **k: None),
        "utils": module("utils", same=same, ifdynstaticdefault=lambda a, b: ANY, clone_input=clone_input, clone_inputs=lambda xs: [clone_input(x) for x in xs]),
        "eval_frame": module("eval_frame", unsupported=unsupported),
    }
    top = module("", compile=compile, optimize=optimize, optimize_assert=optimize, reset=reset, list_backends=lambda: ["eager"], **parts)
    for name in ("graph_break", "disable", "allow_in_graph", "disallow_in_graph", "forbid_in_graph", "mark_dynamic", "maybe_mark_dynamic",
                 "mark_static", "mark_static_address", "is_compiling", "run", "assume_constant_result"):
        if hasattr(real, name):
            setattr(top, name, getattr(real, name))
    if not own:                                          # what says nothing about values does nothing
        top.run = plainly  # type: ignore
        for name in ("graph_break", "mark_dynamic", "maybe_mark_dynamic", "mark_static"):
            if not hasattr(real, name):
                setattr(top, name, lambda *args, **kwargs: None)
    return {SHIM: top, **{f"{SHIM}.{name}": part for name, part in parts.items()}}


class Rows(unittest.TestResult):
    """Writes each test's outcome as soon as it is known: test, outcome, message."""

    def __init__(self, out: io.TextIOBase):
        super().__init__()
        self.out = out

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.say(test, "start", "")
        self.ended = False
        signal.alarm(SECONDS)

    def stopTest(self, test: Any) -> None:
        signal.alarm(0)
        super().stopTest(test)

    def say(self, test: Any, outcome: str, error: Any) -> None:
        if isinstance(error, tuple):
            error = f"{error[0].__name__}: {error[1]}"
        name = ".".join(test.id().split(".")[-2:])
        self.out.write(f"{name}\t{outcome}\t" + re.sub(r"\s+", " ", str(error))[:300] + "\n")
        self.out.flush()

    def addSuccess(self, test: Any) -> None:
        self.say(test, "pass", "")

    def addFailure(self, test: Any, err: Any) -> None:
        self.say(test, "fail", err)

    def addError(self, test: Any, err: Any) -> None:
        self.say(test, "error", err)

    def addSkip(self, test: Any, reason: str) -> None:
        self.say(test, "skip", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.say(test, "skip", "expected failure")

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.say(test, "skip", "expected failure")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.say(test, "fail", err)


def private(test: unittest.TestCase) -> bool:
    method = inspect.unwrap(getattr(type(test), test._testMethodName))
    for cell in getattr(method, "__closure__", None) or ():                 # make_test, parametrize: the function inside
        if inspect.isfunction(cell.cell_contents) and "dynamo" in cell.cell_contents.__code__.co_filename:
            method = cell.cell_contents
    file = sys.modules[type(test).__module__]
    sources = [source_of(method)]
    for thing in (getattr(file, name, None) for name in set(re.findall(r"\b[A-Za-z_]\w*", sources[0]))):
        if getattr(thing, "__module__", None) == file.__name__ and not hasattr(thing, "assertEqual"):
            sources += [source_of(base) for base in getattr(thing, "__mro__", (thing,)) if base.__module__ == file.__name__]
    return any(PRIVATE.search(source) for source in sources)


def source_of(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def out_of_time(*args: Any) -> None:
    raise TimeoutError(f"{SECONDS} s")


def lenient(own: Any, absent: Any, name: str) -> Any:
    try:
        if own is not None:
            return own(name)
    except AttributeError:
        pass
    if name.startswith("__"):
        raise AttributeError(name)
    return absent(name, (), {})


def stand_ins(path: Path, placeholder: type) -> list[types.ModuleType]:
    """The modules of `torch` that a file imports; those that are not there get a stand-in, and are left out of the list."""
    there = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.startswith("torch."):
                try:
                    there.append(importlib.import_module(name))
                except ImportError:
                    sys.modules[name] = placeholder(name)
                    sys.modules[name].__path__ = []
    return [module for module in dict.fromkeys(there) if isinstance(getattr(module, "__file__", None), str) and not isinstance(module, placeholder)]


def serve(args: argparse.Namespace) -> None:
    """Run one file's tests in this process; what `args.serve` lists already has been run."""
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30,) * 2)
    path, out = Path(args.files[0]), Path(args.serve)
    sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(args.parity)]
    from pytorch_tests import Absent, Finder, Placeholder, fill_missing_names  # type: ignore
    import ptshim  # type: ignore
    warnings.simplefilter("ignore")
    torch = importlib.import_module(args.module)
    sys.modules["torch"] = torch
    torch.set_num_threads(1)
    if args.module == "torch":
        torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))      # its compiler is loaded before its test tools are replaced
    ptshim.install(torch)
    modules = package(torch, sys.modules["torch.testing._internal.common_utils"].TestCase, not args.eager, Absent, Placeholder)
    sys.modules.update(modules)
    torch._values = modules[SHIM]
    sys.meta_path.append(Finder())
    sys.path.insert(0, str(path.parent))
    loose = [] if args.module == "torch" else [torch, torch.ops]
    loose += [module for module in stand_ins(path, Placeholder) if module not in loose and args.module != "torch"]
    fill_missing_names(str(path))
    strict = [vars(module).get("__getattr__") for module in loose]
    for module, own in zip(loose, strict):               # while the file loads, what is missing is a placeholder; in the tests it is missing
        module.__getattr__ = functools.partial(lenient, own, Absent)  # type: ignore
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    file = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = file
    spec.loader.exec_module(file)
    for module, own in zip(loose, strict):
        if own is not None:
            module.__getattr__ = own  # type: ignore
        else:
            del module.__getattr__
    Absent.loading = False
    done = {line.split("\t")[0] for line in out.read_text().splitlines()}
    wanted = None if args.accept else accepted_of(path.name)
    suite = unittest.TestSuite()
    for thing in list(vars(file).values()):
        if inspect.isclass(thing) and issubclass(thing, unittest.TestCase) and thing.__module__ == path.stem:
            for name in unittest.TestLoader().getTestCaseNames(thing):
                test = f"{thing.__name__}.{name}"
                if args.k in test and test not in done and (test in wanted if wanted is not None else not private(thing(name))):
                    suite.addTest(thing(name))
    signal.signal(signal.SIGALRM, out_of_time)
    with out.open("a") as rows, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        suite.run(Rows(rows))
    os._exit(0)                                          # what tests leave running does not matter


def accepted_of(name: str) -> set[str]:
    return {test for file, test in (line.split("\t") for line in ACCEPTED.read_text().splitlines()) if file == name}


def run_file(name: str, folder: Path, args: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """{test: (outcome, message)}, from as many processes as it takes."""
    out = folder / f"{name}.rows"
    out.write_text("")
    errors = folder / f"{name}.stderr"
    command = [sys.executable, __file__, "--serve", str(out), "--tests", str(args.tests), "--parity", str(args.parity), "--module", args.module,
               "-k", args.k, *["--eager"] * args.eager, *["--accept"] * args.accept, str(folder / name)]
    for _ in range(60):
        before = len(out.read_text().splitlines())
        with errors.open("w") as err:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, cwd=folder, start_new_session=True,
                                       env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0"))
            size, since = -1, time.monotonic()
            while process.poll() is None:
                time.sleep(0.2)
                if (now := out.stat().st_size) != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > SECONDS + 30:           # deaf to the alarm
                    process.kill()
                    process.wait()
        rows = [line.split("\t") for line in out.read_text().splitlines()]
        if process.returncode == 0 or len(rows) == before:
            break
        if rows[-1][1] == "start":
            with out.open("a") as file:
                file.write(f"{rows[-1][0]}\terror\tcrash or hang (exit {process.returncode})\n")
    found: dict[str, tuple[str, str]] = {}
    for test, outcome, message in (line.split("\t") for line in out.read_text().splitlines()):
        if outcome != "start" and found.get(test, ("pass",))[0] == "pass":
            found[test] = outcome, message
    if not found:
        print(f"{name}: nothing ran: {errors.read_text().strip()[-400:]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(FILES))
    parser.add_argument("--module", default="pellucid")
    parser.add_argument("--tests", type=Path, required=True, help="the folder with PyTorch's test/ (or test/ itself)")
    parser.add_argument("--parity", type=Path, required=True, help="the folder with ptshim.py")
    parser.add_argument("-k", default="", help="only tests whose name has this in it")
    parser.add_argument("--tsv", type=Path, help="write file, test, outcome, message")
    parser.add_argument("--list-fail", action="store_true", help="print each accepted test that fails, and why")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--accept", action="store_true", help="write the list of accepted tests: all that pass and name nothing private")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.parity, args.tests = args.parity.resolve(), args.tests.resolve()
    if args.serve:
        return serve(args)
    tests = args.tests / "test" if (args.tests / "test").is_dir() else args.tests
    lines, new, total, passed = [], [], 0, 0
    with tempfile.TemporaryDirectory(prefix="values-of-dynamo-") as temporary:
        folder = Path(temporary) / "dynamo"
        shutil.copytree(tests / "dynamo", folder)
        for path in folder.rglob("*.py"):
            text = path.read_text()
            for pattern, by in TEXT:
                text = re.sub(pattern, by, text)
            path.write_text(text)
        for name in args.files:
            began = time.monotonic()
            found = run_file(name, folder, args)
            lines += [f"{name}\t{test}\t{outcome}\t{message}\n" for test, (outcome, message) in found.items()]
            if args.accept:
                good = [test for test, (outcome, _) in found.items() if outcome == "pass"]
                new += [f"{name}\t{test}\n" for test in good]
                print(f"{name:24s} {len(good):4d} of {len(found):4d} tests that name nothing private pass ({time.monotonic() - began:.0f} s)", flush=True)
                continue
            wanted = {test for test in accepted_of(name) if args.k in test}
            good = [test for test in wanted if found.get(test, ("missing",))[0] == "pass"]
            total, passed = total + len(wanted), passed + len(good)
            print(f"{name:24s} {len(good):4d} of {len(wanted):4d} accepted tests pass ({100 * len(good) / max(len(wanted), 1):.1f}%, "
                  f"{time.monotonic() - began:.0f} s)", flush=True)
            if args.list_fail:
                for test in sorted(wanted - set(good)):
                    print("   ", test, "|", ": ".join(found.get(test, ("missing", "did not run")))[:200])
    if args.tsv:
        args.tsv.write_text("".join(lines))
    if args.accept:
        kept = [line + "\n" for line in ACCEPTED.read_text().splitlines() if line.split("\t")[0] not in args.files] if ACCEPTED.exists() else []
        ACCEPTED.write_text("".join(sorted(kept + new)))
    else:
        print(f"{'all':24s} {passed:4d} of {total:4d} ({100 * passed / max(total, 1):.1f}%)")


if __name__ == "__main__":
    main()
