"""`python -m rexecd`: the daemon's program."""

import sys

from rexecd.cli.rexecd import main

sys.exit(main())
