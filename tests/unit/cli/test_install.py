"""The units as they are installed, and the plan of an installation."""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from rexecd.cli import install, tools, units
from rexecd.cli.rexecd import build_parser, main
from rexecd.errors import ConfigError
from rexecd.settings import parse_settings


def _arguments(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["install", *words])


def test_services_start_the_interpreter_that_installs_them() -> None:
    """Start and reload alike; nothing of the shipped place is left."""
    for name in units.SERVICES:
        text = units.fitted(name).decode()
        lines = [line for line in text.splitlines() if line.startswith("Exec")]

        assert [line.split(" -I ")[0] for line in lines] == [
            f"ExecStart={sys.executable}",
            f"ExecReload={sys.executable}",
        ]
        assert "/opt/rexecd" not in "".join(line for line in text.splitlines() if line[:1] != "#")


def test_the_exposed_process_sees_what_it_runs_on() -> None:
    """Interpreter, library, package and dependencies; not the rest of where they are."""
    needed = units.what_python_needs()

    def sees(path: str) -> bool:
        return any(Path(path).is_relative_to(each) for each in needed)

    assert sees(sys.executable)
    assert sees(os.path.realpath(sys.executable))
    assert sees(os.__file__)
    assert sees(units.__file__)
    assert not sees("/usr/bin/env")
    assert not sees("/etc/passwd")


def test_drop_ins_are_for_those_who_understand_them() -> None:
    """Debian 12 and EL 9 do not."""
    assert units.drop_ins(252) == {}
    assert {Path(name).parent.name for name in units.drop_ins(253)} == {
        f"{name}.d" for name in units.SERVICES
    }


@pytest.mark.parametrize("path", ["/opt/my rexecd/bin/python", "/opt/$HOME/python", "/opt/a:b/python"])
def test_a_path_that_a_unit_cannot_name_is_refused(path: str) -> None:
    """Rather than meaning something else there."""
    with pytest.raises(ConfigError, match="a unit cannot name it"):
        units._quote(path)


def test_percent_is_no_specifier() -> None:
    """%h would be a home."""
    assert units._quote("/opt/100%home") == "/opt/100%%home"


def test_an_interpreter_in_somebodys_hands_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can change it becomes the service; whom it is closed to cannot start it."""
    python = tmp_path / "python"
    python.touch(mode=0o777)
    python.chmod(0o777)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ConfigError, match=r"can be changed by group or others.*becomes the service"):
        units.check_interpreter()
    python.chmod(0o700)

    with pytest.raises(ConfigError, match="is closed to the service's users"):
        units.check_interpreter()


def test_a_packager_gets_files_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No root, no users, no systemd; a second run has nothing to do."""
    first = main(["install", "--prefix", str(tmp_path)])
    said = capsys.readouterr().out
    main(["install", "--prefix", str(tmp_path)])
    found = {str(path.relative_to(tmp_path / "lib")) for path in tmp_path.rglob("*") if path.is_file()}

    assert first == 0
    assert said.count("done: ") == len(found)
    assert capsys.readouterr().out == ""
    assert {"sysusers.d/rexecd.conf", "tmpfiles.d/rexecd.conf"} <= found
    assert {f"systemd/system/{name}" for name in units.UNITS} <= found


def test_a_dry_run_says_all_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan is what is carried out without it."""
    monkeypatch.setattr(units, "check_interpreter", lambda: None)
    monkeypatch.setattr(tools, "has_systemd", lambda: True)
    monkeypatch.setattr(tools, "are_active", lambda _: False)
    monkeypatch.setattr(tools, "answers", lambda *_: False)
    monkeypatch.setattr(install, "_PREFIX", Path("/nonexistent/prefix"))

    assert install.install(_arguments("--dry-run")) == 0
    said = capsys.readouterr().out
    assert "done:" not in said
    assert re.search("^rexecd: to do: users rexecd-gateway, rexecd, rexec$", said, re.MULTILINE)
    assert said.splitlines()[-1] == "rexecd: to do: rexecd.target is started"
    assert not Path("/nonexistent").exists()


def test_a_changed_unit_restarts_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only a changed one; sockets are left open."""
    monkeypatch.setattr(tools, "has_systemd", lambda: True)
    monkeypatch.setattr(tools, "are_active", lambda _: True)

    def planned(changed: set[str], *, start: bool = True) -> list[str]:
        return [str(step) for step in install._service(changed, start=start)]

    reread, boot, restart, start = planned({"rexecd-gateway.service"})
    assert restart == "both processes are restarted"
    assert planned({"rexecd.socket"}) == [reread, boot, start]
    assert planned(set()) == [boot, start]
    assert planned({"rexecd-gateway.service"}, start=False) == [reread, boot]


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And removes."""
    monkeypatch.setattr(units, "check_interpreter", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="only root can install a service: sudo rexecd install"):
        install.install(_arguments())

    with pytest.raises(ConfigError, match="only root can remove"):
        install.uninstall(argparse.Namespace(purge=False))


def test_the_installed_settings_are_the_shipped_ones_elsewhere() -> None:
    """With their comments, and the gateway's user."""
    text = install._settings().decode()
    settings = parse_settings(text, Path("/etc/rexecd/rexecd.yaml"))

    assert str(settings.state) == "/var/lib/rexecd"
    assert str(settings.audit) == "/var/log/rexecd/audit.jsonl"
    assert str(settings.seam_socket) == "/run/rexecd/seam.sock"
    assert str(settings.key) == "/etc/rexecd/certs/server.key"
    assert settings.gateway_user == "rexecd-gateway"
    assert "# Who may run what." in text


def test_a_missing_tool_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without systemd-sysusers."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="systemd-sysusers is not on this machine: make them by hand"):
        tools.run("systemd-sysusers", remedy="make them by hand")

    assert not tools.answers("systemctl", "is-enabled", "x")
    assert tools.systemd_version() == 0


def test_what_a_tool_says_is_passed_on() -> None:
    """A failure is explained by who failed."""
    with pytest.raises(ConfigError, match=r"ls /nonexistent: .*No such file"):
        tools.run("ls", "/nonexistent")
