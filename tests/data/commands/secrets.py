"""Say as JSON the three secrets that came, and how this process looks in a list of processes."""

import json
import os
import sys
from pathlib import Path

json.dump(
    {
        "file": Path(sys.argv[1].removeprefix("--file=")).read_text(),
        "variable": os.environ["HOUSE_SECRET"],
        "input": sys.stdin.read(),
        "cmdline": Path("/proc/self/cmdline").read_text(),
    },
    sys.stdout,
)
