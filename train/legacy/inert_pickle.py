"""A pickle's bytes in, plain values out; nothing is imported, and nothing is called but what the caller's table gives.

A pickle is a program for a small stack machine, and two of its instructions can do anything: "find this name" and "call it".
Here a name is looked up in the caller's table only, what is called is the table's own function, and an object's state is
kept as data. Every other instruction builds numbers, texts, lists and dictionaries, or is refused, as are all that torch
does not write. Instructions are read by `pickletools`, which executes none.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from framecap.errors import ConfigError

MAX_INSTRUCTIONS = 20_000_000
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = frozenset({"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True, eq=False)
class Known:
    """A name from the table; `make` gives what stands for a call of it with these arguments, or raises ValueError."""

    name: str
    make: Callable[[tuple[Any, ...]], Any]


@dataclass(eq=False)
class Inert:
    """What stands for an object: its class's name and its state, as data."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """What a pickle may name, and what its persistent ids mean; both raise ValueError, saying what is refused."""

    find: Callable[[str, str], Known]
    persistent: Callable[[Any], Any]


def load(file: BinaryIO, table: Table, where: str) -> Any:
    """The value of the pickle at the file's position, which is then behind it. Raises ConfigError for what it refuses."""
    machine = _Machine(table)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MAX_INSTRUCTIONS:
                raise ConfigError(f"{where}: its pickle has more than {MAX_INSTRUCTIONS} instructions: refused")
            machine.execute(opcode.name, argument)
    except (ValueError, TypeError, LookupError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"{where}: refused, and nothing of it was executed: {error}") from None
    return machine.result()


class _Machine:
    def __init__(self, table: Table) -> None:
        self.table = table
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        return self.stack.pop()

    def execute(self, instruction: str, argument: Any) -> None:  # noqa: C901, PLR0912 (one instruction a case)
        stack = self.stack
        match instruction:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case _ if instruction in _CONSTANTS:
                stack.append(_CONSTANTS[instruction])
            case _ if instruction in _EMPTY:
                stack.append(_EMPTY[instruction]())
            case _ if instruction in _VALUES:
                stack.append(argument)
            case _ if instruction in _TUPLES:
                stack.append(tuple(reversed([self._value() for _ in range(_TUPLES[instruction])])))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "APPEND":
                self._extend([self._value()])
            case "APPENDS":
                self._extend(self._marked())
            case "SETITEM":
                self._update(list(reversed([self._value(), self._value()])))
            case "SETITEMS":
                self._update(self._marked())
            case "GLOBAL":
                stack.append(self.table.find(*argument.split(" ", 1)))
            case "BINPERSID":
                stack.append(self.table.persistent(self._value()))
            case "REDUCE" | "NEWOBJ":
                self._call()
            case "BUILD":
                self._build()
            case _:
                raise ValueError(f"it has the instruction {instruction}, which no checkpoint needs")

    def _value(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("its instructions make no sense")
        return value

    def _marked(self) -> list[Any]:
        """What was stacked since the last mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(values)

    def _update(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise ValueError("it sets items of what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, tuple) or not isinstance(key, Hashable):  # nested tuples can take for ever to hash
                raise ValueError(f"a {type(key).__name__} is a key of a dictionary")  # noqa: TRY004 (see load)
            target[key] = value

    def _call(self) -> None:
        arguments, called = self._value(), self._value()
        if not isinstance(called, Known) or type(arguments) is not tuple:
            raise ValueError("it calls what is no name")
        self.stack.append(called.make(arguments))

    def _build(self) -> None:
        state, target = self._value(), self.stack[-1]
        if isinstance(target, Inert) and target.state:
            raise ValueError(f"a second state for {target.kind}")
        if isinstance(target, Inert):
            target.state = state if type(state) is dict else {"": state}
        elif type(target) is not dict:  # a dictionary's own attributes mean nothing here
            raise ValueError("it gives a state to what is no object")
