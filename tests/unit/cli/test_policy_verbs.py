"""`rexecd policy`: what an operator sees, and that it is what the monitor would do."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rexecd import policyfiles
from rexecd.cli import policy as policy_verbs
from rexecd.cli.init import lay_out
from rexecd.cli.rexecd import main
from rexecd.errors import Refused
from rexecd.policy.decide import Request, decide, enter
from rexecd.policy.model import Defaults, Identity
from rexecd.policyfiles import load_policy
from rexecd.wire.messages import Offer
from tests.unit.policy.worlds import Machine

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-of-the-tests"
POLICY = """\
version: 1
principals:
  ci: {roles: [all], from: [10.0.0.0/8, 127.0.0.1]}
  eve: {roles: [few]}
roles:
  all: {allow: ["*"]}
  few: {allow: ["service.*"], deny: [service.stop]}
commands:
  service.restart:
    summary: Restart
    run: [/bin/systemctl, restart, "{unit}", "a b"]
    parameters: {unit: {type: choice, of: [nginx, cron]}}
    timeout: 90s
    from: [10.1.0.0/16]
    limits: {output: 1MiB}
  service.stop: {summary: Stop, run: /bin/true, hidden: true, justification: required}
  login:
    summary: Every way of a secret
    run: [/bin/login, "--password-file={first}", "{file}", "{note}"]
    parameters:
      first: {type: secret, pass: descriptor}
      second: {type: secret, pass: environment, variable: SECOND}
      third: {type: secret, pass: stdin}
      file: {type: path, under: [/usr], pass: descriptor, default: /usr}
      note: {type: word, optional: true}
  feed: {summary: Feed, run: /bin/cat, stdin: require}
"""
BASE = "GIT_PAGER, HOME, LANG, LESSSECURE, PAGER, PATH, "
ABOUT = "REXEC_ADDRESS, REXEC_COMMAND, REXEC_CONNECTION_ID, REXEC_PRINCIPAL, REXEC_REQUEST_ID, "
ALLOWED = f"""\
allow
  rule  service.restart (policy.yaml:9:3)
checks, in order
  line                 ok  2 words
  principal            ok  ci (policy.yaml:3:3)
  principal's address  ok  10.1.2.3 is in 10.0.0.0/8, 127.0.0.1/32
  command              ok  service.restart (policy.yaml:9:3), allowed by role all with '*' (policy.yaml:6:17)
  command's address    ok  10.1.2.3 is in 10.1.0.0/16
  justification        ok  not required
  words                ok  given: unit
  parameter 'unit'     ok  'nginx': one of nginx, cron
  arguments            ok  4, the program among them
  input                ok  none
what is started
  argument 0         '/bin/systemctl'
  argument 1         'restart'
  argument 2         'nginx'
  argument 3         'a b'
  identity           run_as of rexecd.yaml, or else the daemon's own user
  environment        {BASE}{ABOUT}SYSTEMD_PAGER, TERM
  working directory  /
  umask              027
  timeout            90s
  caller's input     none
  input limit        no limit
  output limit       1MiB
"""
REFUSED = """\
refuse
  rule  service.restart (policy.yaml:9:3)
checks, in order
  line                 ok  2 words
  principal            ok  ci (policy.yaml:3:3)
  principal's address  ok  10.1.2.3 is in 10.0.0.0/8, 127.0.0.1/32
  command              ok  service.restart (policy.yaml:9:3), allowed by role all with '*' (policy.yaml:6:17)
  command's address    ok  10.1.2.3 is in 10.1.0.0/16
  justification        ok  not required
  words                ok  given: unit
  parameter 'unit'     NO  parameter 'unit': not one of the options
what the caller hears
  bad-argument: parameter 'unit' takes one of nginx, cron
what the trail says
  parameter 'unit': not one of the options
"""
POWER = """\
eve (policy.yaml:4:3), from anywhere: 1 of 1 command

service.restart <unit> (policy.yaml:9:3)
  runs            /bin/systemctl restart {unit} 'a b'
  as              run_as of rexecd.yaml, or else the daemon's own user
  timeout         90s
  from            10.1.0.0/16
  stdin           refuse
  by              role few with 'service.*' (policy.yaml:7:17)
  parameter unit  choice (of 'nginx', 'cron')
  output limit    1MiB
"""


def keep(name: str, text: str) -> None:
    """Write a file that only we can change."""
    path = Path(name)
    path.write_text(text)
    path.chmod(0o644)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory with a policy and nothing else, on a machine that has every program."""
    monkeypatch.setattr(policy_verbs, "program_fault", lambda _: None)
    monkeypatch.chdir(tmp_path)
    keep("policy.yaml", POLICY)
    return tmp_path


def explain(*arguments: str, principal: str = "ci", address: str = "10.1.2.3") -> int:
    """Ask what would come of a request under the policy that is here."""
    return main(
        ["policy", "explain", "--policy", "policy.yaml", "--as", principal, "--from", address, *arguments]
    )


def test_an_allowed_request_is_explained_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """The rule, each check in order, and everything the command would be started with."""
    assert 0 == explain("--", "service.restart nginx")
    assert (ALLOWED, "") == capsys.readouterr()


def test_a_refused_request_says_what_each_side_hears(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller and the trail; nothing of the value."""
    assert 1 == explain("--", "service.restart", "../x")
    assert (REFUSED, "") == capsys.readouterr()


def test_an_explanation_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same facts."""
    allowed = explain("--json", "--", "service.restart nginx")
    one = json.loads(capsys.readouterr().out)
    refused = explain("--json", "--", "service.restart none")
    other = json.loads(capsys.readouterr().out)

    assert (0, 1) == (allowed, refused)
    assert ("allow", None) == (one["outcome"], one["refusal"])
    assert ("service.restart", "policy.yaml:9:3") == (one["command"], one["place"])
    assert {"name": "line", "passed": True, "found": "2 words"} == one["checks"][0]
    assert ["/bin/systemctl", "restart", "nginx", "a b"] == one["invocation"]["argv"]
    assert (90.0, 1 << 20, "027") == tuple(
        one["invocation"][name] for name in ("timeout", "output_limit", "umask")
    )
    assert ("refuse", None) == (other["outcome"], other["invocation"])
    assert {
        "code": "bad-argument",
        "text": "parameter 'unit' takes one of nginx, cron",
        "reason": "parameter 'unit': not one of the options",
    } == other["refusal"]


@pytest.mark.parametrize("words", [["service.restart nginx"], ["service.restart", "nginx"]])
def test_a_line_is_one_word_or_several(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> None:
    """As rexec makes it: several are quoted and joined."""
    assert 0 == explain("--", *words)
    assert "argument 2         'nginx'" in capsys.readouterr().out


def test_several_words_are_never_split_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A blank in one of them stays in it."""
    assert 1 == explain("--", "service.restart", "nginx cron")
    assert "ok  2 words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--", "feed"], 0, "caller's input     read"),
        (["--stdin", "--", "feed"], 0, "caller's input     read"),
        (["--stdin", "--", "service.restart nginx"], 1, "bad-input: this command takes no input"),
        (["--", "service.stop"], 1, "justification-required: this command needs a reason why it is run"),
        (["--reason", "because", "--", "service.stop"], 0, "justification        ok  given"),
        (["--", "fed"], 1, "rule  none has this name (did you mean 'feed'?)"),
        (["--", "x 'y"], 1, "rule  none: the line has no first word"),
        (["--", ""], 1, "bad-line: the line is empty"),
    ],
)
def test_what_is_asked_is_what_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    """Input, reason, and lines that name nothing."""
    assert status == explain(*arguments)
    assert said in capsys.readouterr().out


def test_a_request_comes_from_loopback_unless_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The manual says so."""
    main(["policy", "explain", "--policy", "policy.yaml", "--as", "ci", "--", "feed"])
    loopback = capsys.readouterr().out
    explain("--", "feed", address="192.0.2.1")
    elsewhere = capsys.readouterr().out

    assert "127.0.0.1 is in 10.0.0.0/8, 127.0.0.1/32" in loopback
    assert "session  NO  'ci' may not come from this address, only from 10.0.0.0/8, 127.0.0.1/32" in elsewhere
    assert "authentication-failed: authentication failed" in elsewhere


def test_an_unknown_principal_is_refused_as_the_monitor_does(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no session to ask in."""
    assert 1 == explain("--", "feed", principal="mallory")
    assert "session  NO  the policy has no principal 'mallory'" in capsys.readouterr().out


SECRETS = [
    f"login {SECRET} {SECRET} {SECRET}",
    f"login --first {SECRET} --second={SECRET} --third {SECRET} /usr note",
    f"login {SECRET} {SECRET} {SECRET} /etc",
    f"login {SECRET} {SECRET} {SECRET} /usr note {SECRET}",
    f"login --first={SECRET} --first={SECRET}",
    f"login --frist={SECRET}",
    f"login {SECRET} '{SECRET}",
    f"login --first '{SECRET}\x07' b c",
    f"logni {SECRET}",
    SECRET,
]


@pytest.mark.parametrize("line", SECRETS)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_secret_is_never_shown(capsys: pytest.CaptureFixture[str], line: str, options: list[str]) -> None:
    """However it is passed, and whatever else is wrong with the line."""
    explain(*options, "--", line)
    output = capsys.readouterr()

    assert output.out
    assert SECRET not in output.out + output.err


def test_what_is_passed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Which argument names which descriptor; the secret's variable, not its value."""
    assert 0 == explain("--", SECRETS[0])
    shown = capsys.readouterr().out

    assert "argument 1         '--password-file=/dev/fd/' and a number\n" in shown
    assert "passed             a secret, as the descriptor that argument 1 names\n" in shown
    assert "passed             the file '/usr', as the descriptor that argument 2 names\n" in shown
    assert "passed             a secret, as standard input\n" in shown
    assert "REXEC_REQUEST_ID, SECOND, SYSTEMD_PAGER" in shown


def outcome_of(line: str, principal: str, address: str) -> tuple[str, ...]:
    """Return what the monitor answers to a token, and then to a line."""
    request = Request(principal, "c", "c-1", address, line, Offer.OPTIONAL)
    try:
        policy = load_policy(Path("policy.yaml"))
        enter(policy, principal, address, None)
        made = decide(policy, request, resolve=os.path.realpath)
    except Refused as refused:
        return "refuse", refused.text
    return ("allow", *made.argv)


@given(
    st.lists(
        st.sampled_from(
            ["feed", "service.restart", "service.stop", "nginx", "--unit=cron", "-x", "--", "'", " "]
        )
        | st.text(max_size=3),
        min_size=1,
        max_size=4,
    ).map(" ".join),
    st.sampled_from(["ci", "eve", "mallory"]),
    st.sampled_from(["10.1.2.3", "127.0.0.1", "2001:db8::1"]),
)
@example("service.restart nginx", "ci", "10.1.2.3")
@example("service.restart nginx", "eve", "10.1.2.3")
@settings(max_examples=80, deadline=None)
def test_an_explanation_is_the_monitors_decision(line: str, principal: str, address: str) -> None:
    """The same outcome, and the same arguments or words."""
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rexecd.cli.say.out", told.append)
        status = explain("--json", "--", line, principal=principal, address=address)
    shown = json.loads("".join(told))
    rest = shown["invocation"]["argv"] if status == 0 else [shown["refusal"]["text"]]

    assert outcome_of(line, principal, address) == (shown["outcome"], *rest)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "--as", "ci"], "required: LINE"),
        (["explain", "--", "feed"], "required: --as"),
        (["explain", "--as", "ci", "--from", "10.1", "--", "feed"], "'10.1' is no IPv4 or IPv6 address"),
        (["list"], "required: --as"),
        (["diff", "policy.yaml"], "required: NEW"),
    ],
)
def test_a_verb_used_wrongly_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Exit status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["policy", *arguments])

    assert 2 == caught.value.code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        ["explain", "--policy", "bad.yaml", "--as", "ci", "--", "feed"],
        ["list", "--policy", "bad.yaml", "--as", "ci"],
        ["diff", "policy.yaml", "bad.yaml"],
        ["diff", "bad.yaml", "policy.yaml"],
    ],
)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "bad.yaml: not found; "),
        ("version: [", "bad.yaml:1:"),
        (f"version: 1\ninclude: nowhere\n{POLICY[11:]}", "bad.yaml:2:10: nowhere: not found; "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], verb: list[str], text: str | None, said: str
) -> None:
    """Missing, no YAML, or with a directory that is not there; for `diff` it is no difference."""
    if text is not None:
        keep("bad.yaml", text)

    assert (2 if verb[0] == "diff" else 1) == main(["policy", *verb])
    output = capsys.readouterr()
    assert ("", 1) == (output.out, output.err.count("\n"))
    assert output.err.startswith(f"rexecd: error: {said}")


def test_without_a_file_it_is_the_settings_policy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the monitor finds it."""
    made = lay_out(here / "made", ["localhost"], policy=POLICY)

    assert 0 == main(["policy", "list", "--as", "eve", "--config", str(made.config)])
    assert capsys.readouterr().out.startswith(f"eve ({here}/made/policy.yaml:4:3)")


def test_a_principals_power_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it may come from: `from` is shown."""
    assert 0 == main(["policy", "list", "--policy", "policy.yaml", "--as", "eve"])
    assert (POWER, "") == capsys.readouterr()


def test_what_is_hidden_from_callers_is_shown_to_the_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """And marked; so is what needs a reason."""
    main(["policy", "list", "--policy", "policy.yaml", "--as", "ci"])
    shown = capsys.readouterr().out

    assert "service.stop (policy.yaml:16:3)" in shown
    assert "  hidden   left out of listings for callers\n" in shown
    assert "  reason   required\n" in shown


@pytest.mark.parametrize(
    ("address", "count", "note"),
    [("10.1.2.3", 4, False), ("10.2.0.1", 3, False), ("192.0.2.1", 0, True)],
)
def test_a_power_can_be_that_from_one_address(
    capsys: pytest.CaptureFixture[str], address: str, count: int, note: bool
) -> None:
    """The principal's own `from` and those of the rules."""
    main(["policy", "list", "--policy", "policy.yaml", "--as", "ci", "--from", address])
    shown = capsys.readouterr().out

    assert f"{count} of 4 commands" in shown.splitlines()[0]
    assert note == (f"  ci may not come from {address}\n" in shown)


def test_a_power_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    main(["policy", "list", "--policy", "policy.yaml", "--as", "eve", "--json"])
    shown = json.loads(capsys.readouterr().out)
    (command,) = shown.pop("commands")

    assert {
        "principal": "eve",
        "place": "policy.yaml:4:3",
        "roles": ["few"],
        "from": [],
        "require": None,
        "limits": {},
    } == shown
    assert {
        "name": "service.restart",
        "place": "policy.yaml:9:3",
        "usage": "service.restart <unit>",
        "summary": "Restart",
        "runs": "/bin/systemctl restart {unit} 'a b'",
        "run_as": None,
        "timeout": 90.0,
        "from": ["10.1.0.0/16"],
        "stdin": "refuse",
        "parameters": [{"name": "unit", "takes": "choice (of 'nginx', 'cron')"}],
        "environment": {},
        "working_directory": "/",
        "umask": "027",
        "input_limit": None,
        "output_limit": 1 << 20,
        "limits": {},
        "sandbox": None,
        "signals": ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"],
        "on_disconnect": "kill",
        "justification": "optional",
        "hidden": False,
        "granted_by": "role few with 'service.*' (policy.yaml:7:17)",
    } == command


BOUND = """\
    limits: {output: 1MiB, concurrency: 1, rate: 5/min, memory: 64MiB, cpu: 90s}
    sandbox: {read: [/etc/app], network: loopback, private_tmp: true}
    signals: [TERM]
    on_disconnect: finish
"""
BOUND_ROWS = """\
  limits             concurrency 1, rate 5/min, memory 64MiB, cpu 90s
  sandbox            read '/etc/app'; network loopback; private_tmp
  signals            TERM
  on disconnect      runs to its end
"""
BOUND_OBJECT = {
    "limits": {"concurrency": 1, "rate": "5/min", "memory": 64 << 20, "cpu": 90},
    "sandbox": {
        "read": ["/etc/app"],
        "write": None,
        "network": "loopback",
        "private_tmp": True,
        "devices": None,
        "best_effort": False,
    },
    "signals": ["TERM"],
    "on_disconnect": "finish",
}


def bind() -> None:
    """Give the rule that is explained bounds, and eve limits of her own."""
    text = POLICY.replace("    limits: {output: 1MiB}\n", BOUND)
    keep("policy.yaml", text.replace("eve: {roles: [few]}", "eve: {roles: [few], limits: {concurrency: 2}}"))


def test_what_a_command_is_kept_within_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not as it is without the keys."""
    bind()

    assert (0, 0) == (
        explain("--", "service.restart nginx"),
        explain("--json", "--", "service.restart nginx"),
    )
    text, _, rest = capsys.readouterr().out.partition("\n{")
    invocation = json.loads("{" + rest)["invocation"]
    assert text.endswith(f"  output limit       1MiB\n{BOUND_ROWS}".rstrip("\n"))
    assert BOUND_OBJECT == {key: invocation[key] for key in BOUND_OBJECT}


def test_what_a_power_is_kept_within_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Of each command, and of the principal over all of them."""
    bind()
    main(["policy", "list", "--policy", "policy.yaml", "--as", "eve"])
    shown = capsys.readouterr().out
    main(["policy", "list", "--policy", "policy.yaml", "--as", "eve", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert "  limits  concurrency 2\n" in shown
    assert [row.split() for row in BOUND_ROWS.splitlines()] == [
        row.split() for row in shown.splitlines()[-len(BOUND_ROWS.splitlines()) :]
    ]
    assert {"concurrency": 2} == found["limits"]
    assert BOUND_OBJECT == {key: found["commands"][0][key] for key in BOUND_OBJECT}


def test_a_bound_that_goes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Who may do more since then, and what of."""
    keep("old.yaml", POLICY)
    bind()

    assert 1 == main(["policy", "diff", "policy.yaml", "old.yaml"])
    lines = capsys.readouterr().out.splitlines()
    assert "eve: limits.concurrency 2 -> none" in lines
    assert any("limits.memory 64MiB -> none" in line and line.startswith("ci: ") for line in lines)


def test_the_settings_policy_is_read_with_what_the_settings_say(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the monitor reads it; another file is shown as it is written."""
    made = lay_out(here / "made", ["localhost"], policy=POLICY)
    named = Defaults(Identity("commands", 990, 990, ()), max_timeout=45.0)
    monkeypatch.setattr(policy_verbs, "defaults", lambda _: named)
    main(["policy", "list", "--as", "eve", "--config", str(made.config)])
    settled = capsys.readouterr().out
    main(["policy", "explain", "--as", "ci", "--config", str(made.config), "--", "feed"])
    explained = capsys.readouterr().out
    main(["policy", "list", "--as", "eve", "--policy", "policy.yaml"])

    assert re.search(r"\n  as +commands \(uid 990, gid 990, groups none\)\n  timeout +45s\n", settled)
    assert re.search(r"\n  identity +commands .*\n(?s:.*)\n  timeout +45s\n", explained)
    assert POWER == capsys.readouterr().out


EVERYTHING = """\
version: 1
principals: {eve: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  tool:
    summary: S
    run: [/bin/tool, "{file}", "{count}", "{wait}", "{rest...}", "a\\nb  forged  row"]
    parameters:
      file: {type: path, under: [/srv, /var]}
      count: {type: integer, min: 1, max: 9, default: 3}
      wait: {type: duration, min: 1s, max: 90s, default: 1m}
      rest: {type: text, max: 5, least: 0, most: 3, leading_dash: allow, summary: The rest}
    environment: {MODE: "slow\\n  as  root", LEVEL: "3"}
    limits: {input: 1KiB, output: 2MiB}
    stdin: accept
    umask: "077"
    working_directory: /srv
"""


def test_everything_a_rule_declares_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters, environment, and what is not as it is without the key."""
    keep("policy.yaml", EVERYTHING)
    main(["policy", "list", "--policy", "policy.yaml", "--as", "eve"])
    rows = [tuple(row.strip().split("  ", 1)) for row in capsys.readouterr().out.splitlines()[3:]]

    assert {
        "parameter file": "path (under '/srv', '/var')",
        "parameter count": "integer (min 1; max 9; default 3)",
        "parameter wait": "duration (min 1s; max 90s; default '1m')",
        "parameter rest": "text (max 5; summary 'The rest'; leading dash yes; repeat 0 to 3 times)",
        "environment MODE": r"'slow\n  as  root'",
        "environment LEVEL": "'3'",
        "working directory": "/srv",
        "umask": "077",
        "input limit": "1KiB",
        "output limit": "2MiB",
    } == {
        name: value.strip()
        for name, value in rows
        if name.split()[0] not in {"runs", "as", "timeout", "from", "stdin", "by"}
    }


def test_no_row_can_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by a list, and not by a difference: a newline in the policy is escaped."""
    keep("policy.yaml", EVERYTHING)
    keep("new.yaml", EVERYTHING.replace("forged  row", "forged  column"))
    main(["policy", "list", "--policy", "policy.yaml", "--as", "eve"])
    listed = capsys.readouterr().out
    main(["policy", "diff", "policy.yaml", "new.yaml"])
    told = capsys.readouterr().out

    assert r"a\x0ab  forged  row" in listed
    assert [] == [
        line for line in listed.splitlines() if line.strip().startswith(("forged", "b  ", "as  root"))
    ]
    assert (1, True) == (told.count("\n"), r"a\x0ab  forged  column" in told)


@pytest.mark.parametrize(
    ("line", "patched", "said"),
    [
        ("service.restart nginx", "program_fault", "'/bin/systemctl' is away"),
        ("service.restart nginx", "can_become", "this process cannot start anything as web"),
        (SECRETS[0], None, "'/usr' is not a regular file"),
        (
            f"{SECRETS[1].removesuffix('/usr note')} /usr/nowhere",
            None,
            "'/usr/nowhere' cannot be looked at: No such file",
        ),
        ("away", None, "'/nowhere' cannot be looked at: No such file or directory"),
    ],
)
def test_what_would_stop_the_start_is_noted(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    patched: str | None,
    said: str,
) -> None:
    """On this machine; the decision and the exit status stay what they are."""
    keep("policy.yaml", POLICY + "  away: {summary: A, run: /bin/true, working_directory: /nowhere}\n")
    if patched == "program_fault":
        monkeypatch.setattr(policy_verbs, patched, lambda path: f"{path!r} is away")
    if patched == "can_become":
        monkeypatch.setattr(policy_verbs, patched, lambda _: False)
        monkeypatch.setattr(policyfiles, "SystemAccounts", Machine)
        keep("policy.yaml", POLICY.replace("    timeout: 90s", "    timeout: 90s\n    run_as: web"))

    assert (0, 0) == (explain("--", line), explain("--json", "--", line))
    shown = capsys.readouterr().out
    text, _, rest = shown.partition("\n{")
    assert said in text.partition("\n  note ")[2]
    assert [True] == [said in note for note in json.loads("{" + rest)["invocation"]["notes"]]


@pytest.mark.parametrize(
    ("name", "said"), [("evi", "'evi' (did you mean 'eve'?)"), ("mallory", "'mallory'; it has ci, eve")]
)
def test_an_unknown_principal_has_no_power(capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    """One line, with a remedy."""
    assert 1 == main(["policy", "list", "--policy", "policy.yaml", "--as", name])
    assert f"rexecd: error: policy.yaml: no principal {said}\n" == capsys.readouterr().err


def test_policies_that_allow_the_same_do_not_differ(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, or an object that says so."""
    keep("new.yaml", f"# moved\n{POLICY}")

    assert 0 == main(["policy", "diff", "policy.yaml", "new.yaml"])
    assert ("", "") == capsys.readouterr()
    assert 0 == main(["policy", "diff", "policy.yaml", "new.yaml", "--json"])
    assert {"differs": False, "principals": []} == json.loads(capsys.readouterr().out)


def change() -> None:
    """Write another policy: eve goes, ann comes, ci comes from elsewhere and loses and gains."""
    text = POLICY.replace("eve: {roles: [few]}", "ann: {roles: [few]}").replace(", 127.0.0.1", "")
    text = (
        text.replace("90s", "60s")
        .replace("feed:", "feed.all:")
        .replace("deny: [service.stop]", "deny: [login]")
    )
    keep("new.yaml", text)


def test_a_difference_is_told_by_principal(capsys: pytest.CaptureFixture[str]) -> None:
    """Who comes and goes, gains and loses, and what changed. The manual shows this very one."""
    change()

    assert 1 == main(["policy", "diff", "policy.yaml", "new.yaml"])
    output = capsys.readouterr().out
    assert [
        "ann: is new (new.yaml:4:3)",
        "ann: gains service.restart (new.yaml:9:3)",
        "ann: gains service.stop (new.yaml:16:3)",
        "ci: from 10.0.0.0/8, 127.0.0.1/32 -> 10.0.0.0/8",
        "ci: gains feed.all (new.yaml:26:3)",
        "ci: loses feed",
        "ci: service.restart changed: timeout 90s -> 1m (new.yaml:9:3)",
        "eve: is gone",
        "eve: loses service.restart",
    ] == output.splitlines()
    assert output in (ROOT / "docs/man/rexecd.8.md").read_text()


def test_a_difference_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    change()

    assert 1 == main(["policy", "diff", "policy.yaml", "new.yaml", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert [("ann", "new"), ("ci", "kept"), ("eve", "gone")] == [
        (each["name"], each["principal"]) for each in shown["principals"]
    ]
    assert shown["differs"]
    assert {
        "name": "ci",
        "principal": "kept",
        "from": {"what": "from", "old": "10.0.0.0/8, 127.0.0.1/32", "new": "10.0.0.0/8"},
        "require": None,
        "limits": [],
        "gains": [{"command": "feed.all", "place": "new.yaml:26:3"}],
        "loses": [{"command": "feed", "place": "policy.yaml:26:3"}],
        "changes": [
            {
                "command": "service.restart",
                "place": "new.yaml:9:3",
                "what": [{"what": "timeout", "old": "90s", "new": "1m"}],
            }
        ],
    } == shown["principals"][1]


def shipped() -> str:
    """Return the policy that `rexecd init` lays out."""
    return (ROOT / "config/policy.yaml").read_text()


def test_the_manuals_explanations_are_true(capsys: pytest.CaptureFixture[str]) -> None:
    """With the shipped policy: one request is allowed, the other refused."""
    keep("policy.yaml", shipped())
    manual = (ROOT / "docs/man/rexecd.8.md").read_text()
    lines = [
        line.split()
        for line in manual.splitlines()
        if line.startswith("rexecd policy explain --as ") and "[" not in line
    ]

    assert [0, 1] == [main([*line[1:3], "--policy", "policy.yaml", *line[3:]]) for line in lines]
    assert capsys.readouterr().out.startswith("allow\n")
