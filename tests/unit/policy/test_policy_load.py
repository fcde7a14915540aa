"""Loading a policy: what the files in tests/data/policies hold, and what they are told."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rexecd.errors import ConfigError
from rexecd.forms import Listed, Named, Table, Variant
from rexecd.policy import kinds, places, tables
from rexecd.policy.examples import run_examples
from rexecd.policy.lint import Facts, lint
from rexecd.policy.load import File, load
from rexecd.policy.model import (
    Defaults,
    Identity,
    Justification,
    NetworkAccess,
    OnDisconnect,
    Quota,
    Rate,
    Resources,
    Sandbox,
    Stdin,
)
from rexecd.wire.messages import SignalName
from rexecd.yamltext import is_closed
from tests.unit.policy.worlds import POLICIES, SHIPPED, Machine, included, read, resolve

MIB = 1024**2


@pytest.mark.parametrize("name", sorted(path.stem for path in POLICIES.glob("bad-*.yaml")))
def test_a_bad_policy_gets_its_exact_message(name: str) -> None:
    """Every fault of a file is told, with its place, in order."""
    with pytest.raises(ConfigError) as caught:
        read(POLICIES / f"{name}.yaml")

    assert (POLICIES / f"{name}.expected").read_text(encoding="utf-8") == f"{caught.value}\n"


def test_every_expected_message_has_its_policy() -> None:
    """No expectation is left over without being tested."""
    assert {path.stem for path in POLICIES.glob("bad-*.yaml")} == {
        path.stem for path in POLICIES.glob("*.expected")
    }


@pytest.mark.parametrize("path", sorted(POLICIES.glob("good-*.yaml")), ids=lambda path: path.stem)
def test_a_good_policy_loads(path: Path) -> None:
    """Nothing in it is a fault."""
    assert read(path).rules


def test_the_shipped_policy_loads_and_shows_every_type_of_parameter() -> None:
    """The example an operator starts from is right and complete."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "policy.yaml")
    found = {type(each.kind) for rule in policy.rules.values() for each in rule.parameters.values()}

    assert {"ops", "monitoring"} == set(policy.principals)
    assert found >= {
        kinds.Choice,
        kinds.Integer,
        kinds.Word,
        kinds.Matching,
        places.Path,
        kinds.Flag,
        kinds.Text,
    }


def test_the_shipped_viewer_changes_nothing() -> None:
    """The example's least role holds no command that changes the machine."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "policy.yaml")

    assert {"hello", "disk", "uptime", "sockets", "service.status"} == set(
        policy.principals["monitoring"].rules
    )


def test_every_key_of_a_command_is_read() -> None:
    """What is written is what the rule says."""
    policy = read(POLICIES / "good-every-key.yaml")
    rule = policy.rules["every"]

    assert "Every key" == rule.summary
    assert "Two lines,\nboth kept." == rule.description
    assert (Stdin.ACCEPT, 0.25, "/srv/", 0o77) == (
        rule.stdin,
        rule.timeout,
        rule.working_directory,
        rule.umask,
    )
    assert (65536, 1024 * 1024) == (rule.output_ceiling, rule.input_ceiling)
    assert Identity("web", 1001, 33, (1001, 2000)) == rule.identity
    assert (Justification.REQUIRED, True) == (rule.justification, rule.hidden)
    assert ["10.1.0.0/16"] == list(map(str, rule.sources))
    assert {"RX001": "it is only a test"} == rule.silenced
    assert ["10.1.2.3", ""] == [example.address for example in rule.examples]
    assert [("because", True), ("", False)] == [(each.justification, each.allowed) for each in rule.examples]
    assert "umask" in rule.written
    assert {"PATH": "/bin", "LINES": "50"} == rule.environment
    assert ("/bin/echo",) == rule.template.elements[0]
    assert ("{literal}",) == rule.template.elements[2]
    assert ["word", "choice", "integer", "pattern", "path", "flag", "text"] == list(rule.parameters)
    assert {"every", "every.type"} == set(policy.principals["ann@example.org"].rules)
    assert ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1/32"] == list(
        map(str, policy.principals["ann@example.org"].sources)
    )
    assert policy.guarded is not None


def test_every_bound_of_a_command_is_read() -> None:
    """Limits, sandbox, signals, what happens without the caller; and the principal's own limits."""
    policy = read(POLICIES / "good-every-key.yaml")
    rule = policy.rules["every"]

    assert Resources(256 * MIB, 10, 32, 64, 1024 * MIB, 10) == rule.resources
    assert Quota(1, Rate(5, 60)) == rule.quota
    assert Quota(3, Rate(100, 3600)) == policy.principals["ann@example.org"].quota
    assert OnDisconnect.FINISH is rule.on_disconnect
    assert {SignalName.INT, SignalName.USR2} == rule.signals
    assert rule.sandbox == Sandbox(
        read=("/etc/app.conf", "/srv/"),
        write=("/var/lib/app",),
        network=NetworkAccess.LOOPBACK,
        private_tmp=True,
        minimal_devices=True,
        best_effort=True,
    )


def test_a_rule_that_says_nothing_is_bound_by_nothing() -> None:
    """But that its caller's end is its own, and that the six signals may be sent."""
    rule = read(POLICIES / "good-every-key.yaml").rules["service.stop"]

    assert (Resources(), Quota(), None) == (rule.resources, rule.quota, rule.sandbox)
    assert (OnDisconnect.KILL, frozenset(SignalName)) == (rule.on_disconnect, rule.signals)


def test_the_bounds_of_limits_are_exact() -> None:
    """The least and the most that fit are read as they are; what is not written is no limit."""
    rules = read(POLICIES / "good-limits.yaml").rules

    assert (Resources(MIB, 1, 1, 32, 1, 0), Quota(1, Rate(1, 1))) == (
        rules["least"].resources,
        rules["least"].quota,
    )
    assert Resources(None, 86400, 2**22, 2**20, None, 19) == rules["most"].resources
    assert Quota(10_000, Rate(99_999, 86400)) == rules["most"].quota
    assert (frozenset(), frozenset(SignalName)) == (rules["least"].signals, rules["most"].signals)


SANDBOXES = {
    "closed": Sandbox(read=()),
    "written": Sandbox(write=("/srv/a", "/srv/b/")),
    "everything": Sandbox(read=("/",), write=("/srv",)),
    "alone": Sandbox(network=NetworkAccess.NONE),
    "loopback": Sandbox(network=NetworkAccess.LOOPBACK),
    "temporary": Sandbox(private_tmp=True, best_effort=True),
    "devices": Sandbox(minimal_devices=True),
}


@pytest.mark.parametrize("name", SANDBOXES)
def test_a_sandbox_restricts_what_it_says_and_no_more(name: str) -> None:
    """One thing each; an empty list closes the file system."""
    assert SANDBOXES[name] == read(POLICIES / "good-limits.yaml").rules[name].sandbox


def test_the_design_s_example_loads_as_it_is_written() -> None:
    """Every limit in it is there, and its own examples hold."""
    policy = read(POLICIES / "good-design.yaml")
    rule = policy.rules["service.restart"]

    assert Resources(memory=256 * MIB, cpu=10, processes=32) == rule.resources
    assert (Quota(1, Rate(5, 60)), MIB) == (rule.quota, rule.output_ceiling)
    assert (2, ()) == run_examples(policy, resolve=resolve)


DEFAULTS = Defaults(Identity("commands", 990, 990, ()), 30.0)
THREE = """version: 1
commands:
  short: {summary: x, run: /bin/x, timeout: 5s, run_as: web}
  long: {summary: x, run: /bin/x, timeout: 1h}
  none: {summary: x, run: /bin/x}
"""


def test_defaults_are_for_what_a_rule_does_not_say() -> None:
    """Its own `run_as` stands; no timeout is above the ceiling, and a written one is kept in mind."""
    rules = load(THREE, "p", accounts=Machine(), defaults=DEFAULTS).rules.values()

    assert [("web", 5.0, None), ("commands", 30.0, 3600.0), ("commands", 30.0, None)] == [
        (rule.identity.user, rule.timeout, rule.cut_from) for rule in rules if rule.identity is not None
    ]


def test_without_defaults_a_rule_is_as_it_is_written() -> None:
    """Whoever asks without the settings."""
    rules = load(THREE, "p", accounts=Machine()).rules

    assert (None, 3600.0, None) == (rules["long"].identity, rules["long"].timeout, rules["long"].cut_from)


def test_the_digest_does_not_depend_on_the_defaults() -> None:
    """It is that of the files."""
    one, other = (load(THREE, "p", accounts=Machine(), defaults=each) for each in (Defaults(), DEFAULTS))

    assert one.digest == other.digest


def _keys(form: Any, at: str) -> dict[str, set[str]]:
    """Return the keys of every table below a form, by where they may stand; a list adds nothing to that."""
    match form:
        case Table(keys=keys):
            found = {at: set(keys)}
            for name, key in keys.items():
                found |= _keys(key.form, f"{at}/{name}")
            return found
        case Variant(tables=choices):
            whole = (_keys(table, f"{at}:{word}") for word, table in choices.items())
            return {where: keys for found in whole for where, keys in found.items()}
        case Listed(item=item):
            return _keys(item, at)
        case Named(value=value):
            return _keys(value, f"{at}/*")
    return _keys(form.mapping, at) if getattr(form, "mapping", None) is not None else {}


def _used(node: object, form: Any, at: str, used: dict[str, set[str]]) -> None:
    """Add which keys stand in a file where a form has them."""
    match form:
        case Table(keys=keys) if isinstance(node, dict):
            used.setdefault(at, set()).update(node)
            for name, value in node.items():
                if name in keys:
                    _used(value, keys[name].form, f"{at}/{name}", used)
        case Variant(by=by, tables=choices) if isinstance(node, dict):
            rest = {name: value for name, value in node.items() if name != by}
            _used(rest, choices[node[by]], f"{at}:{node[by]}", used)
        case Listed(item=item) if isinstance(node, list):
            for each in node:
                _used(each, item, at, used)
        case Named(value=value) if isinstance(node, dict):
            for each in node.values():
                _used(each, value, f"{at}/*", used)
        case _ if isinstance(node, dict) and getattr(form, "mapping", None) is not None:
            _used(node, form.mapping, at, used)


#: They go together with no other, or with others only, so that one file of good values needs many rules.
_ONCE = {"default", "optional", "least", "most", "leading_dash", "summary"}


def test_the_policy_with_every_key_has_every_key() -> None:
    """No key and no type of the tables is missing in it; what every type has stands in some."""
    text = (POLICIES / "good-every-key.yaml").read_text(encoding="utf-8")
    used: dict[str, set[str]] = {}
    _used(yaml.load(text, yaml.BaseLoader), tables.POLICY, "", used)
    missing = {
        where: keys - used.get(where, set()) - (_ONCE if ":" in where else set())
        for where, keys in _keys(tables.POLICY, "").items()
    }

    assert {} == {where: keys for where, keys in missing.items() if keys or where not in used}
    assert set() == _ONCE - set().union(*used.values())


MANUAL = SHIPPED.parents[1] / "docs/man/rexecd-policy.5.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)


def test_the_manual_has_examples() -> None:
    """Without this the next test could be one of nothing."""
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split(":")[1].strip() for block in BLOCKS])
def test_an_example_of_the_manual_is_a_policy(block: str) -> None:
    """It loads as it stands below a head, its own examples hold, and nothing in it is unwise."""
    head = "version: 1\nprincipals: {ci: {roles: [all]}}\nroles: {all: {allow: ['*']}}\n"
    policy = load(head + block, "manual", accounts=Machine())
    facts = Facts(
        {}, token_principals=frozenset({"ci"}), open_ended=(), missing=frozenset(), shared=frozenset()
    )

    assert () == run_examples(policy, resolve=resolve)[1]
    assert () == lint(policy, facts)


def test_a_long_text_to_run_is_written_as_a_list() -> None:
    """`shlex` is quadratic, in the operator's file too."""
    words = ["/bin/x", *["word"] * 4000]
    text = "version: 1\ncommands: {{x: {{summary: x, run: {}}}}}\n"

    assert 4001 == len(load(text.format(words), "p").rules["x"].template.elements)
    with pytest.raises(ConfigError, match=r"^p:2:33: more than 16384 characters; write a list$"):
        load(text.format(" ".join(words)), "p")


def test_what_cannot_be_split_is_not_run() -> None:
    """An open quote, and nothing at all."""
    text = "version: 1\ncommands: {{x: {{summary: x, run: {}}}}}\n"

    with pytest.raises(ConfigError, match="cannot be split into words: no closing quotation"):
        load(text.format("/bin/x 'a"), "p")
    with pytest.raises(ConfigError, match="there is nothing to run"):
        load(text.format("' '"), "p")


def test_several_files_are_one_policy() -> None:
    """Names of one file may stand in another; each keeps its place."""
    policy = read(POLICIES / "good-parts.yaml")

    assert {"disk", "web.status"} == set(policy.principals["ann"].rules)
    assert {"disk"} == set(policy.principals["bob"].rules)
    assert "good-parts/10-web.yaml:5:3" == str(policy.rules["web.status"].place)
    assert "good-parts.yaml:10:3" == str(policy.rules["disk"].place)


def test_the_digest_is_that_of_all_files() -> None:
    """A record's policy digest can be compared with `cat ... | sha256sum`."""
    files = [POLICIES / "good-parts.yaml", *sorted((POLICIES / "good-parts").iterdir())]
    data = b"".join(file.read_bytes() for file in files)

    assert hashlib.sha256(data).hexdigest() == read(files[0]).digest


def test_a_text_without_a_place_includes_nothing() -> None:
    """The fault stands where the directory is named."""
    with pytest.raises(ConfigError, match=r"^p:2:10: 'more' cannot be included here$"):
        load("version: 1\ninclude: more\ncommands: {x: {summary: x, run: /bin/x}}\n", "p")


def test_faults_of_an_included_directory_stand_where_it_is_named() -> None:
    """All of them, and those of the file itself."""

    def fail(directory: str) -> list[File]:
        raise ConfigError(f"{directory}: not there", f"{directory}: nowhere")

    with pytest.raises(ConfigError) as caught:
        load("version: 1\ninclude: more\ncommands: {x: {run: /bin/x}}\n", "p", include=fail)

    assert (
        "p:2:10: more: not there",
        "p:2:10: more: nowhere",
        "p:3:15: missing key 'summary'",
    ) == caught.value.faults


def test_what_could_not_be_included_is_nobody_elses_fault() -> None:
    """Names may stand in the files that were not read: neither roles nor examples are wrong."""

    def fail(directory: str) -> list[File]:
        raise ConfigError(f"{directory}: not there")

    names = "principals: {ann: {roles: [web]}}\nroles: {all: {allow: [web.status, 'web.*']}}\n"
    example = "{as: bob, line: x, expect: allow}"
    rule = f"commands: {{x: {{summary: x, run: /bin/x, examples: [{example}]}}}}\n"
    for text in (names, names + rule):
        with pytest.raises(ConfigError) as caught:
            load(f"version: 1\n{text}include: more\n", "p", include=fail)

        assert 1 == len(caught.value.faults)
        assert caught.value.faults[0].endswith(": more: not there")


@pytest.mark.parametrize(
    "part", ["- version: 1\n", "version: 1\ncommands: [x]\n", "---\nversion: 1\n", "version: 1\nx: {}\n"]
)
def test_what_a_faulty_file_lacks_is_nobody_elses_fault(part: str) -> None:
    """Its own fault is the only one."""
    text = "version: 1\ninclude: more\nroles: {all: {allow: [x]}}\n"

    with pytest.raises(ConfigError) as caught:
        load(text, "p", include=lambda _: [File("part", part)])

    assert [True] == [fault.startswith("part:") for fault in caught.value.faults]


def test_an_empty_directory_adds_nothing() -> None:
    """A policy may name one before there is anything in it."""
    text = "version: 1\ninclude: more\ncommands: {x: {summary: x, run: /bin/x}}\n"

    assert {"x"} == set(load(text, "p", include=lambda _: []).rules)


def test_all_commands_may_stand_in_other_files() -> None:
    """The first file needs no section of its own."""
    part = File("part", "version: 1\ncommands: {x: {summary: x, run: /bin/x}}\n")

    assert {"x"} == set(load("version: 1\ninclude: more\n", "p", include=lambda _: [part]).rules)


@pytest.mark.parametrize("path", [SHIPPED, POLICIES / "good-parts.yaml"], ids=lambda path: path.stem)
def test_a_policy_cut_short_does_not_load(path: Path) -> None:
    """At no line of a file that marks its end, and at no character of its last ones."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    end = text.rindex("\n...") + 1
    cut = ["".join(lines[:count]) for count in range(text[:end].count("\n") + 1)]
    cut += [text[:at] for at in range(end - 4, end + 3)]

    assert is_closed(text)
    for part in cut:
        with pytest.raises(ConfigError):
            load(part, "p", include=included, accounts=Machine())


def test_the_digest_is_that_of_the_text() -> None:
    """A record's policy digest can be compared with `sha256sum policy.yaml`."""
    data = SHIPPED.read_bytes()

    assert hashlib.sha256(data).hexdigest() == load(data.decode(), "p").digest


def test_a_policy_cannot_be_changed() -> None:
    """Neither the objects nor their mappings can be written to."""
    policy = load(SHIPPED.read_text(encoding="utf-8"), "p")

    with pytest.raises(AttributeError):
        policy.rules = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.principals["eve"] = policy.principals["ops"]  # type: ignore[index]
    with pytest.raises(TypeError):
        policy.rules["hello"].environment["x"] = "y"  # type: ignore[index]
