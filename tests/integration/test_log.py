"""What both processes say of themselves while they run."""

import os
import re
import resource
import signal

from tests.harness import SETTINGS, Daemon, wait_for


def test_each_process_says_at_its_start_how_it_is(daemon: Daemon) -> None:
    """In one event: version, addresses, policy, containment, identity, and what is missing."""
    status = daemon.status()
    lines = daemon.complaints().splitlines()
    (monitor,) = (line for line in lines if "monitor started" in line)
    (gateway,) = (line for line in lines if "gateway started" in line)
    said = {
        "version": status["version"],
        "policy_digest": status["policy_digest"],
        "containment": status["containment"],
        "run_as": status["run_as"],
        "address": daemon.settings.seam_socket,
    }

    assert f"version={status['version']} address={daemon.address} " in gateway
    for name, value in said.items():
        assert f" {name}={value}" in monitor
    assert ("control groups" in monitor.partition("missing=")[2]) == (status["containment"] == "subreaper")
    assert monitor.startswith("rexecd: warning: ") == ("missing=" in monitor)


def test_a_reload_is_logged_whoever_asks_for_it(daemon: Daemon) -> None:
    """By the operator's door or by a signal."""
    before = daemon.complaints().count("policy loaded")
    assert 0 == daemon.rexecd("reload").returncode
    os.kill(daemon.monitor_pid, signal.SIGHUP)

    wait_for(lambda: daemon.complaints().count("policy loaded") == before + 2, "two reloads")


def test_a_trail_that_cannot_be_written_is_told_once_and_its_recovery_too(own_daemon: Daemon) -> None:
    """Whoever reads the log need not ask for the status; a reload's signal makes the monitor look at once."""
    own_daemon.start()
    monitor = own_daemon.monitor_pid
    _, hard = resource.prlimit(monitor, resource.RLIMIT_FSIZE)
    size = own_daemon.settings.audit.stat().st_size
    resource.prlimit(monitor, resource.RLIMIT_FSIZE, (size, hard))
    assert 125 == own_daemon.rexec("echo", "x").returncode
    os.kill(monitor, signal.SIGHUP)
    wait_for(
        lambda: "audit.jsonl: cannot be written: File too large lost=" in own_daemon.complaints(), "the alarm"
    )
    resource.prlimit(monitor, resource.RLIMIT_FSIZE, (hard, hard))
    assert 0 == own_daemon.rexec("echo", "x").returncode
    os.kill(monitor, signal.SIGHUP)
    wait_for(lambda: "the trail is well again" in own_daemon.complaints(), "the recovery")

    assert 1 == own_daemon.complaints().count("audit.jsonl: cannot be written: File too large lost=")


def test_at_debug_each_connection_is_told_and_no_token(own_daemon: Daemon) -> None:
    """With address and port; the token is in nobody's log."""
    config = own_daemon.made.config
    config.write_text(SETTINGS + "log_level: debug\n")
    own_daemon.start()
    own_daemon.rexec("echo", own_daemon.tokens["ann"])
    wait_for(lambda: "a caller has gone" in own_daemon.complaints(), "the end of a connection")

    assert re.search(r"debug: a caller has come address=127.0.0.1 port=[0-9]+ ", own_daemon.complaints())
    assert own_daemon.tokens["ann"] not in own_daemon.complaints()


def test_at_error_a_service_that_is_well_says_nothing(own_daemon: Daemon) -> None:
    """Nothing at all, from its start to its end."""
    own_daemon.made.config.write_text(SETTINGS + "log_level: error\n")
    own_daemon.start()
    own_daemon.rexec("echo", "x")
    assert 0 == own_daemon.stop()

    assert "" == own_daemon.complaints()


def test_a_killed_monitor_is_told_at_the_next_start(own_daemon: Daemon) -> None:
    """With how much it left."""
    own_daemon.start()
    own_daemon.kill()
    own_daemon.start()

    assert "warning: the monitor before was killed " in own_daemon.complaints()
    assert "unfinished=0" in own_daemon.complaints()
