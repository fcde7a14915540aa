"""The floors and the wings: who may import whom, and what may not be written where.

Where this test and a new file disagree, the file is wrong or the drawing is; say which in an ADR.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "rexecd"

#: From the ground up. A module imports from floors below its own, never from its own or above.
#: A package's name stands for all its modules; the others are named one by one.
FLOORS: Final[list[set[str]]] = [
    # 0: words
    {"typed"},
    {"", "errors", "limits", "clock"},
    {"names", "portable", "printable", "der", "identity.shown", "journal"},
    # 1: pure cores
    {"yamlevents"},
    {"codec", "yamltext", "policy.grammar", "audit.seal", "gateway.throttle"},
    {"scalars"},
    {"forms", "yamlprint"},
    {"runas", "networks", "policy.bounds", "audit.vocabulary", "audit.fields"},
    {"identity.tokens"},
    {
        "wire.transport",
        "wire.frames",
        "wire.messages",
        "policy.pattern",
        "audit.events",
        "audit.moments",
        "audit.checkpoint",
    },
    {"wire.states", "seam.messages", "policy.kinds", "audit.entries", "monitor.meter", "monitor.exposition"},
    {"wire.connection", "policy.places", "policy.parameters"},
    {"policy.template", "policy.openness"},
    {"policy.model", "policy.values", "policy.bind", "policy.programs"},
    {"policy.parameter_tables", "policy.restrict", "policy.words", "policy.calls"},
    {"policy.identity", "policy.decide", "policy.grants_lint", "policy.shell_lint", "policy.diff"},
    {"policy.limits_lint", "policy.programs_lint", "policy.paths_lint"},
    {"policy.environment_lint"},
    {
        "policy.lint",
        "policy.declare",
        "policy.tables",
        "policy.listing",
        "policy.masking",
        "policy.explain",
        "policy.examples",
    },
    {"policy.command"},
    {"policy.load"},
    # 2: the machine room
    {"settingkeys", "files", "confine", "accounts", "systemd", "log", "tasks", "execution.mounted"},
    {"serving", "audit.trailfile"},
    {
        "settings",
        "seam.channel",
        "identity.store",
        "identity.certificates",
        "audit.keys",
        "audit.lines",
        "audit.recorder",
        "execution.cgroup",
        "execution.jobs",
        "execution.landlock",
        "execution.namespaces",
    },
    {
        "tls",
        "audit.archive",
        "audit.recover",
        "audit.search",
        "audit.steps",
        "audit.unfinished",
        "execution.identity",
        "execution.sandbox",
        "execution.link",
    },
    {"execution.becoming"},
    {
        "execution.workers",
        "audit.find",
        "audit.cells",
        "audit.stats",
        "audit.story",
        "audit.follow",
        "audit.verify",
        "audit.writer",
    },
    {"audit.trail"},
    {"audit.keeper", "audit.sinks"},
    {"execution.contain", "execution.worker", "policyfiles"},
    {"execution.launcher", "execution.spawn"},
    {"execution.probe"},
    # 3: sessions
    {
        "gateway.stream",
        "gateway.grace",
        "gateway.listeners",
        "gateway.report",
        "monitor.admission",
        "monitor.asker",
        "monitor.conversation",
        "monitor.credentials",
        "monitor.doors",
        "monitor.leftovers",
        "monitor.metrics",
        "monitor.metricsfile",
        "monitor.publisher",
    },
    {"gateway.relay", "gateway.certificate", "gateway.stranger", "monitor.service", "monitor.running"},
    {"gateway.session", "monitor.session", "monitor.tokens", "monitor.measure"},
    {"monitor.admin"},
    # 4: loops
    {"gateway.server", "monitor.server", "client"},
    # 5: doors
    {"cli.say", "cli.tools", "cli.units", "cli.owner", "cli.arguments"},
    {"cli.asking", "cli.gateway", "cli.monitor", "cli.serve", "cli.init"},
    {
        "cli.operate",
        "cli.audit",
        "cli.verify",
        "cli.demo",
        "cli.config",
        "cli.check",
        "cli.policy",
        "cli.policydiff",
        "cli.steps",
    },
    {"cli.install", "cli.status", "cli.token", "cli.cert", "cli.interrupts", "cli.firstuse"},
    {"cli.lines"},
    {"cli.tui"},
    {"cli.login", "cli.interact", "cli.listed", "cli.attempts", "cli.progress", "cli.complete"},
    {"cli.running"},
    {"cli.call"},
    {"cli.rexec", "cli.rexecd"},
    {"__main__"},
]

#: Packages whose `__init__` is a docstring and no more.
EMPTY: Final = {"wire", "seam", "policy", "identity", "audit", "execution", "gateway", "monitor", "cli"}
TRUSTED: Final = {"policy", "identity", "execution", "audit", "monitor"}
#: The doors of the caller's program.
CALLING: Final = {
    f"cli.{name}"
    for name in (
        *("rexec", "call", "login", "interact", "lines", "tui", "listed", "running", "attempts", "progress"),
        "complete",
        *("firstuse", "asking", "interrupts"),
    )
}
CALLERS: Final = {
    "",
    "errors",
    "limits",
    "typed",
    "portable",
    "printable",
    "der",
    "codec",
    "wire",
    "client",
    "cli.say",
} | CALLING

#: Who may import a module that can do harm: files, or whole packages, of rexecd/.
RESERVED: Final = {
    # client.credentials is for token_command.
    "subprocess": {
        "execution",
        "monitor.publisher",
        "cli.serve",
        "cli.demo",
        "cli.tools",
        "client.credentials",
    },
    "ssl": {"tls", "client", "gateway"},
    "structlog": {"audit.recorder"},
    "cryptography": {"identity.certificates", "audit.checkpoint"},
    "yaml": {"yamlevents"},
    "sqlite3": {"identity.store"},
    # An extra, and only for a person at a terminal (ADR 0026).
    "prompt_toolkit": {"cli.tui"},
    "ctypes": {"confine"},
    "pickle": set[str](),
    "marshal": set[str](),
    "pty": set[str](),
}
#: Ways to start a program that nobody here needs: each is a shell, a fork in a threaded
#: process, or goes round execution/.
FORBIDDEN_CALLS: Final = {"system", "popen", "fork", "forkpty", "getoutput", "getstatusoutput"}
#: The launcher has one thread, and forking is what it is for (ADR 0015).
FORKS: Final = "execution.launcher"


def module_name(path: Path) -> str:
    """Return a file's name below `rexecd`: `wire.frames`, or nothing for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported_names(name: str) -> Iterator[str]:
    """Return every dotted name a module imports, also inside functions."""
    for node in ast.walk(tree(name)):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module, names, level):
                assert level == 0, f"{name} imports relatively"
                yield str(module)
                yield from (f"{module}.{alias.name}" for alias in names)


@cache
def internal(name: str) -> frozenset[str]:
    """Return the modules of ours a module imports, as narrowly as its imports say."""
    ours = {
        found.removeprefix("rexecd").removeprefix(".") for found in imported_names(name) if is_ours(found)
    }
    modules = ours & MODULES.keys()
    # `from rexecd import limits` names the package too, and needs nothing of it.
    packages = {module for module in modules if any(other.startswith(f"{module}.") for other in modules)}
    needs_root = any(found.startswith("rexecd.__") for found in imported_names(name))
    root = {""} if needs_root else set[str]()
    return frozenset(modules - packages - {""} - EMPTY | root)


def is_ours(name: str) -> bool:
    """Return whether a dotted name is of this package."""
    return name == "rexecd" or name.startswith("rexecd.")


def foreign(name: str) -> set[str]:
    """Return the top-level names of what a module imports from elsewhere."""
    return {found.split(".")[0] for found in imported_names(name) if not is_ours(found)}


def reach(start: set[str]) -> set[str]:
    """Return the modules and whatever they import, however far."""
    seen: set[str] = set()
    waiting = set(start)
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting |= internal(name) - seen
    return seen


def within(name: str, places: set[str]) -> bool:
    """Return whether a module is one of, or inside one of, the given ones."""
    return any(name == place or (place and name.startswith(f"{place}.")) for place in places)


def floor(name: str) -> int | None:
    """Return the number of a module's floor."""
    if name in EMPTY:
        return 0
    return next((number for number, names in enumerate(FLOORS) if within(name, names)), None)


def test_every_module_has_a_floor() -> None:
    """A new file is put on the drawing before it is written."""
    assert {name for name in MODULES if floor(name) is None} == set()


def test_imports_only_go_down() -> None:
    """Whoever uses a module stands above it; inside client/ order is free, but there are no circles."""
    wrong = {
        f"{name} imports {other}"
        for name in MODULES
        for other in internal(name)
        if not (within(name, {"client"}) and within(other, {"client"}))
        and (floor(other) or 0) >= (floor(name) or 0)
    }

    assert wrong == set()


def test_no_imports_run_in_a_circle() -> None:
    """Every module can be understood, and loaded, after those it needs."""
    order = graphlib.TopologicalSorter({name: internal(name) for name in MODULES})

    assert MODULES.keys() == set(order.static_order())


def test_packages_are_empty_but_for_the_callers_library() -> None:
    """Importing one module of a package loads no other."""
    assert {name for name in EMPTY if len(tree(name).body) != 1} == set()


def test_the_exposed_wing_reaches_nothing_trusted() -> None:
    """A hole in the network side finds no spawn function in its own imports."""
    gateway = {name for name in MODULES if within(name, {"gateway"})} | {"cli.gateway"} & MODULES.keys()

    assert {name for name in reach(gateway) if within(name, TRUSTED)} == set()


def test_the_trusted_wing_reaches_nothing_exposed() -> None:
    """The side that decides holds no code that speaks with strangers."""
    trusted = {name for name in MODULES if within(name, TRUSTED)}

    assert {name for name in reach(trusted) if within(name, {"gateway", "client", "tls"})} == set()


def test_the_caller_reaches_its_own_wing_only() -> None:
    """The caller's program loads words, wire and client, and nothing of the server."""
    caller = {name for name in MODULES if within(name, {"client"} | CALLING)}

    assert {name for name in reach(caller) if not name or not within(name, CALLERS)} - {""} == set()


def test_the_caller_needs_the_standard_library_only() -> None:
    """Installing the caller means copying it; extras are loaded when asked for."""
    caller = {name for name in MODULES if within(name, {"client"} | CALLING)}
    foreigners = set[str]().union(*map(foreign, reach(caller)))

    assert foreigners - sys.stdlib_module_names == {"prompt_toolkit"}


@pytest.mark.parametrize("harmful", RESERVED)
def test_a_sharp_tool_is_named_only_where_it_belongs(harmful: str) -> None:
    """There is one place to review for each of them."""
    users = {name for name in MODULES if harmful in foreign(name)}

    assert {name for name in users if not within(name, RESERVED[harmful])} == set()


def faults(node: ast.AST) -> Iterator[str]:
    """Return what is nowhere allowed in shipped code."""
    match node:
        case ast.Assert():
            yield "assert"
        case ast.ExceptHandler(type=None):
            yield "bare except"
        case ast.Global():
            yield "global"
        case ast.keyword(arg="preexec_fn"):
            yield "preexec_fn"
        case ast.keyword(arg="shell", value=value) if not isinstance(value, ast.Constant) or value.value:
            yield "shell"
        case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as called)):
            yield called
        case ast.Attribute(attr=attribute) if attribute in FORBIDDEN_CALLS:
            yield attribute
        case _:
            pass


def test_what_is_nowhere_allowed_is_nowhere() -> None:
    """No guard that -O removes, no except that hides, no shell, no fork behind threads."""
    found = {
        f"{name}:{getattr(node, 'lineno', 0)}: {fault}"
        for name in MODULES
        for node in ast.walk(tree(name))
        for fault in faults(node)
        if (name, fault) != (FORKS, "fork")
    }

    assert found == set()


def test_no_file_is_longer_than_400_lines() -> None:
    """A file that does not fit the head is two files."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}

    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    """A function that does not fit the screen is two functions."""
    long = {
        f"{name}.{node.name}"
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > 50
    }

    assert long == set()


def test_every_test_says_what_it_shows() -> None:
    """A test without a sentence is one nobody dares to change."""
    silent = {
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    }

    assert silent == set()
