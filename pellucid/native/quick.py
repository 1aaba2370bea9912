"""Short programs as built-in functions: `call(*arrays)` makes the outputs and runs, in a tenth of a microsecond.

In: an `Executable`. Out: a callable that gives the output, or a tuple of several; None where the arrays do not fit or an index
was out of range: `exe(arrays)` then does the work, or says what is wrong.

True always: Python's lock is held, so one call at a time; only programs that take less than `HELD_NS` are made so, and from `ALONE_NS` on
all threads share the work, if there are as many as when the program was made.
"""
from __future__ import annotations


from . import builtin, jit, llvm, threads
from .emit import Fn, Module
from .engine import A_DATA, Header, Slot
from .execute import ALONE_NS, HELD_NS, Executable, Instance, readable_layout
from .flat import word
from .isa import SSE2, isa_of
from .loaded import the_engine
from .program import PRODUCT_NS

MOST = 8                # outputs
T_ITEMS = 24            # a tuple's items


def _release(f: Fn, outs, n) -> None:
    with f.loop(0, n) as i:
        f.put(f"call void @Py_DecRef(ptr {f.load(outs, i, 'ptr')})")


def _quick(m: Module) -> None:
    f = Fn(m, "quick_body", "ptr self, ptr args, i64 n, ptr result", internal=True)
    f.slots.append(f"  %outs = alloca [{MOST} x ptr]")
    outs = f.val("%outs", "ptr")
    program = f.load(f.at(f.p_self, A_DATA, "i8"), 0, "ptr")
    f.put(f"store ptr null, ptr {f.p_result}")
    failed = f.var(f.val("1", "i64"))
    count = word(f, program, Header.OUTPUTS)
    fits = f.var(f.compare("eq", f.p_n, word(f, program, Header.INPUTS)))
    with f.when(f.compare("ne", word(f, program, Header.NOW), 0)):
        now = word(f, word(f, program, Header.NOW, "ptr"), 0)
        fits.set(f.int_op("and", fits.get(), f.compare("eq", now, word(f, program, Header.THREADS))))
    with f.when(fits.get()):
        records = word(f, program, Header.OUTPUT_RECORDS, "ptr")
        kind = word(f, program, Header.NDARRAY, "ptr")
        made = f.var(f.val("0", "i64"))
        with f.loop(0, count) as i:
            record = f.at(records, i * int(Slot.SIZE), "i64")
            descr, dims = word(f, record, Slot.DESCR, "ptr"), word(f, record, Slot.DIMS, "ptr")
            with f.when(f.compare("eq", made.get(), i)):
                f.put(f"call void @Py_IncRef(ptr {descr})")
                ndim = f.cast("trunc", word(f, record, Slot.NDIM), "i32")
                a = f.op("ptr", f"call ptr @numpy_new(ptr {kind}, ptr {descr}, i32 {ndim}, ptr {dims}, ptr null, ptr null, i32 0, ptr null)")
                with f.when(f.op("i1", f"icmp ne ptr {a}, null")):
                    f.put(f"store ptr {a}, ptr {f.at(outs, i, 'i64')}")
                    made.set(i + 1)
        whole = f.compare("eq", made.get(), count)
        with f.unless(whole):
            _release(f, outs, made.get())
            failed.set(2)                                   # NumPy has set MemoryError
        with f.when(whole):
            f.put(f"call void @enter(ptr {program}, ptr {f.p_args}, ptr {outs})")
            failed.set(word(f, program, Header.STATUS))
            flags = word(f, program, Header.FLAGS, "ptr")
            with f.loop(0, word(f, program, Header.FLAG_WORDS)) as i:
                flag = f.at(flags, i, "i64")
                failed.set(f.int_op("or", failed.get(), f.load(flag, 0, "i64")))
                f.put(f"store i64 0, ptr {flag}")
            bad = f.compare("ne", failed.get(), 0)
            with f.when(bad):
                _release(f, outs, count)
                failed.set(1)
            with f.unless(bad):
                one = f.compare("eq", count, 1)
                with f.when(one):
                    f.put(f"store ptr {f.load(outs, 0, 'ptr')}, ptr {f.p_result}")
                with f.unless(one):
                    t = f.op("ptr", f"call ptr @PyTuple_New(i64 {count})")
                    with f.when(f.op("i1", f"icmp ne ptr {t}, null")):
                        items = f.at(t, T_ITEMS, "i8")
                        with f.loop(0, count) as i:
                            f.put(f"store ptr {f.load(outs, i, 'ptr')}, ptr {f.at(items, i, 'i64')}")
                    f.put(f"store ptr {t}, ptr {f.p_result}")
    with f.when(f.compare("eq", failed.get(), 1)):
        none = f.load(f.at(f.p_self, A_DATA, "i8"), 0, "ptr")
        nothing = word(f, none, Header.NONE, "ptr")
        f.put(f"call void @Py_IncRef(ptr {nothing})")
        f.put(f"store ptr {nothing}, ptr {f.p_result}")
    f.end()


def module() -> str:
    """The code, for all programs."""
    m = Module(SSE2)
    for line in ("declare ptr @numpy_new(ptr, ptr, i32, ptr, ptr, ptr, i32, ptr)", "declare void @Py_IncRef(ptr)",
                 "declare void @Py_DecRef(ptr)", "declare ptr @PyTuple_New(i64)", "declare void @enter(ptr, ptr, ptr)"):
        m.declare(line)
    _quick(m)
    m.functions.append("""define ptr @quick(ptr %self, ptr %args, i64 %n) {
  %result = alloca ptr
  call void @quick_body(ptr %self, ptr %args, i64 %n, ptr %result)
  %r = load ptr, ptr %result
  ret ptr %r
}""")
    return m.text


@threads.once
def _code() -> jit.Code:
    text = module()
    data, _ = jit.compiled("quick-entry", (text,), lambda: llvm.compile_object(text, isa_of("baseline")))
    known = builtin.symbols()
    return jit.load([data], ["quick"], {**{n: known[n] for n in ("numpy_new", "Py_IncRef", "Py_DecRef", "PyTuple_New")},
                                        "enter": the_engine().code["enter"]})


def of(exe: Executable):
    """The program as a built-in function, or None if it is long, has host steps, or gives back anything but new arrays."""
    program = exe.program
    if not builtin.usable() or not readable_layout() or not exe._plain or len(program.news) > MOST or not program.news:
        return None
    if len(program.segments) != 1 or program.segments[0][2] is not None or any(i["written"] for i in program.inputs):
        return None
    length = sum(s.get("ns") or s["flops"] * PRODUCT_NS for s in program.steps)
    if length > HELD_NS:
        return None
    nth = threads.count() if length > ALONE_NS else 1
    instance = Instance(program, exe.code, exe.consts, nth)         # nobody else's: its pointers are this call's
    if nth > 1:
        instance.header[Header.NOW] = threads.count_address()
    return builtin.function(program.name, _code()["quick"], instance.header, instance)
