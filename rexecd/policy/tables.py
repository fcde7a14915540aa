"""Every key of a policy: what may stand there, what it means, and what holds without it.

The checker, the JSON Schema (`rexecd config schema`) and the manual page are made from these tables.
"""

from typing import Final

from rexecd import names
from rexecd.forms import Choice, Duration, Flag, Integer, Key, Line, Listed, Named, Size, Table, Text
from rexecd.limits import MAX_JUSTIFICATION, MAX_PARAMETERS
from rexecd.networks import NETWORK
from rexecd.policy.bounds import NetworkAccess, OnDisconnect
from rexecd.policy.model import Justification, Stdin
from rexecd.policy.parameter_tables import PARAMETER
from rexecd.policy.values import (
    DESCRIPTION,
    DIRECTORY,
    RATE,
    REACHED,
    RUN,
    UMASK,
    code_complaint,
    command_complaint,
    holder_complaint,
    parameter_complaint,
    variable_complaint,
)
from rexecd.runas import RUN_AS
from rexecd.wire.messages import SignalName

_LONGEST: Final = 24 * 3600.0
#: What programs need to start at all; nothing that has a use is smaller.
_LEAST_MEMORY: Final = 1024**2
#: The file table of the process that starts a command has to fit.
_LEAST_FILES: Final = 32
_MOST_PROCESSES: Final = 2**22
_MOST_FILES: Final = 2**20
_MOST_AT_ONCE: Final = 10_000

_AT_ONCE: Final = Integer(1, _MOST_AT_ONCE)
_BUSY: Final = "What is over it is refused as busy (exit status 125), and may be tried again."
LIMITS: Final = Table(
    {
        "concurrency": Key(_AT_ONCE, f"Most of it at once, over all callers. {_BUSY}"),
        "rate": Key(RATE, f"Most starts in any such time, over all callers. {_BUSY}"),
        "output": Key(
            Size(),
            "Most bytes of standard output and error together. The program runs on; what it writes beyond is "
            "thrown away, and the caller and the trail are told.",
        ),
        "input": Key(
            Size(),
            "Most bytes of standard input. What comes beyond is thrown away, and the caller and the trail "
            "are told.",
        ),
        "memory": Key(
            Size(_LEAST_MEMORY),
            "Most memory: with a control group that has the memory controller (`rexecd status` says so) that "
            "of everything it started together, which is killed beyond it; else the address space of each "
            "process, which is refused more.",
        ),
        "cpu": Key(
            Duration(1.0, _LONGEST),
            "Most processor time of each process, in whole seconds. Beyond it the process is killed.",
        ),
        "processes": Key(
            Integer(1, _MOST_PROCESSES),
            "Most processes and threads at once, the program itself among them. It needs a control group: "
            "the kernel's own limit would count those of the user, whoever started them.",
        ),
        "open_files": Key(
            Integer(_LEAST_FILES, _MOST_FILES),
            "Most open descriptors of each process: 16, one for each parameter passed by descriptor, and "
            "what the program opens.",
        ),
        "file_size": Key(Size(), "Most bytes of each file it writes. Beyond it the process is killed."),
        "nice": Key(Integer(0, 19), "How far it stands back behind other processes (nice(1))."),
    },
    "Ceilings. They hold for everything the command starts, and nothing it starts can lift them, but for "
    "those of a control group: a command of root or of the daemon's own user can. The next one then gets a "
    "new one.",
)
QUOTA: Final = Table(
    {
        "concurrency": Key(
            _AT_ONCE,
            f"Most of its commands at once. Otherwise `max_commands_each` of rexecd.yaml(5). {_BUSY}",
        ),
        "rate": Key(RATE, f"Most starts in any such time, over all its commands. {_BUSY}"),
    },
    "How much a principal may run, over all its connections and tokens.",
)

SANDBOX: Final = Table(
    {
        "read": Key(
            Listed(REACHED, least=0),
            "Files and directories that may be read, and what is in them executed. With `read` or `write` "
            "the file system is closed but for these and for what programs are made of; see Sandbox above. "
            "An empty list closes it but for that.",
        ),
        "write": Key(
            Listed(REACHED),
            "Files and directories that may be read, executed and written; below them files and directories "
            "may be made and removed.",
        ),
        "network": Key(
            Choice([access.value for access in NetworkAccess]),
            "With `none` no socket can be made, neither of the network nor a local one (syslog, D-Bus, "
            "nscd); only pairs of them (socketpair(2)). With `loopback` it has a network of its own with "
            "nothing in it but its own loopback: it does not reach what listens on the host's 127.0.0.1. "
            "Otherwise it has the host's.",
        ),
        "private_tmp": Key(
            Flag(),
            "Whether it has an empty `/tmp` and `/var/tmp` of its own, each of at most 256 MiB of memory, to "
            "which it may write whatever `write` says; they are gone when it ends.",
            default=False,
        ),
        "devices": Key(
            Choice(("minimal",)),
            "With `minimal` it finds of `/dev` only `null`, `zero`, `full`, `random` and `urandom`. "
            "Otherwise all that its user may open.",
        ),
        "best_effort": Key(
            Flag(),
            "Whether it runs with what this host can give. Otherwise a policy with a sandbox this host "
            "cannot give is refused when the service starts, and at a reload.",
            default=False,
        ),
    },
    "What the command is kept from, besides what its user may not do; see Sandbox above.",
)

EXAMPLE: Final = Table(
    {
        "as": Key(Text(), "The principal that asks.", required=True),
        "from": Key(
            Text(),
            "The address it asks from. Without one the example is asked from an address that is admitted "
            "(`rexecd policy explain` takes 127.0.0.1).",
        ),
        "line": Key(Text(), "The line it sends; it begins with the name of this command.", required=True),
        "justification": Key(Line(most=MAX_JUSTIFICATION), "The reason it gives."),
        "expect": Key(Choice(("allow", "refuse")), "What has to come of it.", required=True),
    },
    "One test of the policy; `rexecd check` makes the decision the monitor would make.",
)

_SIGNAL: Final = Choice([signal.name for signal in SignalName])
COMMAND: Final = Table(
    {
        "summary": Key(Line(), "One line for the listing.", required=True),
        "description": Key(DESCRIPTION, "More, for `rexec HOST NAME --help`.", default="", shown="''"),
        "run": Key(
            RUN,
            "The program's absolute path and its arguments. `{name}` is a hole for a parameter, alone or "
            "inside a word; `{{name}}` writes it literally. A hole is never split again, and there is no "
            "shell.",
            required=True,
        ),
        "parameters": Key(
            Named(
                PARAMETER,
                check=parameter_complaint,
                pattern=f"^(?:{names.PARAMETER.pattern})$",
                words="a mapping of names to parameters",
                most=MAX_PARAMETERS,
            ),
            "What callers fill in, in the order of their positions; declare last what may be left out.",
        ),
        "stdin": Key(
            Choice([mode.value for mode in Stdin]),
            "Whether the caller's standard input goes to the program.",
            default=Stdin.REFUSE.value,
        ),
        "timeout": Key(
            Duration(0.001, _LONGEST),
            "How long it may run. At its end its process group gets TERM, and after `kill_grace` "
            "(rexecd.yaml(5)) everything it started gets KILL. The caller gets the exit status 124. A caller "
            "may ask for less, never for more, and `max_timeout` of rexecd.yaml(5) is above every rule.",
            default=60.0,
        ),
        "limits": Key(LIMITS, "Ceilings: how much one run may use, and how many there may be."),
        "on_disconnect": Key(
            Choice([each.value for each in OnDisconnect]),
            "What becomes of it when its caller is gone: `kill` ends it as its timeout would, `finish` lets "
            "it run to its end, or its timeout; what it still writes is thrown away.",
            default=OnDisconnect.KILL.value,
        ),
        "signals": Key(
            Listed(_SIGNAL, least=0),
            "The signals a caller may send it; an empty list is none. Whatever it says, the service ends "
            "the command when its time is over.",
            default=tuple(signal.name for signal in SignalName),
        ),
        "sandbox": Key(SANDBOX, "What it is kept from, besides what its user may not do."),
        "run_as": Key(
            RUN_AS,
            "Who it runs as. Without it: whom `run_as` of rexecd.yaml(5) says. `root` runs here without any "
            "capability: it can change root's own files and speak to systemd, but not what other "
            "permissions forbid, and neither change owners, mount, nor listen on low ports.",
        ),
        "working_directory": Key(DIRECTORY, "Where it starts.", default="/"),
        "umask": Key(UMASK, "Which permissions its new files do not get.", default="027"),
        "environment": Key(
            Named(
                Text(),
                check=variable_complaint,
                pattern=f"^(?:{names.VARIABLE.pattern})$",
                words="a mapping of variables to texts",
            ),
            "Variables besides those every command gets.",
        ),
        "from": Key(Listed(NETWORK), "Networks its callers have to come from; otherwise any."),
        "justification": Key(
            Choice([each.value for each in Justification]),
            "Whether a caller has to say why (`rexec --reason TEXT`). What is said is recorded.",
            default=Justification.OPTIONAL.value,
        ),
        "hidden": Key(Flag(), "Whether listings leave it out. It is no protection.", default=False),
        "examples": Key(Listed(EXAMPLE), "The policy's own tests."),
        "silence": Key(
            Named(
                Line(),
                check=code_complaint,
                pattern=f"^(?:{names.LINT_CODE.pattern})$",
                words="a mapping of codes to reasons",
            ),
            "Warnings of `rexecd check` that are meant, each with the reason.",
        ),
    },
    "One command that may be run.",
)

_TERMS: Final = Listed(Text("a command's name, `prefix.*` or `*`"))
ROLE: Final = Table(
    {
        "allow": Key(
            _TERMS,
            "The commands its holders may run. `service.*` stands for `service.stop` and "
            "`service.web.stop`, not for `service` itself.",
            required=True,
        ),
        "deny": Key(_TERMS, "The commands they may not run, whatever other roles they hold."),
    },
    "What those who hold it may run. Deny beats allow, and order means nothing.",
)
PRINCIPAL: Final = Table(
    {
        "roles": Key(Listed(Text("a role's name")), "The roles it holds.", required=True),
        "from": Key(Listed(NETWORK), "Networks it has to come from; otherwise any."),
        "require": Key(
            Choice(("certificate",)),
            "What it has to show besides its token. With `certificate` a client certificate of `client_ca` "
            "(rexecd.yaml(5)) whose only common name is the principal's name.",
        ),
        "limits": Key(QUOTA, "How much it may run."),
    },
    "Somebody with a token.",
)

_VERSION: Final = Key(Integer(1, 1), "The version of this language.", required=True)
_SECTIONS: Final = {
    "principals": Key(
        Named(
            PRINCIPAL,
            check=holder_complaint("principal"),
            pattern=f"^(?:{names.PRINCIPAL.pattern})$",
            words="a mapping of names to principals",
        ),
        "Who may come.",
    ),
    "roles": Key(
        Named(
            ROLE,
            check=holder_complaint("role"),
            pattern=f"^(?:{names.PRINCIPAL.pattern})$",
            words="a mapping of names to roles",
        ),
        "Which commands go together.",
    ),
    "commands": Key(
        Named(
            COMMAND,
            check=command_complaint,
            pattern=f"^(?:{names.COMMAND.pattern})$",
            words="a mapping of names to commands",
        ),
        "What may be run.",
    ),
}
POLICY: Final = Table(
    {
        "version": _VERSION,
        "include": Key(
            Text("a directory"),
            "A directory, as seen from this file, whose `*.yaml` files are read as well, in the order of "
            "their names. All files are one policy: a name stands in one of them. Each begins with "
            "`version: 1`, and includes nothing itself.",
        ),
        **_SECTIONS,
    },
    "Who may run what. What is not written here is not allowed.",
)
#: A file of an included directory.
PART: Final = Table({"version": _VERSION, **_SECTIONS}, "One file of an included directory.")
