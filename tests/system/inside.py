"""The system test's program: runs as root in a booted systemd, twice, with a reboot between (see `run`).

It follows README's "Install as a service" to the letter, and then tries what the unit files promise.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from tests.system.machine import (
    GATEWAY,
    MONITOR,
    PROGRAMS,
    SOURCE,
    TOKEN,
    Load,
    as_user,
    check,
    is_active,
    journal,
    main_pid,
    probe,
    records,
    rexec,
    run_stages,
    sh,
    sleepers,
    start_sleeper,
    status_of,
    tries,
    wait_for,
    who_is,
)

#: Exit status that asks for a reboot.
REBOOT: Final = 200
#: For a service that was killed, from the blow to the next answer.
BACK_WITHIN: Final = 2.0 if os.environ.get("CI_METHOD") != "qemu" else 30.0
#: The same keys under other names: who is who.
_OPENS: Final = "import sys; print(open(sys.argv[1], 'rb').read(1) and 'ok')"
_CONNECTS: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); sock.settimeout(5); sock.connect(sys.argv[1])
print('closed' if sock.recv(1) == b'' else 'ok')
"""


def install() -> None:
    """README's own sequence installs it, starts it, and makes the first call."""
    readme = (SOURCE / "README.md").read_text()
    section = readme.partition("## Install as a service")[2].partition("\n## ")[0]
    (block,) = re.findall("```console\n(.*?)```", section, re.DOTALL)
    lines = [line[2:].replace("sudo ", "") for line in block.splitlines() if line.startswith("$ ")]
    check(len(lines) >= 6, "README has no sequence", lines)
    for line in lines:
        # Hostile umask where rexecd makes files; pip has to be used with an ordinary one.
        sh(line, umask=0o077 if "rexecd install" in line else 0o022)
    shutil.copy(SOURCE / "token", TOKEN)
    TOKEN.chmod(0o600)


def second_run() -> None:
    """A second run changes nothing and says so; a dry one too."""
    for options in ("", "--dry-run"):
        said = sh(f"/opt/rexecd/bin/rexecd install --host localhost {options}")
        check(said == "rexecd: everything is in place; nothing was changed\n", "the second run said", said)


def prepare() -> None:
    """The test's own policy is checked and put in force by root, who leaves nothing behind."""
    PROGRAMS.mkdir()
    for name in ("tries.py", "whoami.py"):
        shutil.copy(SOURCE / "tests/data/commands" / name, PROGRAMS)
    shutil.copy(SOURCE / "tests/system/exposed.py", PROGRAMS)
    sh(f"chmod -R u=rwX,go=rX {PROGRAMS}")
    Path("/etc/rexecd/policy.yaml").write_bytes((SOURCE / "tests/system/policy.yaml").read_bytes())
    said = sh("rexecd check")
    check("commands run as rexec where their rule does not say" in said, "check said", said)
    sh("rexecd reload && rexecd token list && rexecd audit verify && rexecd audit show > /dev/null")
    foreign = sh("find /var/lib/rexecd /var/log/rexecd -not -user rexecd")
    check(not foreign, "not the service's own", foreign)


def modes() -> None:
    """Files are their owners' alone, whatever the umask of `install` was."""
    expected = {
        "/etc/rexecd": "0755 root root",
        "/etc/rexecd/rexecd.yaml": "0644 root root",
        "/etc/rexecd/policy.yaml": "0640 root rexecd",
        "/etc/rexecd/ca.key": "0600 root root",
        "/etc/rexecd/trail-verification.key": "0600 root root",
        "/etc/rexecd/certs": "0755 root root",
        "/etc/rexecd/certs/ca.pem": "0644 root root",
        "/etc/rexecd/certs/server.pem": "0644 root root",
        "/etc/rexecd/certs/server.key": "0640 root rexecd-gateway",
        "/var/lib/rexecd": "0700 rexecd rexecd",
        "/var/lib/rexecd/trail.key": "0600 rexecd rexecd",
        "/var/lib/rexecd/tokens.sqlite": "0600 rexecd rexecd",
        "/var/log/rexecd": "0700 rexecd rexecd",
        "/var/log/rexecd/audit.jsonl": "0600 rexecd rexecd",
        "/run/rexecd": "0755 rexecd rexecd",
        "/run/rexecd/seam.sock": "0660 rexecd rexecd-gateway",
        "/run/rexecd/admin.sock": "0600 rexecd rexecd",
    }
    for path, wanted in expected.items():
        status = Path(path).stat()
        found = f"{stat.S_IMODE(status.st_mode):04o} {Path(path).owner()} {Path(path).group()}"
        check(found == wanted, path, found, wanted)


def secrets() -> None:
    """Key, policy, tokens, trail and doors are closed to the users that do not need them."""
    closed = {
        "rexecd-gateway": ["/etc/rexecd/policy.yaml", "/var/lib/rexecd/tokens.sqlite", "/etc/rexecd/ca.key"],
        "rexecd": [
            "/etc/rexecd/certs/server.key",
            "/etc/rexecd/ca.key",
            "/etc/rexecd/trail-verification.key",
        ],
        "rexec": ["/etc/rexecd/certs/server.key", "/etc/rexecd/policy.yaml", "/var/log/rexecd/audit.jsonl"],
    }
    for user, paths in closed.items():
        for path in paths:
            found = as_user(user, _OPENS, path)
            check("PermissionError" in found, f"{user} opens {path}", found)
    check(as_user("rexecd-gateway", _OPENS, "/etc/rexecd/certs/server.key") == "ok", "the gateway has no key")
    for user, door in (("rexec", "seam"), ("rexec", "admin"), ("rexecd-gateway", "admin")):
        found = as_user(user, _CONNECTS, f"/run/rexecd/{door}.sock")
        check("PermissionError" in found, f"{user} knocks at {door}", found)
    before = len(records("seam-violated"))
    check(
        as_user("rexecd", _CONNECTS, "/run/rexecd/seam.sock") == "closed", "the seam is open to its own side"
    )
    check(len(records("seam-violated")) == before + 1, "nobody recorded it")


def calls() -> None:
    """Streams, status, input and refusals arrive as they should."""
    done = rexec("both")
    check((done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n"), "both", done)
    data = bytes(range(256)) * 4000
    check(rexec("cat", data=data).stdout == data, "a megabyte did not come back")
    check(rexec("forbidden").returncode == 126, "an unknown command was not refused")


def exposed_process() -> None:
    """What the gateway's unit takes away is refused from inside it."""
    opened = "/etc/passwd /etc/shadow /etc/rexecd/policy.yaml /etc/rexecd/ca.key /var/lib/rexecd/trail.key"
    opened += " /usr/bin/env /root/token /home /etc/rexecd/certs/server.key /etc/rexecd/rexecd.yaml"
    created = "/x /etc/rexecd/certs/x /opt/rexecd/x /usr/lib/x /run/rexecd/x /run/x"
    found = probe(GATEWAY, f"{PROGRAMS}/exposed.py", str(main_pid(MONITOR)), opened, created)
    print(json.dumps(found))
    own = {"open /etc/rexecd/certs/server.key", "open /etc/rexecd/rexecd.yaml", "list processes", "seam"}
    for name, outcome in found.items():
        if name in own:
            check(outcome in ("ok", True), name, outcome)
        elif name == "list /":
            roots = {
                "bin",
                "sbin",
                "root",
                "dev",
                "etc",
                "lib",
                "lib64",
                "opt",
                "proc",
                "run",
                "sys",
                "tmp",
                "usr",
                "var",
            }
            check(set(outcome) <= roots, name, outcome)
        else:
            check(outcome not in ("ok", True), name, outcome)


def commands() -> None:
    """Commands are who their rule says, with no capability and no way to the daemon."""
    nobody = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
    for rule, user in (("who", "rexec"), ("who.games", "games"), ("who.root", "root")):
        found = who_is(rule)
        uid = int(sh(f"id -u {user}"))
        check(found["uids"] == [uid], rule, found)
        held = {name: number for name, number in found["capabilities"].items() if name in nobody}
        check(held == nobody and not found["new_privileges"], rule, found)
    monitor, gateway = main_pid(MONITOR), main_pid(GATEWAY)
    group = f"/sys/fs/cgroup/system.slice/{MONITOR}"
    attempts = [
        *(f"{what}:{pid}" for pid in (monitor, gateway) for what in ("signal", "trace", "memory")),
        *(f"read:/proc/{monitor}/{file}" for file in ("environ", "maps")),
        *(f"write:{place}/cgroup.procs" for place in (group, f"{group}/supervisor")),
        *(f"read:{path}" for path in ("/var/lib/rexecd/trail.key", "/etc/rexecd/certs/server.key")),
        *(f"connect:/run/rexecd/{door}.sock" for door in ("seam", "admin")),
        "create:/etc/rexecd/x",
        "create:/usr/x",
        "become:0",
    ]
    found = tries("try", *attempts)
    check("ok" not in found.values(), "a command reaches", found)
    # Root without capabilities: not the daemon, whose uid is another one, and not what is its alone.
    of_root = [each for each in attempts if each not in {"become:0", "read:/etc/rexecd/certs/server.key"}]
    found = tries("try.root", *of_root)
    check("ok" not in found.values(), "a command of root reaches", found)


def sandboxes() -> None:
    """The policy's sandboxes hold in the unit as it is shipped."""
    Path("/run/rexecd-test").mkdir()
    found = tries(
        "try.boxed", "meet", "tcp:7512", "read:/etc/passwd", "count:/tmp", "create:/tmp/x", "read:/dev/tty"
    )
    expected = {
        "meet": "ok",
        "tcp:7512": "ECONNREFUSED",
        "read:/etc/passwd": "EACCES",
        "count:/tmp": 0,
        "create:/tmp/x": "ok",
        "read:/dev/tty": "EACCES",
    }
    check(found == expected, "boxed", found)
    check(tries("try.quiet", "meet") == {"meet": "EAFNOSUPPORT"}, "quiet")
    check(tries("try", "tcp:7512") == {"tcp:7512": "ok"}, "open")


def policy_reload() -> None:
    """A good policy counts after `systemctl reload`; of a bad one the old stays and it is said."""
    path = Path("/etc/rexecd/policy.yaml")
    good = path.read_text()
    path.write_text(
        good.replace("commands:\n", "commands:\n  new:\n    summary: New\n    run: /bin/true\n", 1)
    )
    sh(f"systemctl reload {MONITOR}")
    wait_for(lambda: rexec("new").returncode == 0, "the new policy")
    path.write_text(good.replace("run: /bin/cat", "run: /bin/cat {nothing}"))
    sh(f"systemctl reload {MONITOR}")
    wait_for(lambda: "the old policy stays in force" in journal(MONITOR), "a complaint")
    check(rexec("new").returncode == 0, "the old policy is gone")
    check(status_of("rexecd status") == 1, "a service that refused its policy counts as good")
    path.write_text(good)
    sh("rexecd reload && rexecd status")


def strangers() -> None:
    """Who comes again and again without a token is refused, and nobody else; an exempt network never is."""
    asked = "echo | openssl s_client -connect 127.0.0.1:7512 -bind 127.0.0.9 -alpn rexec/1 > /dev/null 2>&1"
    for _ in range(25):
        status_of(asked)
    (record,) = wait_for(lambda: records("source-penalized"), "a record of the penalty")
    check(record["source"]["ip"] == "127.0.0.9", "another source was refused", record)
    check(status_of(asked) != 0, "it is still let in")
    check(rexec("both").returncode == 3, "another source is refused too")
    settings = Path("/etc/rexecd/rexecd.yaml")
    settings.write_text(settings.read_text().replace("exempt: []", 'exempt: [127.0.0.0/8, "::1"]'))
    sh(f"systemctl restart {GATEWAY}")
    for _ in range(25):
        status_of(asked)
    check(status_of(asked) == 0, "an exempt source is refused")
    check(len(records("source-penalized")) == 1, "an exempt source was penalized")


def certificate_reload() -> None:
    """A new certificate is shown to the next caller; of a bad one the old stays and it is said."""
    certs = Path("/etc/rexecd/certs")
    shutil.rmtree("/root/other", ignore_errors=True)
    sh("rexecd init /root/other --host localhost")

    def pin() -> str:
        asked = "openssl s_client -connect localhost:7512 -alpn rexec/1 2>/dev/null"
        return str(sh(f"echo | {asked} | openssl x509 -noout -pubkey", good=False))

    first, keep = pin(), {name: (certs / name).read_bytes() for name in ("server.pem", "server.key")}
    for name in keep:
        (certs / name).write_bytes(Path("/root/other/certs", name).read_bytes())
    sh(f"systemctl reload {GATEWAY}")
    wait_for(lambda: pin() not in ("", first), "the new certificate")
    second = pin()
    (certs / "server.key").write_bytes(keep["server.key"])  # of another certificate
    sh(f"systemctl reload {GATEWAY}")
    wait_for(lambda: "the old certificate stays in use" in journal(GATEWAY), "a complaint")
    check(pin() == second and is_active(GATEWAY), "the old certificate is gone")
    (certs / "server.pem").write_bytes(keep["server.pem"])
    sh(f"systemctl reload {GATEWAY}")
    wait_for(lambda: pin() == first, "the first certificate")
    sh("rexecd cert renew --days 20")
    sh(f"systemctl reload {GATEWAY}")
    wait_for(lambda: records("certificate-expiring"), "a record of the end that is near")
    check(pin() == first, "the key has changed")
    check("renew it" in sh("rexecd status 2>&1"), "status does not warn")
    check("renew it" in journal(GATEWAY), "the log does not warn")
    sh("rexecd cert renew")
    sh(f"systemctl reload {GATEWAY}")
    check(rexec("both").returncode == 3, "a renewed certificate is refused")


def elsewhere() -> None:
    """From inside the unit records reach the journal and a syslog socket, and metrics their file."""
    settings, keep = Path("/etc/rexecd/rexecd.yaml"), Path("/etc/rexecd/rexecd.yaml").read_text()
    place, syslog = Path("/var/lib/metrics"), Path("/run/rexecd-syslog")
    place.mkdir()
    shutil.chown(place, "rexecd")
    text = keep.replace("  journal: false", f"  journal: true\n  syslog: {syslog}")
    settings.write_text(re.sub("# metrics_file: .*", f"metrics_file: {place}/rexecd.prom", text))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as receiver:
        receiver.bind(str(syslog))
        syslog.chmod(0o666)
        receiver.listen()
        sh(f"systemctl restart {MONITOR}")
        check(rexec("both").returncode == 3, "a command")
        taken, _ = receiver.accept()
        with taken, taken.makefile("r") as lines:
            found = next(line for line in lines if " command-exited - " in line)
    check(found.startswith("<86>1 ") and '"exit_code":3' in found, "syslog", found)
    asked = f"journalctl -b -o cat -u {MONITOR} SYSLOG_IDENTIFIER=rexecd-audit REXECD_RULE=both"
    wait_for(lambda: "command-exited " in sh(f"{asked} REXECD_EXIT_CODE=3"), "an entry of the journal")
    said = sh("rexecd status --metrics")
    check('rexecd_commands_total{rule="both",outcome="failed"} 1' in said, "metrics", said)
    check("rexecd_up 1" in (place / "rexecd.prom").read_text(), "the metrics' file")
    settings.write_text(keep)
    sh(f"systemctl restart {MONITOR}")
    check("rexecd_up 0" in (place / "rexecd.prom").read_text(), "its last words")


def trail() -> None:
    """The trail is set aside by a signal, and checked by what the journal has of it, without any secret."""
    logs, key = Path("/var/log/rexecd"), Path("/etc/rexecd/trail-verification.key")
    sh(f"systemctl kill -s USR1 --kill-whom=main {MONITOR}")
    wait_for(lambda: list(logs.glob("audit.jsonl.0*")), "a file that was set aside")
    check(rexec("both").returncode == 3, "a command")
    sh(f"systemctl restart {MONITOR}")
    public, notes = Path("/root/public.key"), Path("/root/checkpoints")
    public.touch(0o600)
    public.write_text(key.read_text().splitlines()[1])
    asked = f"journalctl -b -o cat -u {MONITOR} SYSLOG_IDENTIFIER=rexecd-monitor"
    wait_for(lambda: "rexecd\n" in sh(f"{asked} --output-fields=REXECD_CHECKPOINT"), "checkpoints")
    notes.write_text(sh(f"{asked} --output-fields=REXECD_CHECKPOINT"))
    files = " ".join(map(str, [*sorted(logs.glob("audit.jsonl.0*")), logs / "audit.jsonl"]))
    said = sh(f"rexecd audit verify --key {public} --checkpoint {notes} {files}")
    check("checkpoints fit" in said and "for want of their key" in said, "verify", said)
    check("unbroken" in sh("rexecd audit verify"), "verify of the whole")
    check((logs / "checkpoint").stat().st_uid == pwd.getpwnam("rexecd").pw_uid, "whose checkpoint")


def restarts() -> None:
    """Restarts of either process under load refuse no connection and lose no answer."""
    load = Load(4)
    with load.running():
        for unit in (GATEWAY, MONITOR) * 3:
            sh(f"systemctl restart {unit}")
            load.wait_for_answers(40)
    print(dict(load.outcomes))
    load.check_nobody_lost()


def stops() -> None:
    """A command that runs when a process is restarted is ended after the drain, and its caller hears why."""
    for unit in (MONITOR, GATEWAY):
        call = start_sleeper()
        sh(f"systemctl restart {unit}")
        said = call.communicate(timeout=60)[1]
        check(call.returncode == 125 and "stopped while the command ran" in said, unit, said)
        wait_for(lambda: sleepers() == 0, "its end")
        record = records("command-killed")[-1]
        check(record["rule"]["name"] == "sleep", "no record", record)


def watchdog() -> None:
    """A gateway that hangs is noticed and replaced."""
    drop_in = Path(f"/run/systemd/system/{GATEWAY}.d/test.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=3s\n")
    sh(f"systemctl daemon-reload && systemctl restart {GATEWAY}")
    time.sleep(4)  # one that lives is left alone
    hung = main_pid(GATEWAY)
    began = time.monotonic()
    check(rexec("echo", "alive").returncode == 0, "a gateway that lives was not left alone")
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: main_pid(GATEWAY) not in (0, hung), "another gateway")
    check(rexec("echo", "again").stdout == b"again\n", "no answer")
    print(f"replaced and answering after {time.monotonic() - began:.1f} s with WatchdogSec=3s")
    check("Watchdog timeout" in journal(GATEWAY), "somebody else replaced it")
    drop_in.unlink()
    sh(f"systemctl daemon-reload && systemctl restart {GATEWAY}")


def _has_another(unit: str, dead: int) -> bool:
    return main_pid(unit) not in (0, dead)


def _has_recorded(killed: int) -> bool:
    return len(records("command-killed")) == killed


def kills() -> None:
    """Whichever process is killed, service is back at once, and nothing is left of its commands."""
    load = Load(4)
    with load.running():
        for unit in (GATEWAY, MONITOR, GATEWAY, MONITOR):
            dead = main_pid(unit)
            began = time.monotonic()
            os.kill(dead, signal.SIGKILL)
            wait_for(partial(_has_another, unit, dead), "a new process")
            load.wait_for_answers(1)
            took = time.monotonic() - began
            print(f"{unit}: back after {took:.2f} s")
            check(took < BACK_WITHIN, f"{unit} was away for {took:.2f} s")
            time.sleep(1)
    print(dict(load.outcomes))
    check(not any("refused" in outcome for outcome in load.outcomes), "refused", load.outcomes)
    for unit in (GATEWAY, MONITOR):
        call, known, dead = start_sleeper(), len(records("command-killed")), main_pid(unit)
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: sleepers() == 0, "its end")
        wait_for(partial(_has_recorded, known + 1), "a record of it")
        wait_for(partial(_has_another, unit, dead), "a new process")
        wait_for(lambda: is_active(MONITOR, GATEWAY), "the service")
        call.communicate(timeout=60)
    reason, started = records("command-killed")[-1]["event"]["reason"], records("service-started")[-1]
    check(reason == "the monitor was killed" and started["rexec"]["unfinished"] == 1, "recorded", started)
    sh("systemctl reset-failed")


def limits_hold() -> None:
    """Memory and processes of a command's whole tree are bound, where this machine has the controllers."""
    controllers = json.loads(sh("rexecd status --json"))["controllers"]
    if "memory" in controllers:
        check(rexec("hungry").returncode == 128 + signal.SIGKILL, "memory was not bound")
        wait_for(lambda: records("command-exited")[-1]["rexec"].get("limit") == "memory", "a word of it")
    print(f"controllers here: {', '.join(controllers) or 'none'}")


def limits_fit() -> None:
    """Settings that the unit has no room for are refused at start, and say what to change."""
    path = Path("/etc/rexecd/rexecd.yaml")
    good = path.read_text()
    path.write_text(good.replace("max_connections: 512", "max_connections: 90000"))
    check(status_of(f"systemctl restart {GATEWAY}") != 0, "the gateway started")
    check("raise LimitNOFILE or lower it" in journal(GATEWAY), "it did not say why")
    path.write_text(good)
    sh(f"systemctl reset-failed {GATEWAY} && systemctl restart {GATEWAY}")
    check(rexec("echo", "fits").returncode == 0, "no answer")


def stricter() -> None:
    """With the stricter drop-in a policy of plain commands works as before."""
    place = Path(f"/run/systemd/system/{MONITOR}.d/strict.conf")
    place.parent.mkdir(exist_ok=True)
    shutil.copy(SOURCE / "systemd/drop-ins/monitor-strict.conf", place)
    policy = Path("/etc/rexecd/policy.yaml")
    whole = policy.read_text()
    policy.write_text(re.sub("  try.boxed:.*?(?=  try.quiet:)", "", whole, flags=re.DOTALL))
    sh(f"systemctl daemon-reload && systemctl restart {MONITOR}")
    check(rexec("both").returncode == 3, "both")
    check(who_is("who.games")["uids"] == [int(sh("id -u games"))], "run_as")
    found = tries(
        "try", "create:/srv/x", "read:/root/token", f"read:/proc/{main_pid(GATEWAY)}/stat", "create:/tmp/x"
    )
    check(list(found.values()) == ["EROFS", "EACCES", "ENOENT", "ok"], "inherited", found)
    check(tries("try.quiet", "meet") == {"meet": "EAFNOSUPPORT"}, "quiet")
    place.unlink()
    policy.write_text(whole)
    sh(f"systemctl daemon-reload && systemctl restart {MONITOR}")


def look() -> None:
    """Status, `systemctl status` and the journal say how it is; nothing of root's is in the state."""
    for unit, field in ((GATEWAY, "REXECD_ADDRESS"), (MONITOR, "REXECD_CONTAINMENT")):
        found = sh(f"journalctl -b -u {unit} -o json --no-pager | grep -c {field}", good=False)
        check(found.strip() != "0", f"no {field} in the journal")
    facts = json.loads(sh("rexecd status --json"))
    check(facts["trail"]["healthy"] and facts["containment"] == "control-group", "status", facts)
    for unit, word in ((GATEWAY, "connections"), (MONITOR, "control-group")):
        found = sh(f"systemctl show -P StatusText {unit}")
        check(word in found, "StatusText", found)
    sh("rexecd audit verify")
    secret = TOKEN.read_text().strip().rpartition("_")[2]
    for unit in (GATEWAY, MONITOR):
        said = sh(f"journalctl -b -u {unit} -o json --no-pager")
        check(said and secret not in said, f"a token in the journal of {unit}")
    foreign = sh("find /var/lib/rexecd /var/log/rexecd -not -user rexecd")
    check(not foreign, "not the service's own", foreign)


def after_boot() -> None:
    """After a reboot it is up by itself, with its tokens and its trail."""
    check(
        is_active("rexecd.target", "rexecd.socket", "rexecd-monitor.socket", GATEWAY, MONITOR), "not active"
    )
    check(rexec("echo", "again").stdout == b"again\n", "no answer")
    sh("rexecd audit verify")


def _tokens() -> list[dict[str, object]]:
    """Return every token, but for when it was last used."""
    rows: list[dict[str, object]] = json.loads(sh("rexecd token list --json"))
    return [{name: value for name, value in row.items() if not name.startswith("last_")} for row in rows]


def upgrade() -> None:
    """An upgrade writes units anew under load, refuses nobody, and touches nothing else."""
    unit = Path("/usr/local/lib/systemd/system", GATEWAY)
    unit.write_text(unit.read_text().replace("# Written by", "# Written long ago by"))
    kept = {path: path.read_bytes() for path in Path("/etc/rexecd").rglob("*") if path.is_file()}
    trail = Path("/var/log/rexecd/audit.jsonl")
    stored, recorded = _tokens(), trail.read_bytes()
    before, load = main_pid(GATEWAY), Load(4)
    with load.running():
        said = sh("/opt/rexecd/bin/rexecd install --host elsewhere")
        load.wait_for_answers(40)
    print(dict(load.outcomes))
    check("done: both processes are restarted" in said and main_pid(GATEWAY) != before, "not restarted", said)
    load.check_nobody_lost()
    check(kept == {path: path.read_bytes() for path in kept}, "configuration was touched")
    check(stored == _tokens(), "tokens were touched")
    check(trail.read_bytes().startswith(recorded), "the trail was touched")
    sh("rexecd audit verify")


def uninstall() -> None:
    """It goes without a trace but what is the operator's, comes back with its tokens, and goes for good."""
    sh("/opt/rexecd/bin/rexecd uninstall")
    check(status_of("systemctl cat rexecd.target") != 0, "units are left")
    check(Path("/var/lib/rexecd/tokens.sqlite").exists(), "tokens are gone")
    sh("/opt/rexecd/bin/rexecd install --no-start")
    is_enabled = status_of("systemctl is-enabled --quiet rexecd.target") == 0
    check(
        is_enabled and not any(map(is_active, ("rexecd.socket", GATEWAY, MONITOR))), "started, or not enabled"
    )
    sh("/opt/rexecd/bin/rexecd install")
    check(rexec("echo", "back").stdout == b"back\n", "no answer")
    sh("/opt/rexecd/bin/rexecd uninstall --purge")
    left = sh(
        "ls -d /etc/rexecd /var/lib/rexecd /var/log/rexecd /run/rexecd /usr/local/bin/rexe* 2>/dev/null",
        good=False,
    )
    left += sh("grep -E '^(rexecd|rexecd-gateway|rexec):' /etc/passwd /etc/group", good=False)
    left += sh("find /etc/systemd /usr/local/lib -name '*rexecd*'")
    check(not left, "left behind", left)


def main() -> int:
    """Run the stages of this boot; ask for a reboot after the first."""
    if os.environ.get("CI_BOOT", "1") == "1":
        run_stages(
            [
                install,
                second_run,
                prepare,
                modes,
                secrets,
                calls,
                exposed_process,
                commands,
                sandboxes,
                policy_reload,
                strangers,
                certificate_reload,
                elsewhere,
                trail,
                restarts,
                stops,
                watchdog,
                kills,
                limits_fit,
                limits_hold,
                stricter,
                look,
            ]
        )
        if os.environ.get("CI_METHOD") == "nspawn":
            return REBOOT
        print("skipped: only nspawn can reboot", flush=True)
    else:
        run_stages([after_boot])
    run_stages([upgrade, uninstall])
    return 0


if __name__ == "__main__":
    sys.exit(main())
