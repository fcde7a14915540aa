"""The decision: what is permitted, how arguments are filled in, and what is said of the rest."""

import shlex
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.errors import Code, Refused
from rexecd.limits import MAX_LINE, MAX_WORDS
from rexecd.policy.decide import BASE_ENVIRONMENT, Request, decide, split
from rexecd.policy.load import load
from rexecd.policy.model import Identity, Invocation
from rexecd.wire.messages import Offer
from tests.unit.policy import worlds
from tests.unit.policy.worlds import Machine, asked

POLICY = load(
    """
version: 1
principals:
  ann: {roles: [all]}
  bob: {roles: [some]}
  eve: {roles: [all, careful]}
roles:
  all: {allow: ["*"]}
  some: {allow: [disk, "service.*"], deny: [service.stop]}
  careful: {allow: [disk], deny: [service.stop]}
commands:
  disk:
    summary: Free space
    run: /usr/bin/df -h {path}
    parameters:
      path: {type: path, under: [/srv, /var], default: /var}
  service.restart:
    summary: Restart
    run: [/usr/bin/systemctl, restart, "{unit}"]
    parameters: {unit: {type: choice, of: [nginx, postgresql]}}
    timeout: 30s
    environment: {LANG: C, MODE: "{unit}"}
    working_directory: /srv
    limits: {output: 1MiB}
    umask: "077"
    run_as: web
  service.stop: {summary: Stop, run: /bin/true}
  logs:
    summary: Logs
    run: [/bin/logs, "{follow}", "--lines={lines}", --, "{unit}", "{note}"]
    parameters:
      unit: {type: word}
      follow: {type: flag, adds: [-f, "--retry all"]}
      lines: {type: integer, min: 1, max: 500, default: 50}
      note: {type: text, max: 16000, default: ""}
  dashed:
    summary: Takes options
    run: /bin/dashed {a} {n}
    parameters:
      a: {type: text, leading_dash: allow}
      n: {type: integer, min: -9, max: 9, leading_dash: allow, default: -1}
  feed: {summary: Feed, run: /bin/cat, stdin: require}
  both: {summary: Both, run: /bin/cat, stdin: accept, limits: {input: 1KiB}}
  why: {summary: Why, run: /bin/why, justification: required, hidden: true}
""",
    "policy.yaml",
    accounts=Machine(),
)


def ask(line: str, *, principal: str = "ann", offer: Offer = Offer.NONE) -> Invocation:
    """Return the decision on a line."""
    return worlds.ask(POLICY, asked(line, principal=principal, offer=offer))


def refusal(line: str, *, principal: str = "ann", offer: Offer = Offer.NONE) -> Refused:
    """Return the refusal of a line."""
    return worlds.refusal(POLICY, asked(line, principal=principal, offer=offer))


def test_an_invocation_says_everything_about_the_start() -> None:
    """All of a rule arrives in the invocation, with the rule's place."""
    made = ask("service.restart nginx")

    assert "service.restart" == made.rule
    assert "policy.yaml:17:3" == made.place
    assert ("/usr/bin/systemctl", "restart", "nginx") == made.argv
    assert ("/srv", 30.0, False) == (made.working_directory, made.timeout, made.takes_input)
    assert (0o77, Identity("web", 1001, 1001, (33, 1001))) == (made.umask, made.identity)
    assert (1024 * 1024, None) == (made.output_ceiling, made.input_ceiling)
    assert 1024 == ask("both", offer=Offer.OPTIONAL).input_ceiling


def test_an_invocation_is_bound_as_its_rule_is() -> None:
    """Limits, sandbox, signals, and what happens without the caller."""
    policy = worlds.read(worlds.POLICIES / "good-every-key.yaml")
    rule = policy.rules["every"]
    asked_ = asked("every w one", principal="ann@example.org", address="10.1.0.1", justification="x")
    made = worlds.ask(policy, asked_)

    for bound in ("resources", "quota", "sandbox", "signals", "on_disconnect"):
        assert getattr(rule, bound) == getattr(made, bound) != getattr(ask("disk"), bound)


@pytest.mark.parametrize(
    ("wanted", "given_"), [(None, 60.0), (5.0, 5.0), (60.0, 60.0), (3600.0, 60.0), (float("inf"), 60.0)]
)
def test_a_caller_may_ask_for_less_time_and_never_for_more(wanted: float | None, given_: float) -> None:
    """The rule's own is a ceiling."""
    assert given_ == worlds.ask(POLICY, asked("disk")._replace(timeout=wanted)).timeout


def test_the_environment_is_built_from_nothing() -> None:
    """Base table, then the rule's, then ours; the rule's values are not filled in."""
    assert {
        **BASE_ENVIRONMENT,
        "LANG": "C",
        "MODE": "{unit}",
        "REXEC_PRINCIPAL": "ann",
        "REXEC_COMMAND": "service.restart",
        "REXEC_REQUEST_ID": "c1-1",
        "REXEC_CONNECTION_ID": "c1",
        "REXEC_ADDRESS": "192.0.2.7",
    } == ask("service.restart nginx").environment


def test_a_rule_that_says_little_gets_the_defaults() -> None:
    """Sixty seconds, the root directory, no input, no ceiling."""
    made = ask("disk", offer=Offer.OPTIONAL)

    assert ("/", 60.0, False) == (made.working_directory, made.timeout, made.takes_input)
    assert (0o27, None) == (made.umask, made.identity)
    assert (None, None, ()) == (made.output_ceiling, made.input_ceiling, made.passed)


FILLED = {
    "disk": ["-h", "/var"],
    "disk /srv": ["-h", "/srv"],
    "disk --path /srv": ["-h", "/srv"],
    "disk --path=/srv/a=b": ["-h", "/srv/a=b"],
    "disk -- /srv": ["-h", "/srv"],
    "disk '/srv/a b'": ["-h", "/srv/a b"],
    "logs nginx": ["--lines=50", "--", "nginx", ""],
    "logs nginx 3": ["--lines=3", "--", "nginx", ""],
    "logs --lines 3 nginx": ["--lines=3", "--", "nginx", ""],
    "logs 3 --unit nginx": ["--lines=3", "--", "nginx", ""],
    "logs nginx --follow 3 hi": ["-f", "--retry all", "--lines=3", "--", "nginx", "hi"],
    "logs nginx 3 '$(id) ; x' --follow": ["-f", "--retry all", "--lines=3", "--", "nginx", "$(id) ; x"],
    "logs nginx --note=": ["--lines=50", "--", "nginx", ""],
    "logs nginx --note=--x=y --lines 2": None,
    "dashed -rf": ["-rf", "-1"],
    "dashed --a --x": ["--x", "-1"],
    "dashed -- --x -5": ["--x", "-5"],
    "dashed -- --": ["--", "-1"],
}


@pytest.mark.parametrize("line", FILLED)
def test_words_fill_parameters_by_position_and_by_name(line: str) -> None:
    """Named values are taken out first, the others follow the declared order."""
    expected = FILLED[line]
    if expected is None:
        assert Code.BAD_ARGUMENT == refusal(line).code
    else:
        assert expected == list(ask(line).argv[1:])


BAD_ARGUMENTS = {
    "service.restart": "parameter 'unit' is missing; it takes one of nginx, postgresql",
    "service.restart apache": "parameter 'unit' takes one of nginx, postgresql",
    "service.restart nginx apache": "too many arguments: this command takes unit",
    "service.restart --unit": "parameter 'unit' has no value; it takes one of nginx, postgresql",
    "service.restart --unit nginx --unit=nginx": "parameter 'unit' is given more than once",
    "service.restart --unit nginx nginx": "too many arguments: this command takes unit",
    "service.restart --Unit=nginx": "no such parameter: this command takes unit",
    "service.restart nginx --": "",
    "service.stop now": "too many arguments: this command takes no arguments",
    "service.stop --now": "no such parameter: this command takes no arguments",
    "logs nginx --follow=yes": "parameter 'follow' takes no value",
    "logs nginx --follow --follow": "parameter 'follow' is given more than once",
    "logs nginx 0": "parameter 'lines' takes an integer from 1 to 500",
    "logs nginx --": "",
    "logs -x": "parameter 'unit' takes a word of at most 256 letters, digits and . _ @ : + -, "
    "and none that begins with '-'",
    "logs nginx --lines": "parameter 'lines' has no value; it takes an integer from 1 to 500",
    "logs nginx --=x": "no such parameter: this command takes unit, follow, lines, note",
    "disk /etc": "parameter 'path' takes an absolute path below a directory this command may use",
}


@pytest.mark.parametrize("line", BAD_ARGUMENTS)
def test_a_bad_argument_names_the_parameter_and_what_it_takes(line: str) -> None:
    """A caller who may use the rule hears what to send instead."""
    text = BAD_ARGUMENTS[line]
    if not text:
        assert ask(line).rule == line.split(maxsplit=1)[0]
        return
    refused = refusal(line)

    assert (Code.BAD_ARGUMENT, text) == (refused.code, refused.text)


BAD_LINES = {
    "": "the line is empty",
    " \t\n": "the line is empty",
    "disk '": "a quote is not closed",
    'disk "x': "a quote is not closed",
    "disk \\": "the line ends with a backslash",
    "disk\0": "the line holds a NUL character",
    "disk \ud800": "the line is not valid UTF-8",
    "disk " + "é" * MAX_LINE: f"the line has more than {MAX_LINE} bytes",
    "x " * (MAX_WORDS + 1): f"the line has more than {MAX_WORDS} words",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=BAD_LINES.values())
def test_a_line_that_cannot_be_split_is_refused(line: str) -> None:
    """The answer is about the line, whoever asks."""
    refused = refusal(line, principal="nobody")

    assert (Code.BAD_LINE, BAD_LINES[line]) == (refused.code, refused.text)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="aZ0_ -./=%@\\\"'#\t\n\xa0\u2028é$`", min_size=1, max_size=12))
def test_a_plain_line_is_split_as_shlex_would(line: str) -> None:
    """Nothing is gone round that shlex has something to say of."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if words:
        assert words == split(line)
    else:
        with pytest.raises(Refused):
            split(line)


def test_the_longest_line_is_split_and_the_most_words_are_taken() -> None:
    """Both ceilings are exact."""
    assert MAX_WORDS == len(split("x " * MAX_WORDS))
    assert 1 == len(split("x" * MAX_LINE))


def test_the_longest_lines_are_decided_quickly() -> None:
    """No line within the ceiling takes long."""
    start = time.process_time()
    for line in ("x" * MAX_LINE, "logs a --note='" + "x" * 16000 + "'", '"' * (MAX_LINE - 1), "\\a" * 8000):
        with pytest.raises(Refused):
            ask(line + " --lines 0" if line.startswith("logs") else line)

    assert 2.0 > time.process_time() - start


def test_unknown_and_forbidden_commands_look_alike() -> None:
    """Only the reason, for the trail, tells them apart."""
    refused = [
        refusal("nosuch", principal="bob"),
        refusal("service.stop", principal="bob"),
        refusal("disk", principal="stranger"),
        refusal("service.stop --wrong", principal="bob"),
    ]

    assert {(Code.NOT_PERMITTED, "no such command, or not for you: see --list")} == {
        (each.code, each.text) for each in refused
    }
    assert ["no such command", "no role permits 'service.stop'", "the policy has no such principal"] == [
        each.reason for each in refused[:3]
    ]


def test_deny_beats_allow_in_the_same_role_and_in_another() -> None:
    """A denial holds whatever else the principal's roles allow."""
    assert "service.stop" == ask("service.stop", principal="ann").rule
    assert Code.NOT_PERMITTED == refusal("service.stop", principal="bob").code
    assert Code.NOT_PERMITTED == refusal("service.stop", principal="eve").code
    assert "feed" not in POLICY.principals["bob"].rules


@pytest.mark.parametrize(
    "name", ["Disk", "disk ", "/usr/bin/df", "./disk", "disk\u200b", "\ufeffdisk", "service", "*"]
)
def test_a_command_has_one_spelling(name: str) -> None:
    """Nothing is folded, stripped, resolved or completed."""
    assert Code.NOT_PERMITTED == refusal(shlex.quote(name)).code


INPUT = {
    ("disk", Offer.NONE): False,
    ("disk", Offer.OPTIONAL): False,
    ("disk", Offer.ESSENTIAL): None,
    ("both", Offer.NONE): False,
    ("both", Offer.OPTIONAL): True,
    ("both", Offer.ESSENTIAL): True,
    ("feed", Offer.NONE): None,
    ("feed", Offer.OPTIONAL): True,
    ("feed", Offer.ESSENTIAL): True,
}


@pytest.mark.parametrize(("line", "offer"), INPUT)
def test_input_is_taken_offered_and_required_by_the_table(line: str, offer: Offer) -> None:
    """Every pair of what a rule says and a caller offers."""
    takes = INPUT[line, offer]
    if takes is None:
        assert Code.BAD_INPUT == refusal(line, offer=offer).code
    else:
        assert takes is ask(line, offer=offer).takes_input


SECRET = "hunter2xyz"


@pytest.mark.parametrize(
    "line",
    [
        f"{SECRET}",
        f"disk {SECRET}",
        f"disk --{SECRET}",
        f"disk --{SECRET}=x",
        f"disk /srv {SECRET}",
        f"service.restart -{SECRET}",
        f"logs a {SECRET}",
        f"logs a --follow={SECRET}",
        f"disk '{SECRET}",
    ],
)
def test_no_answer_repeats_what_the_caller_sent(line: str) -> None:
    """Neither the text nor the reason holds a value."""
    refused = refusal(line)

    assert SECRET not in refused.text + refused.reason


def test_a_path_goes_into_the_arguments_resolved() -> None:
    """What was checked is what the program gets."""
    request = Request("ann", "c", "r", "a", "disk /srv/link", Offer.NONE)
    resolve = {"/srv/link": "/var/real"}

    made = decide(POLICY, request, resolve=lambda path: resolve.get(path, path))

    assert ("/usr/bin/df", "-h", "/var/real") == made.argv


def test_a_refused_path_sounds_the_same_wherever_it_leads() -> None:
    """The answer is no oracle for the server's files."""
    request = Request("ann", "c", "r", "a", "disk /srv/x", Offer.NONE)
    answers = set()
    for target in ("/etc/passwd", "/nowhere", "/srv-evil/x", "relative"):
        links = {"/srv/x": target}
        with pytest.raises(Refused) as caught:
            decide(POLICY, request, resolve=lambda path: links.get(path, path))  # noqa: B023 - called at once
        answers.add(str(caught.value))

    assert 1 == len(answers)


CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(CHARACTERS), min_size=1, max_size=8))
def test_joined_words_come_apart_again(words: Sequence[str]) -> None:
    """A caller's words arrive as they were joined."""
    assert list(words) == split(shlex.join(words))
