"""The names of `typing` that code needs while it runs: as the real ones, for what is done with them."""

import copy
import importlib.util
import pickle
import subprocess
import sys
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

BODY = """
class Point(NamedTuple):
    "A point."
    x: int
    y: int = 2
    #: A list, which a default is not copied for.
    tags: tuple[str, ...] = ()

    def sum(self) -> int:
        "Return the sum."
        return self.x + self.y

    @property
    def far(self) -> bool:
        "Return whether it is far."
        return self.x > 9


class Named(Point):
    "One below."
    label = "named"


class Empty(NamedTuple):
    "None."
"""


def make(where: object) -> dict[str, Any]:
    """Return the classes of the body, made with one `NamedTuple`."""
    names: dict[str, Any] = {"NamedTuple": getattr(where, "NamedTuple"), "__name__": __name__}  # noqa: B009 - as text
    exec(BODY, names)
    return names


def alone() -> Any:
    """Return the module as it is where nobody has loaded `typing`."""
    spec = importlib.util.find_spec("rexecd.typed")
    if spec is None or spec.loader is None:
        raise ImportError("rexecd.typed")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.delitem(sys.modules, "typing")
        spec.loader.exec_module(module)
    return module


ALONE = alone()
OURS, THEIRS = make(ALONE), make(typing)

#: What is done with a class, by what it shows.
DOINGS: dict[str, Callable[[dict[str, Any]], object]] = {
    "by place": lambda made: tuple(made["Point"](1, 3, ("a",))),
    "by name": lambda made: tuple(made["Point"](y=3, x=1)),
    "mixed": lambda made: tuple(made["Point"](1, tags=("b",))),
    "defaults": lambda made: tuple(made["Point"](1)),
    "fields": lambda made: (made["Point"]._fields, made["Point"]._field_defaults),
    "attributes": lambda made: (made["Point"](1).x, made["Point"](1).y, made["Point"](1).tags),
    "methods": lambda made: (made["Point"](8).sum(), made["Point"](8).far, made["Point"](10).far),
    "equal": lambda made: made["Point"](1, 2) == (1, 2, ()) and hash(made["Point"](1)) == hash((1, 2, ())),
    "replace": lambda made: tuple(made["Point"](1)._replace(y=5)),
    "as a dict": lambda made: made["Point"](1)._asdict(),
    "make": lambda made: tuple(made["Point"]._make([1, 2, ()])),
    "shown": lambda made: repr(made["Point"](1, tags=("c",))),
    "sorted": lambda made: [tuple(each) for each in sorted([made["Point"](2), made["Point"](1)])],
    "unpacked": lambda made: [*made["Point"](1)],
    "matched": lambda made: made["Point"].__match_args__,
    "copied": lambda made: (tuple(copy.copy(made["Point"](1))), tuple(copy.deepcopy(made["Point"](1)))),
    "below": lambda made: (tuple(made["Named"](1)), made["Named"].label, repr(made["Named"](1))),
    "inherited": lambda made: made["Named"](9).sum(),
    "empty": lambda made: (tuple(made["Empty"]()), repr(made["Empty"]())),
    "documented": lambda made: made["Point"].__doc__,
    "annotated": lambda made: made["Point"].__annotations__,
    "without a dict": lambda made: hasattr(made["Point"](1), "__dict__"),
    "a tuple": lambda made: isinstance(made["Point"](1), tuple),
}
#: What is refused.
FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "too few": lambda made: made["Point"](),
    "too many": lambda made: made["Point"](1, 2, (), 4),
    "unknown": lambda made: made["Point"](1, z=3),
    "twice": lambda made: made["Point"](1, x=3),
    "of an empty one": lambda made: made["Empty"](1),
    "replaced, unknown": lambda made: made["Point"](1)._replace(z=3),
    "written to": lambda made: setattr(made["Point"](1), "x", 2),
    "a new attribute": lambda made: setattr(made["Point"](1), "z", 2),
}


@pytest.mark.parametrize("doing", DOINGS)
def test_a_class_of_tuples_is_as_the_real_one(doing: str) -> None:
    """For everything this package does with one."""
    assert DOINGS[doing](THEIRS) == DOINGS[doing](OURS)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_real_one_refuses_is_refused(fault: str) -> None:
    """With an error of the same kind."""
    with pytest.raises(Exception) as theirs:
        FAULTS[fault](THEIRS)
    with pytest.raises(theirs.type):
        FAULTS[fault](OURS)


def test_a_pattern_finds_its_fields() -> None:
    """By place and by name."""
    point = OURS["Point"](1, 3)
    match point:
        case tuple((x, 3, ())):
            assert 1 == x
        case _:
            pytest.fail("it is a tuple of three")


if TYPE_CHECKING:
    from typing import NamedTuple
else:
    NamedTuple = ALONE.NamedTuple


class Kept(NamedTuple):
    """One that has a module, for pickle."""

    name: str
    size: int = 0


def test_one_travels_by_pickle() -> None:
    """As between processes of the tests."""
    assert Kept("a", 1) == pickle.loads(pickle.dumps(Kept("a", 1)))
    match Kept("a", 1):
        case Kept("a", size):
            assert 1 == size
        case _:
            pytest.fail("its places have names")


def test_the_real_ones_are_taken_where_they_are_there() -> None:
    """They are quicker."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import typing, rexecd.typed; "
        "print(rexecd.typed.NamedTuple is typing.NamedTuple)"
    )

    assert "True\n" == subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True)


def test_typing_itself_is_not_loaded() -> None:
    """Where Python is older than 3.14; from there on it is the real one."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import rexecd.typed; print('typing' in sys.modules)"
    done = subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True)

    assert f"{sys.version_info >= (3, 14)}\n" == done
