"""What each feature costs a command on an open connection: `make bench-execution` (root is needed).

Two daemons, one with control groups and one without, and a bare Popen take turns. Printed are medians
of single commands, and ratios to the bare Popen of the same run. Nothing is asserted.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterable

from benchmarks.served import popen, runner, served, take_turns

_SETTINGS = 'version: 1\nlisten: "127.0.0.1:0"\nrun_as: root\ncontainment: {containment}\n'
LIMITS = "limits: {cpu: 10s, open_files: 256, file_size: 1MiB, memory: 1GiB, nice: 0, concurrency: 4}"
SANDBOX = "sandbox: {read: [/etc], network: none}"
_EVERYTHING = ["run_as: nobody", LIMITS, SANDBOX]
#: A row of the table: the daemon, and what its rule says more.
_ROWS = {
    "plain: the daemon's own user": ("subreaper", []),
    "run_as": ("subreaper", ["run_as: nobody"]),
    "limits": ("subreaper", [LIMITS]),
    "sandbox": ("subreaper", [SANDBOX]),
    "control group": ("control-group", []),
    "run_as, limits, sandbox": ("subreaper", _EVERYTHING),
    "run_as, limits, sandbox, control group": ("control-group", _EVERYTHING),
}


def make_rules(more: Iterable[Iterable[str]]) -> str:
    """Return a policy with a rule for each of these, which say more of it."""
    lines = ["version: 1", "principals: {bench: {roles: [all]}}", 'roles: {all: {allow: ["*"]}}', "commands:"]
    for number, each in enumerate(more):
        lines += [f"  row{number}:", "    summary: Do nothing", "    run: /bin/true"]
        lines += [f"    {line}" for line in each]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid():
        raise SystemExit("only root can run commands as somebody else")
    policy = make_rules(more for _, more in _ROWS.values())
    with (
        served(_SETTINGS.format(containment="subreaper"), policy, "bench") as without,
        served(_SETTINGS.format(containment="control-group"), policy, "bench") as grouped,
        without.connect() as first,
        grouped.connect() as second,
    ):
        sessions = {"subreaper": first, "control-group": second}
        operations = {"bare Popen": popen} | {
            name: runner(sessions[containment], f"row{number}")
            for number, (name, (containment, _)) in enumerate(_ROWS.items())
        }
        taken = take_turns(operations, rounds=arguments.rounds, each=arguments.each)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    if arguments.json:
        print(json.dumps(medians, indent=2))
        return
    for name, median in medians.items():
        print(f"{name:<40} {median:8.3f} ms {median / medians['bare Popen']:6.2f} x")


if __name__ == "__main__":
    main()
