"""The few names of `typing` that code needs while it runs, without loading `typing`.

Loading it, and the classes its `NamedTuple` makes, take a tenth of a whole call of `rexec` (ADR 0027).
Whoever checks types sees the real ones, and a test holds the two against each other.

Rule: modules that such a call loads (tests/integration/test_start.py) take these names from here, all others
from `typing`.
"""

import sys
from collections.abc import Iterable, Mapping
from operator import itemgetter

#: Whoever checks types takes this name for true.
TYPE_CHECKING = False

# From Python 3.14 on a class's body has no annotations, but a function that makes them. Where somebody has
# loaded the real ones they cost nothing more, and what they make is quicker: that is so in the daemon.
if TYPE_CHECKING or sys.version_info >= (3, 14) or "typing" in sys.modules:
    from typing import Any, Final, NamedTuple, NoReturn, Protocol, Self
else:

    class _Mark:
        """Stands in annotations, which nobody reads while the program runs."""

        def __getitem__(self, _: object) -> "_Mark":
            return self

        def __or__(self, _: object) -> "_Mark":
            return self

        __ror__ = __or__

    Any = Final = NoReturn = Self = _Mark()
    #: What `_replace` raises for a name that is no field, as collections.namedtuple does.
    _NO_FIELD = TypeError if sys.version_info >= (3, 13) else ValueError
    Protocol = object

    class _Maker(type):
        """Makes a class of tuples of the annotations in its body, as `typing.NamedTuple` does."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if bases == (tuple,) or bases[0].__bases__ != (tuple,):  # the base itself, or below what was made
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.get("__annotations__", ()))
            made = {
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": {field: body[field] for field in fields if field in body},
                **{field: property(itemgetter(at)) for at, field in enumerate(fields)},
            }
            return super().__new__(cls, name, bases, {**body, **made})

    class NamedTuple(tuple, metaclass=_Maker):
        """A tuple whose places have names."""

        __slots__ = ()
        _fields: tuple[str, ...] = ()
        _field_defaults: Mapping[str, object] = {}

        def __new__(cls, *values: object, **named: object) -> Self:
            """Return one with these values; raise TypeError where there are too few or too many."""
            if named or len(values) != len(cls._fields):
                values = cls._complete(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _complete(cls, values: tuple[object, ...], named: Mapping[str, object]) -> list[object]:
            """Return the values in their order, with those that were named and those that are left out."""
            if len(values) > len(cls._fields):
                raise TypeError(f"{cls.__name__}() takes {len(cls._fields)} values, not {len(values)}")
            given = dict(zip(cls._fields, values, strict=False))
            for name in named:
                if name in given or name not in cls._fields:
                    raise TypeError(f"{cls.__name__}() got {name!r} twice, or has no such field")
            known = {**cls._field_defaults, **given, **named}
            missing = [name for name in cls._fields if name not in known]
            if missing:
                raise TypeError(f"{cls.__name__}() misses {', '.join(missing)}")
            return [known[name] for name in cls._fields]

        @classmethod
        def _make(cls, values: Iterable[object]) -> Self:
            return cls(*values)

        def _replace(self, **named: object) -> Self:
            unknown = [name for name in named if name not in self._fields]
            if unknown:
                raise _NO_FIELD(f"{type(self).__name__} has no {', '.join(unknown)}")
            return type(self)(**{**self._asdict(), **named})

        __replace__ = _replace  # for copy.replace, from Python 3.13 on

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)


__all__ = ["TYPE_CHECKING", "Any", "Final", "NamedTuple", "NoReturn", "Protocol", "Self"]
