"""The policy language over the wire: who may do what from where, how values travel, what is recorded."""

import json
import os
import pwd
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rexecd.errors import Code
from rexecd.seam import messages as seam
from rexecd.seam.channel import connect
from rexecd.wire import messages as wire
from tests.harness import COMMANDS, Daemon, wait_for

_DESCRIBE: Final = f"{sys.executable}, -I, {COMMANDS}/describe.py"
_SECRET: Final = "correct horse battery staple"
_POLICY: Final = f"""\
---
version: 1
include: policy.d
principals:
  ann: {{roles: [all], from: [127.0.0.0/8]}}
  bob: {{roles: [few], from: ["::1"]}}
roles:
  all: {{allow: ["*"]}}
  few: {{allow: [describe]}}
commands:
  describe:
    summary: Say what a command finds
    run: [{_DESCRIBE}]
    umask: "077"
    timeout: 10s
  elsewhere:
    summary: For callers from another network
    run: [{_DESCRIBE}]
    from: [192.0.2.0/24]
    timeout: 10s
  hidden:
    summary: Not in listings
    run: [{_DESCRIBE}]
    hidden: true
    timeout: 10s
  careful:
    summary: Wants a reason
    run: [{_DESCRIBE}]
    justification: required
    timeout: 10s
  several:
    summary: Takes several words and an optional one
    run: [{_DESCRIBE}, "--level={{level}}", --, "{{words...}}"]
    parameters:
      level: {{type: number, min: 0, max: 1, optional: true}}
      words: {{type: word, least: 2, most: 3}}
    timeout: 10s
  secrets:
    summary: Is told three secrets
    run: [{sys.executable}, -I, {COMMANDS}/secrets.py, "--file={{file}}"]
    parameters:
      file: {{type: secret, pass: descriptor}}
      variable: {{type: secret, pass: environment, variable: HOUSE_SECRET}}
      input: {{type: secret, pass: stdin}}
    timeout: 10s
  read:
    summary: Read a file that cannot be exchanged
    run: [/bin/cat, "{{file}}"]
    parameters:
      file: {{type: path, under: [SANDBOX], pass: descriptor}}
    timeout: 10s
  eat:
    summary: Take a little input
    run: /usr/bin/wc -c
    stdin: accept
    limits: {{input: 10B}}
    timeout: 10s
...
"""
_PART: Final = """\
---
version: 1
commands:
  included:
    summary: From a file of its own
    run: /bin/echo included
    timeout: 10s
...
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a running daemon with a policy in two files."""
    directory = tmp_path_factory.mktemp("policy")
    (directory / "policy.d").mkdir(mode=0o755)
    (directory / "policy.d" / "10-part.yaml").write_text(_PART)
    (directory / "sandbox").mkdir()
    made = Daemon(directory, policy=_POLICY.replace("SANDBOX", str(directory / "sandbox"))).start()
    yield made
    made.stop()


def _found(daemon: Daemon, *arguments: str) -> dict[str, Any]:
    done = daemon.rexec(*arguments)
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


def _allowed(daemon: Daemon, rule: str) -> list[dict[str, Any]]:
    return [record for record in daemon.records("command-allowed") if record["rule"]["name"] == rule]


def test_a_command_of_an_included_file_runs_and_its_place_is_recorded(daemon: Daemon) -> None:
    """Positions are kept across files."""
    done = daemon.rexec("included")
    record = _allowed(daemon, "included")[0]

    assert "included\n" == done.stdout
    assert record["rexec"]["rule_place"].endswith("policy.d/10-part.yaml:4:3")


def test_every_record_carries_the_digest_of_all_files_together(daemon: Daemon) -> None:
    """What decided can be told from the trail alone."""
    assert all("policy_digest" in record["rexec"] for record in daemon.records())

    digests = {record["rexec"]["policy_digest"] for record in daemon.records("connection-opened")}
    shown = json.loads(daemon.rexecd("status", "--json").stdout)["policy_digest"]

    daemon.rexec("included")

    assert {shown} >= digests
    assert [shown] == [record["rexec"]["policy_digest"] for record in daemon.records("command-allowed")][-1:]


def test_a_principal_from_another_network_is_refused_as_any_wrong_token_is(daemon: Daemon) -> None:
    """A stolen token is worth nothing elsewhere, and does not say so."""
    done = daemon.rexec("describe", token="bob")

    assert 255 == done.returncode
    assert "authentication failed" in done.stderr
    assert "may not come from this address" in daemon.records("auth-refused")[-1]["event"]["reason"]


def test_a_command_for_another_network_looks_like_no_command(daemon: Daemon) -> None:
    """Neither the listing nor the refusal shows that it exists."""
    listed = daemon.rexec("--list", "HOST").stdout
    known, unknown = daemon.rexec("elsewhere"), daemon.rexec("nowhere")

    assert "elsewhere" not in listed
    assert (126, unknown.stderr) == (known.returncode, known.stderr)
    reasons = [record["event"]["reason"] for record in daemon.records("command-refused")][-2:]
    only = "the command may not be run from this address, only from 192.0.2.0/24"
    assert [only, "no such command"] == reasons


def test_a_hidden_command_is_not_listed_and_runs(daemon: Daemon) -> None:
    """It is out of the way, not out of reach."""
    listed = daemon.rexec("--list", "HOST").stdout

    assert "hidden" not in listed
    assert 0 == daemon.rexec("hidden").returncode


def test_a_reason_is_asked_for_and_recorded(daemon: Daemon) -> None:
    """Without one the command is refused, and the hint says how to give it."""
    without = daemon.rexec("careful")
    given = daemon.rexec("--reason", "ticket 4711: the disk", "HOST", "careful")
    record = _allowed(daemon, "careful")

    assert 126 == without.returncode
    assert "--reason TEXT" in without.stderr
    assert 0 == given.returncode
    assert ["ticket 4711: the disk"] == [each["rexec"]["justification"] for each in record]
    assert "because='ticket 4711: the disk'" in daemon.rexecd("audit", "show").stdout


def test_a_reason_cannot_forge_what_people_read(daemon: Daemon) -> None:
    """Control characters are refused by the server, whatever the caller's program does."""
    with daemon.caller() as caller:
        caller.say(wire.Run("careful", wire.Offer.NONE, "fine\nroot: all is well"))
        answer = caller.hear()

    assert isinstance(answer, wire.Refused)
    assert Code.BAD_LINE == answer.code


def test_a_repetition_takes_its_values_and_an_optional_argument_is_left_out(daemon: Daemon) -> None:
    """Argument counts follow the template."""
    assert ["--", "a", "b"] == _found(daemon, "several", "--words=a", "--words", "b")["arguments"]
    assert ["--level=0.5", "--", "a", "b", "c"] == _found(daemon, "several", "--level=0.5", "a", "b", "c")[
        "arguments"
    ]
    assert 126 == daemon.rexec("several", "--words=a").returncode


def test_umask_is_the_rules(daemon: Daemon) -> None:
    """Whatever the daemon was started with."""
    assert 0o077 == _found(daemon, "describe")["umask"]


def test_secrets_reach_the_program_and_nothing_else(daemon: Daemon, tmp_path: Path) -> None:
    """Not an argument, not the environment of others, not the trail, not what the caller typed."""
    values = {name: f"{_SECRET} {name}" for name in ("file", "variable", "input")}
    options = []
    for name, value in values.items():
        (tmp_path / name).write_text(value + "\n")
        options += ["--value-file", f"{name}={tmp_path / name}"]
    done = daemon.rexec(*options, "HOST", "secrets")
    found = json.loads(done.stdout)
    trail = daemon.settings.audit.read_text()

    assert values == {name: found[name] for name in values}
    assert _SECRET not in found["cmdline"]
    assert _SECRET not in trail
    assert _SECRET not in daemon.complaints()
    assert _SECRET not in daemon.rexec("--list", "--json", "HOST").stdout


@pytest.mark.parametrize(
    "line",
    [
        f"secrets '{_SECRET}' x",
        f"secrets --file '{_SECRET}' --nonsense",
        f"secrets --file='{_SECRET}",
        f"secret --file '{_SECRET}'",
        f"secrets -- '{_SECRET}' '{_SECRET}' '{_SECRET}' '{_SECRET}'",
        f"secrets --inptu='{_SECRET}'",
        f"secrets --file --input='{_SECRET}'",
        f"--input '{_SECRET}'",
        f"sec rets '{_SECRET}'",
        f"secrtes2 '{_SECRET}'",
        f"several a '--input {_SECRET}'",
        f"describe --Input='{_SECRET}'",
        f"describe secrets '{_SECRET}'",
    ],
)
def test_a_secret_in_a_refused_line_is_not_recorded(daemon: Daemon, line: str) -> None:
    """Misspelt, surplus, unclosed: what may be a secret is withheld."""
    with daemon.caller() as caller:
        answers = caller.run(line)

    assert isinstance(answers[-1], wire.Refused)
    assert _SECRET not in daemon.settings.audit.read_text()
    assert "[withheld]" in daemon.records("command-refused")[-1]["rexec"]["line"]


def test_a_file_passed_as_a_descriptor_is_read_and_its_path_recorded(daemon: Daemon) -> None:
    """The program sees /dev/fd/N; the trail says which file that was."""
    file = daemon.made.config.parent / "sandbox" / "file"
    file.write_text("content\n")
    done = daemon.rexec("read", str(file))
    argv = _allowed(daemon, "read")[-1]["process"]["args"]

    assert "content\n" == done.stdout
    assert ["/bin/cat", f"/dev/fd/[{file}]"] == argv


def test_a_link_put_into_a_file_place_after_the_decision_is_never_followed(daemon: Daemon) -> None:
    """A racing user swaps the file for a link to what the daemon alone can read (ATTACKS POL-12)."""
    sandbox = daemon.made.config.parent / "sandbox"
    secret = daemon.made.config.parent / "secret"
    secret.write_text(_SECRET)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (sandbox / "new").write_text("harmless")
            (sandbox / "new").replace(sandbox / "raced")
            (sandbox / "new").symlink_to(secret)
            (sandbox / "new").replace(sandbox / "raced")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        with daemon.caller() as caller:
            answers = [caller.run(f"read {sandbox}/raced") for _ in range(300)]
    finally:
        stop.set()
        swapper.join()
    outputs = {message.data for answer in answers for message in answer if isinstance(message, wire.Output)}
    endings = {type(answer[-1]) for answer in answers}

    assert outputs <= {b"harmless"}
    assert wire.Exit in endings


def test_an_input_ceiling_cuts_visibly(daemon: Daemon) -> None:
    """The caller hears that something was cut."""
    done = daemon.rexec("eat", input="x" * 100)

    assert "10\n" == done.stdout
    assert "truncated" in done.stderr or "cut" in done.stderr


def test_the_listing_describes_each_command_as_json_schema(daemon: Daemon) -> None:
    """A program can build a line from it, and learns nothing about paths."""
    listed = {entry["name"]: entry for entry in json.loads(daemon.rexec("--list", "--json", "HOST").stdout)}
    schema = listed["several"]["schema"]

    assert {"type": "number", "minimum": 0.0, "maximum": 1.0} == schema["properties"]["level"]
    assert ["words"] == schema["required"]
    assert schema["properties"]["words"]["maxItems"] == 3
    assert {"stdin": "refuse", "justification": "required", "timeout": 10.0} == listed["careful"]["schema"][
        "x-rexec"
    ]
    assert "sandbox" not in json.dumps(listed["read"])


def test_a_faulty_reload_is_told_to_its_caller_the_trail_and_the_status(own_daemon: Daemon) -> None:
    """And the old policy stays in force."""
    own_daemon.start()
    good = own_daemon.settings.policy.read_text()
    own_daemon.settings.policy.write_text(good.replace("summary: Print one word", "sumary: Print one word"))
    reloaded = own_daemon.rexecd("reload")
    told = json.loads(own_daemon.rexecd("status", "--json").stdout)
    still = own_daemon.rexec("echo", "still")
    own_daemon.settings.policy.write_text(good)
    mended = own_daemon.rexecd("reload")
    healed = json.loads(own_daemon.rexecd("status", "--json").stdout)

    assert 1 == reloaded.returncode
    assert "did you mean 'summary'?" in reloaded.stderr
    assert "sumary" in told["policy_error"]
    assert 1 == len(own_daemon.records("policy-rejected"))
    assert "still\n" == still.stdout
    assert 0 == mended.returncode
    assert healed["policy_error"] is None


def test_a_policy_nobody_here_can_carry_out_is_faulty(own_daemon: Daemon) -> None:
    """An unknown user is found when the policy is loaded, not at the first request."""
    own_daemon.start()
    good = own_daemon.settings.policy.read_text()
    own_daemon.settings.policy.write_text(
        good.replace("    run: /bin/echo {word}", "    run_as: nosuchuser\n    run: /bin/echo {word}")
    )
    reloaded = own_daemon.rexecd("reload")

    assert 1 == reloaded.returncode
    assert "there is no user 'nosuchuser' on this machine" in reloaded.stderr


@pytest.mark.root
def test_run_as_gives_user_groups_and_no_more(tmp_path: Path) -> None:
    """The child says who it is: every id, every group, no capability."""
    if os.geteuid() != 0:
        pytest.skip("needs uid 0")
    account = pwd.getpwnam("nobody")
    policy = """\
version: 1
principals: {ann: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  whoami:
    summary: Say who runs
    run: [/bin/cat, /proc/self/status]
    run_as: {user: nobody, groups: [daemon]}
    timeout: 10s
"""
    tmp_path.chmod(0o755)
    made = Daemon(tmp_path, policy=policy).start()
    try:
        done = made.rexec("whoami")
        record = made.records("command-allowed")[-1]
    finally:
        made.stop()
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)

    assert [str(account.pw_uid)] * 4 == status["Uid"].split()
    assert [str(account.pw_gid)] * 4 == status["Gid"].split()
    assert {"0"} == {status[name].lstrip("0") or "0" for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert "0" not in status["Groups"].split()
    assert {"name": "nobody", "id": str(account.pw_uid)} == record["process"]["user"]


@pytest.mark.slow
def test_a_thousand_reloads_under_load_lose_no_request_and_no_memory(own_daemon: Daemon) -> None:
    """Callers see one policy or the other, never an error; running commands keep theirs."""
    own_daemon.start()
    first = own_daemon.settings.policy.read_text()
    second = first.replace("summary: Print one word", "summary: Print a word")
    stop = threading.Event()
    answers: list[str] = []

    def call() -> None:
        with own_daemon.caller() as caller:
            while not stop.is_set():
                answers.append("".join(type(message).__name__ for message in caller.run("echo one")))

    def reload(times: int) -> None:
        channel = connect(own_daemon.settings.admin_socket, seam.ADMIN, timeout=10)
        try:
            for number in range(times):
                own_daemon.settings.policy.with_suffix(".new").write_text(second if number % 2 else first)
                own_daemon.settings.policy.with_suffix(".new").replace(own_daemon.settings.policy)
                channel.send(seam.Reload())
                answer = channel.receive()
                assert answer is not None
                assert answer.good, answer.body
        finally:
            channel.close()

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        reload(200)  # whatever is made once is made now
        before = own_daemon.resident()
        reload(800)
        grown = own_daemon.resident() - before
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    assert {"StartedOutputExit"} == set(answers)
    assert 1001 == len(own_daemon.records("policy-loaded"))
    assert 4 * 1024 * 1024 > grown
    wait_for(lambda: len(answers) == len(own_daemon.records("command-exited")), "a record of each")


def test_a_running_command_keeps_its_policy(own_daemon: Daemon) -> None:
    """A reload that takes the rule away does not touch what was decided before."""
    own_daemon.start()
    with own_daemon.caller() as caller:
        caller.say(wire.Run("cat", wire.Offer.OPTIONAL, ""))
        started = caller.hear()
        text = own_daemon.settings.policy.read_text()
        own_daemon.settings.policy.write_text(text.replace("  cat:\n", "  cats:\n"))
        reloaded = own_daemon.rexecd("reload")
        wanted = caller.hear()
        caller.say(wire.Input(b"kept"))
        caller.say(wire.InputEnd())
        output, end = caller.hear(), caller.hear()
        refused = caller.run("cat")[-1]

    assert isinstance(started, wire.Started)
    assert 0 == reloaded.returncode
    assert (wire.InputWanted(), wire.Output(b"kept")) == (wanted, output)
    assert isinstance(end, wire.Exit)
    assert isinstance(refused, wire.Refused)


def test_show_prints_a_policy_that_loads_as_the_same(daemon: Daemon, tmp_path: Path) -> None:
    """All files in one, and nothing lost."""
    shown = daemon.rexecd("config", "show", "policy")
    (tmp_path / "whole.yaml").write_text(shown.stdout)
    compared = daemon.rexecd("policy", "diff", str(daemon.settings.policy), str(tmp_path / "whole.yaml"))

    assert 0 == shown.returncode
    assert (0, "") == (compared.returncode, compared.stderr)


def test_a_program_others_can_change_is_not_started(own_daemon: Daemon, tmp_path: Path) -> None:
    """It is looked at right before it starts, not when the policy was loaded (ATTACKS POL-13)."""
    program = tmp_path / "program"
    shutil.copy("/bin/echo", program)
    program.chmod(0o755)
    text = own_daemon.settings.policy.read_text()
    own_daemon.settings.policy.write_text(text.replace("/bin/echo {word}", f"{program} {{word}}"))
    own_daemon.start()
    before = own_daemon.rexec("echo", "x")
    program.chmod(0o777)
    after = own_daemon.rexec("echo", "x")

    assert (0, "x\n") == (before.returncode, before.stdout)
    assert 127 == after.returncode
    assert str(program) not in after.stderr
    wait_for(lambda: own_daemon.records("command-refused"), "the record")
    assert "can be changed by" in own_daemon.records("command-refused")[-1]["event"]["reason"]
