"""Why capture stops: every reason has an id that stays, a title, and a way to remove the break.

In: the id and what happened. Out: `Break`, raised by the domain before the instruction has had any effect. The ids are documented
in docs/reference/breaks.md; a test triggers each.
"""
from __future__ import annotations

from typing import NamedTuple, NoReturn

__all__: list[str] = []


class Kind(NamedTuple):
    """A reason to stop: what it is called, and what the user can do."""

    title: str
    fix: str


KINDS: dict[str, Kind] = {
    "PX001": Kind("a value is needed that only the run knows",
                  "keep to tensor operations (pellucid.where for a branch), or move this to the end of the function"),
    "PX002": Kind("a C function that is not known to be free of side effects",
                  "call it outside the compiled function"),
    "PX003": Kind("output or logging", "print outside the compiled function; what is printed stays in order meanwhile"),
    "PX004": Kind("a function that is excluded from compiling", "remove pellucid.compiler.disable, if it need not be excluded"),
    "PX005": Kind("an iterator that was there before", "iterate over the list itself inside the compiled function"),
    "PX006": Kind("an object whose state cannot be seen", "pass what is needed of it as arguments"),
    "PX007": Kind("a class or module is changed", "set attributes of classes and modules outside the compiled function"),
    "PX008": Kind("a call that goes too deep", "write the recursion as a loop"),
    "PX009": Kind("backward() goes on into what was computed before", "compute the loss and call backward() in one compiled function"),
    "PX010": Kind("a class is defined", "define the class outside the compiled function"),
    "PX011": Kind("async code", "compile the functions that the coroutine calls"),
    "PX012": Kind("an instruction that is not captured", "write this part another way, or outside the compiled function"),
    "PX013": Kind("an exception leaves the function", "nothing needs to be done, if the exception is meant"),
    "PX014": Kind("an operation failed", "nothing needs to be done, if the exception is meant"),
    "PX015": Kind("random numbers of Python or NumPy", "use pellucid's random functions, or draw outside the compiled function"),
    "PX016": Kind("a value that cannot be built again", "finish with this object before the break, or make it after it"),
    "PX017": Kind("the identity of an object is used", "compare with `is`, or use a number of your own"),
    "PX019": Kind("an instruction that only Python itself runs", "move this into a function of its own, outside the compiled one"),
    "PX020": Kind("a hook is put on a tensor", "register hooks outside the compiled function, or call backward() in it too"),
    "PX021": Kind("a learning-rate scheduler", "let scheduler.step() be the last that the function does with the optimizer, or call it "
                  "outside the compiled function"),
    "PX018": Kind("NumPy computes with a tensor's values", "use the tensor operation of the same name"),
}


class Break(Exception):
    """Capture cannot go past the instruction at hand."""

    def __init__(self, number: str, what: str = "", fix: str = ""):
        self.number, self.what, self.fix = number, what, fix
        self.file = self.function = ""
        self.born: int | None = None                # the step that made what cannot be made again
        self.line = 0
        super().__init__(number, what)

    @property
    def reason(self) -> str:
        """In one line: what it was."""
        title = KINDS[self.number].title
        return f"{title}: {self.what}" if self.what else title

    @property
    def remedy(self) -> str:
        return self.fix or KINDS[self.number].fix


def refuse(number: str, what: str = "", fix: str = "") -> NoReturn:
    raise Break(number, what, fix)
