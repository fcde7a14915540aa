"""`rexecd check`: errors, warnings, and which of them count."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rexecd import policyfiles
from rexecd.cli import check
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.rexecd import main
from rexecd.errors import ConfigError
from rexecd.identity.store import Store
from rexecd.identity.tokens import TokenRecord
from rexecd.policy.lint import Facts, Finding
from rexecd.policy.load import load
from rexecd.policy.model import Policy
from rexecd.yamltext import Place

POLICIES = Path(__file__).parents[2] / "data" / "policies"
#: Without any warning.
POLICY = """\
---
version: 1
principals:
  ci: {roles: [all]}
roles:
  all: {allow: [hello]}
commands:
  hello:
    summary: Hello
    run: /bin/true
    timeout: 5s
...
"""
EXAMPLES = """\
    examples:
      - {as: ci, line: hello, expect: allow}
      - {as: ci, line: hello you, expect: refuse}
...
"""


def keep(directory: Path, text: str, name: str = "policy.yaml") -> Path:
    """Write a policy that only we can change and return its path."""
    path = directory / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def laid_out(directory: Path, policy: str = POLICY) -> Layout:
    """Lay out a whole installation with a token for everybody."""
    made = lay_out(directory, ["localhost"], policy=policy)
    with Store(directory / "state/tokens.sqlite") as store:
        store.add(TokenRecord("Unit0001", bytes(32), "ci", created=datetime.now(UTC)))
    return made


def warn(monkeypatch: pytest.MonkeyPatch, place: Place) -> list[Facts]:
    """Let lint find one thing, and return where what it is told is kept."""
    told: list[Facts] = []

    def lint(policy: Policy, facts: Facts) -> tuple[Finding, ...]:
        told.append(facts)
        return (Finding(place, "RX102", "look at this"),)

    monkeypatch.setattr(check, "lint", lint)
    return told


def test_a_good_installation_gets_a_line_for_each_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Policy, certificate and state, and not a word more."""
    made = laid_out(tmp_path)
    status = main(["check", "--strict", "--config", str(made.config)])
    output = capsys.readouterr()
    commands, policy, certificate, state = output.out.splitlines()

    assert (0, "") == (status, output.err)
    assert commands.startswith("rexecd: commands run as ")
    assert f"rexecd: {tmp_path}/policy.yaml: 1 principal, 1 command: good" == policy
    assert certificate.startswith(f"rexecd: {tmp_path}/certs/server.pem: good until ")
    assert certificate.endswith(f", --pin sha256:{made.pin}")
    assert f"rexecd: {tmp_path}/state/trail.key: good, at record 1" == state


def test_examples_that_hold_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the policy's line."""
    path = keep(tmp_path, POLICY.replace("...\n", EXAMPLES))

    assert 0 == main(["check", "--strict", "--policy", str(path)])
    assert f"rexecd: {path}: 1 principal, 1 command, 2 examples hold: good\n" == capsys.readouterr().out


def test_a_failed_example_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its place, and nothing is called good."""
    path = keep(tmp_path, POLICY.replace("...\n", EXAMPLES.replace("allow", "refuse")))
    status = main(["check", "--policy", str(path)])

    assert 1 == status
    assert ("", f"rexecd: error: {path}:13:9: the example is allowed and should be refused\n") == (
        capsys.readouterr()
    )


@pytest.mark.parametrize(("options", "expected"), [((), (0, 1)), (("--strict",), (1, 0))])
def test_a_warning_counts_only_when_strict(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    expected: tuple[int, int],
) -> None:
    """It is shown either way, on standard error."""
    path = keep(tmp_path, POLICY)
    warn(monkeypatch, Place(str(path), 8, 3))

    status = main(["check", "--policy", str(path), *options])
    output = capsys.readouterr()

    assert expected == (status, len(output.out.splitlines()))
    assert f"rexecd: warning: {path}:8:3: RX102 look at this\n" == output.err


def test_a_real_warning_comes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule without a timeout of its own."""
    path = keep(tmp_path, POLICY.replace("    timeout: 5s\n", ""))

    assert 0 == main(["check", "--policy", str(path)])
    assert capsys.readouterr().err.startswith(f"rexecd: warning: {path}:8:3: RX301 ")


def test_json_is_one_object_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors before warnings, places taken apart."""
    path = keep(tmp_path, POLICY.replace("...\n", EXAMPLES.replace("allow", "refuse")))
    warn(monkeypatch, Place(str(path), 8, 3))
    status = main(["check", "--policy", str(path), "--json"])
    output = capsys.readouterr()
    common = {"file": str(path)}

    assert (1, "") == (status, output.err)
    assert json.loads(output.out) == {
        "good": False,
        "findings": [
            {
                **common,
                "severity": "error",
                "code": None,
                "line": 13,
                "column": 9,
                "message": "the example is allowed and should be refused",
            },
            {
                **common,
                "severity": "warning",
                "code": "RX102",
                "line": 8,
                "column": 3,
                "message": "look at this",
            },
        ],
        "facts": [],
    }


def test_json_says_good_beside_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the exit status does."""
    path = keep(tmp_path, POLICY)
    warn(monkeypatch, Place(str(path), 8, 3))
    status = main(["check", "--policy", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)

    assert (0, True, 1) == (status, told["good"], len(told["findings"]))
    assert [f"{path}: 1 principal, 1 command: good"] == told["facts"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (None, None, None, "not found")),
        ("version: 1\nlsten: x\n", ("rexecd.yaml", 2, 1, "unknown key 'lsten'")),
    ],
)
def test_faulty_settings_are_json_too(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    expected: tuple[str | None, int | None, int | None, str],
) -> None:
    """A program that asks always gets an object."""
    monkeypatch.chdir(tmp_path)
    if text is not None:
        keep(tmp_path, text, "rexecd.yaml")
    status = main(["check", "--json", "--config", "rexecd.yaml"])
    output = capsys.readouterr()
    (finding,) = json.loads(output.out)["findings"]

    assert (1, "") == (status, output.err)
    assert expected[:3] == (finding["file"], finding["line"], finding["column"])
    assert expected[3] in finding["message"]


def test_every_part_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults of policy, certificate and state, all at once."""
    made = laid_out(tmp_path, POLICY.replace("summary", "sumary"))
    (tmp_path / "certs/server.key").chmod(0o644)
    (tmp_path / "state/trail.key").write_text("{}")
    status = main(["check", "--config", str(made.config)])
    output = capsys.readouterr()

    assert (1, "") == (status, output.out)
    for part in ("policy.yaml:9:5: unknown key 'sumary'", "certs/server.key: ", "state/trail.key: damaged"):
        assert part in output.err
    assert all(line.startswith("rexecd: error: ") for line in output.err.splitlines())


def test_a_policy_alone_needs_nothing_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No settings, no state, and nothing is made; tokens are not known."""
    monkeypatch.chdir(tmp_path)
    keep(tmp_path, POLICY)
    told = warn(monkeypatch, Place("policy.yaml", 8, 3))
    status = main(["check", "--policy", "policy.yaml"])

    assert (0, ["policy.yaml"]) == (status, os.listdir(tmp_path))
    assert [Facts({"/bin/true": None}, None, (), frozenset(), frozenset())] == told
    assert capsys.readouterr().err.startswith("rexecd: warning: policy.yaml:8:3: ")


def test_lint_is_told_what_the_machine_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs, principals with a valid token, and files without an end."""
    open_text = POLICY.replace("---\n", "").replace("...\n", "") + "# last\n\n"
    open_text = open_text.replace("/bin/true", "/nowhere/at-all\n    working_directory: /nowhere")
    made = laid_out(tmp_path, open_text)
    with Store(tmp_path / "state/tokens.sqlite") as store:
        store.add(
            TokenRecord("Unit0002", bytes(31) + b"2", "old", datetime.now(UTC), revoked=datetime.now(UTC))
        )
    told = warn(monkeypatch, Place("x", 1, 1))

    assert 0 == main(["check", "--config", str(made.config)])
    assert [
        Facts(
            {"/nowhere/at-all": "'/nowhere/at-all' not found"},
            frozenset({"ci"}),
            (Place(f"{tmp_path}/policy.yaml", 12, 1),),
            frozenset({"/nowhere"}),
            frozenset(),
        )
    ] == told


def test_a_script_that_others_can_change_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is not executable is not: its interpreter reads it."""
    script = keep(tmp_path, "print()\n", "a.py")
    text = POLICY.replace("/bin/true", f"[/usr/bin/env, python3, {script}]")
    path = keep(tmp_path, text.replace("    timeout", "    silence: {RX102: a, RX104: b}\n    timeout"))
    assert 0 == main(["check", "--strict", "--policy", str(path)])
    capsys.readouterr()
    script.chmod(0o666)

    assert 1 == main(["check", "--strict", "--policy", str(path)])
    assert f": RX107 '{script}' can be changed by group or others" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "expected"), [(0o777, True), (0o1777, True), (0o755, False)])
def test_lint_is_told_where_everybody_can_make_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, expected: bool
) -> None:
    """Of the directories that paths may be below."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    text = f"/bin/df {{x}}\n    parameters: {{x: {{type: path, under: [{data}/]}}}}"
    path = keep(tmp_path, POLICY.replace("/bin/true", text))
    told = warn(monkeypatch, Place("x", 1, 1))
    main(["check", "--policy", str(path)])

    assert [{f"{data}/"} if expected else set()] == [facts.shared for facts in told]


@pytest.mark.parametrize(
    ("place", "mode", "expected"),
    [
        ("a/b", 0o777, True),
        ("a/b", 0o1777, True),
        ("a/b", 0o775, False),
        ("a", 0o777, True),
        ("a", 0o1777, False),
        ("a/b/file", 0o666, False),
    ],
)
def test_a_directory_is_shared_if_everybody_can_change_what_it_holds(
    tmp_path: Path, place: str, mode: int, *, expected: bool
) -> None:
    """There, or by another one in its place; what is sticky keeps what is ours."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / place).chmod(mode)
    asked = f"{tmp_path}/a/b/file" if place.endswith("file") else f"{tmp_path}/link/"

    assert expected is check._is_shared(asked)


@pytest.mark.parametrize("name", ["none", "loop"])
def test_what_cannot_be_looked_at_is_not_said_to_be_shared(tmp_path: Path, name: str) -> None:
    """Nothing is known of it."""
    (tmp_path / "loop").symlink_to("loop")

    assert not check._is_shared(f"{tmp_path}/{name}")


@pytest.mark.parametrize("is_there", [True, False])
def test_tokens_that_cannot_be_read_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """A store that is not there is not made."""
    made = laid_out(tmp_path)
    store = tmp_path / "state/tokens.sqlite"
    if is_there:
        store.chmod(0o666)
    else:
        store.unlink()
    told = warn(monkeypatch, Place("x", 1, 1))
    main(["check", "--config", str(made.config)])

    assert [None] == [facts.token_principals for facts in told]
    assert is_there == store.exists()


def test_a_directory_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system says."""

    def unreadable(path: Path, **_: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(policyfiles, "read_text", unreadable)

    assert 1 == main(["check", "--policy", str(tmp_path)])
    assert f"rexecd: error: {tmp_path}: cannot be read: Permission denied\n" == capsys.readouterr().err


RUN_AS = POLICY.replace("    timeout", "    run_as: {user: 12345, group: 12345}\n    timeout")


@pytest.mark.parametrize("able", [False, True])
def test_a_policy_that_this_process_cannot_carry_out_is_not_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, able: bool
) -> None:
    """As the monitor would refuse it; root becomes anyone."""
    monkeypatch.setattr(policyfiles, "can_become", lambda _: able)
    made = laid_out(tmp_path, RUN_AS)
    status = main(["check", "--config", str(made.config)])
    output = capsys.readouterr()
    said = "policy.yaml:8:3: to run 'hello' as 12345 (uid 12345, gid 12345, groups none) takes a monitor"

    assert (0 if able else 1, not able) == (status, said in output.err)


def test_a_policy_alone_may_be_that_of_another_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process can become says nothing then."""
    monkeypatch.setattr(policyfiles, "can_become", lambda _: False)

    assert 0 == main(["check", "--policy", str(keep(tmp_path, RUN_AS))])
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 principal, 1 command, 1 example holds"), (2, "1 principal, 1 command, 2 examples hold")],
)
def test_one_and_many_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, said: str
) -> None:
    """In the line about a good policy."""
    lines = EXAMPLES.splitlines(keepends=True)
    path = keep(tmp_path, POLICY.replace("...\n", "".join([*lines[: count + 1], lines[-1]])))

    assert 0 == main(["check", "--policy", str(path)])
    assert f"rexecd: {path}: {said}: good\n" == capsys.readouterr().out


def test_a_directory_that_is_not_there_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that a file stands in the way of, too; one that we may not look for is not known."""
    path = keep(
        tmp_path,
        POLICY.replace("    timeout", f"    working_directory: {tmp_path}/policy.yaml/x\n    timeout"),
    )

    assert 0 == main(["check", "--policy", str(path)])
    assert ": RX306 it starts in " in capsys.readouterr().err
    assert not check._is_missing("/" + "x" * 300)


def test_a_policy_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a remedy."""
    assert 1 == main(["check", "--policy", str(tmp_path / "no.yaml")])
    error = capsys.readouterr().err
    assert error.startswith(f"rexecd: error: {tmp_path}/no.yaml: not found; ")
    assert 1 == error.count("\n")


@pytest.mark.parametrize("path", sorted(POLICIES.glob("bad-*.yaml")), ids=lambda path: path.stem)
def test_a_fault_taken_apart_is_the_line_it_was(path: Path) -> None:
    """Programs and people are told the same, in the same order."""
    with pytest.raises(ConfigError) as caught:
        load(path.read_text(), path.name)
    error = caught.value

    assert list(error.faults) == [f"{Place(*place)}: {message}" for place, message in error.found if place]


def test_a_fault_without_a_place_has_none() -> None:
    """Its line is the message."""
    assert [(None, "a"), (None, "b")] == list(ConfigError("a", "b").found)
