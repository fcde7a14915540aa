"""Make the manual pages of the configuration files from their tables; with --check, compare them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rexecd.client.credentials import COMMAND_TIMEOUT
from rexecd.client.keywords import KEYWORDS
from rexecd.client.words import join
from rexecd.forms import Either, Form, Key, Listed, Named, Table, Variant, default_of
from rexecd.policy.tables import POLICY
from rexecd.settings import SETTINGS

HERE: Final = Path(__file__).parent


class Page(NamedTuple):
    """What is written by hand of a page; the rest is in the table."""

    name: str
    title: str
    head: str
    table: Table
    see_also: str
    examples: str = ""


_STRICT: Final = """\
The file is YAML, read strictly: unknown and repeated keys, anchors, aliases, tags, second documents and words
YAML would take for something else (`no`, `0755`, `12:30`) are errors with their place. Put such words in
quotes. Durations need a unit: `250ms`, `30s`, `5m`, `2h`, `1d`; sizes too: `512B`, `64KiB`, `1MiB`, `2GiB`.
A file that begins with `---` has to end with `...`, so that one that was cut short is never read."""

_PATTERNS: Final = r"""### Patterns

A pattern (`type: pattern`) always has to match the whole value, and upper and lower case differ. It may hold

* characters that stand for themselves, and `.` for any character;
* sets, `[a-z0-9_]`, and `[^,;]` for any character but those;
* `\d` for 0-9, `\w` for A-Z, a-z, 0-9 and `_`, `\s` for a blank, and `\D`, `\W`, `\S` for any other character;
* a backslash before any punctuation, which then stands for itself; `{`, `}`, `[`, `]` always need one, in a set only `[` and `]`;
* repetitions, `*`, `+`, `?`, `{3}`, `{3,}` and `{3,5}`, of what stands before them;
* alternatives, `a|b`, and groups, `(...)` or `(?:...)`, nested at most 16 deep.

Everything else is an error: `^` and `$`, which are not needed, look-arounds, back-references, flags, lazy and possessive
repetitions. No set and no `.` matches a control character or a line end, and characters outside ASCII fit only with
`unicode: allow`. With its repetitions written out a pattern has at most 512 characters and sets. It is matched in linear time,
so that no value can stall the service. Write patterns in single quotes: in double quotes YAML reads the backslash itself."""

_EXAMPLES: Final = r"""Each of these goes below `commands` of a policy with principals and roles.

A repetition: one to twenty files, each an argument of its own. `rexec web1 files.checksum /srv/data/a '/srv/data/b c'`.

```yaml
commands:
  files.checksum:
    summary: Checksums of some files
    run: [/usr/bin/sha256sum, --, "{files...}"]
    parameters:
      files: {type: path, under: [/srv/data], most: 20}
    timeout: 5m
```

A secret: the program reads the password from the file `/dev/fd/N` that it is named. Callers say
`rexec --value-file password=FILE web1 account.reset ann`.

```yaml
commands:
  account.reset:
    summary: Give an account of the application a new password
    run: [/usr/local/bin/app-password, "--user={user}", "--password-file={password}"]
    parameters:
      user: {type: word}
      password: {type: secret, pass: descriptor}
    timeout: 30s
```

Another user, from certain networks, with a reason: `rexec --reason 'ticket 4711' web1 site.deploy v1.20.3`.

```yaml
commands:
  site.deploy:
    summary: Put a release of the web site in place
    run: /usr/local/bin/deploy-site {release}
    parameters:
      release: {type: pattern, matches: 'v\d+\.\d+\.\d+'}
    run_as: {user: web, group: www-data, groups: [www-data]}
    from: [10.0.0.0/8, "::1"]
    justification: required
    timeout: 10m
```

Limits and a sandbox: the program gets the file as a descriptor, reaches no network and nothing else of `/srv`, and two of
it run at a time.

```yaml
commands:
  picture.small:
    summary: A picture, made small enough for a page
    run: [/usr/bin/djpeg, -scale, 1/8, "{picture}"]
    parameters:
      picture: {type: path, under: [/srv/pictures], pass: descriptor}
    timeout: 30s
    limits: {concurrency: 2, rate: 60/min, output: 8MiB, memory: 256MiB, cpu: 20s, processes: 4}
    sandbox: {read: [], network: none, private_tmp: true, devices: minimal}
```

A long one that its caller can only end in order, and that goes on without the caller.

```yaml
commands:
  backup:
    summary: Back up the database now
    run: /usr/local/bin/backup-database
    timeout: 3h
    limits: {concurrency: 1, nice: 10}
    on_disconnect: finish
    signals: [TERM]
```

Tests of the policy itself, and a warning that is meant. `ci` is a principal that may run the command.

```yaml
commands:
  upload.list:
    summary: What has been uploaded
    run: /usr/bin/ls -l -- {directory}
    parameters:
      directory: {type: path, under: [/var/tmp/upload], default: /var/tmp/upload}
    timeout: 10s
    silence:
      RX203: a link put there shows nothing but names of files
    examples:
      - {as: ci, line: upload.list, expect: allow}
      - {as: ci, line: upload.list /var/tmp/upload/new, expect: allow}
      - {as: ci, line: upload.list /var/tmp/upload/../other, expect: refuse}
      - {as: ci, line: upload.list -a, expect: refuse}
```"""

PAGES: Final = [
    Page(
        "rexecd.yaml.5.md",
        "rexecd.yaml - the settings of rexecd",
        f"""{_STRICT}

Both processes read it once, when they start. `rexecd check` says every fault of it at once,
`rexecd config show` prints what is in effect, and `rexecd config schema settings` prints what may be
written, as JSON Schema for editors.""",
        SETTINGS,
        "rexecd(8)",
    ),
    Page(
        "rexecd-policy.5.md",
        "rexecd-policy - who may run what with rexecd: policy.yaml",
        f"""{_STRICT}

What is not written here is not allowed. A **principal** is somebody with a token; it may run what its **roles**
allow, less what any of them denies; a **command** is a program with its arguments and the **parameters** a
caller may fill in. The order of things means nothing, and a name that grants or limits nothing is an error.

The files are owned by root or the daemon's user, and nobody else may write to them or to a directory above them. Put a new
file in place by renaming it, as editors do: one that changes while it is read is refused. `rexecd check` says every fault
at once with file, line and column, warns of what is legal and unwise, and runs the examples. `rexecd policy explain`
shows each step of a decision, `rexecd config schema` prints this page as JSON Schema for editors, `rexecd config show policy`
prints all files as one, and `rexecd reload` puts a changed policy in force; a faulty one leaves the old one there.

An editor with a YAML language server checks and completes a policy whose first line is
`# yaml-language-server: $schema=policy.schema.json`, after `rexecd config schema > policy.schema.json`.

### Names

The names of commands, principals, roles and parameters have at most 64 characters. A command is one or more words of
lower-case letters, digits, `-` and `_`, each beginning with a letter or digit, with dots between them; `help` and `exit` are
words of the interactive session. A principal or a role has letters, digits and `. _ @ -`, and begins with a letter or digit. A
parameter has letters, digits and `_`, does not begin with a digit, and is not called `help`; a command has at most 64 of them.

In a role, `prefix.*` stands for every command whose name begins with `prefix.`, not for `prefix` itself; `*` stands for all.
Texts that begin with `*` have to be quoted. Taking a role from somebody takes what it denied from them too, and can so give
what another of their roles allows: `rexecd policy diff` says so.

### How a line is decided

1. The caller's line (at most 16 KiB and 1,024 words) is split into words as a shell would, without any other meaning of
   a shell: `$`, `*`, `|` and `;` are characters. The first word names the command.
2. The principal has to be there, come from one of its networks, hold the command, and come from one of the
   command's networks. Otherwise it hears "no such command", whichever of these it was; who is unknown or comes from elsewhere gets no session to ask in.
3. A reason is asked for if the command wants one.
4. The other words are given to the parameters: `--name value` and `--name=value` by name, the rest in the declared order;
   behind `--` every word counts by position. A word by position goes to the first parameter that has no value yet, may it
   be left out or not: declare those that may be left out last. A word that is `--NAME` of a declared parameter is not taken
   for the value of the one before it: as a value it is written `--x=--NAME`. What is left over, missing, given twice or not
   declared is refused.
5. Every value has to fit its type as a whole. One that begins with `-` is refused unless the parameter says otherwise.
6. The values go to their holes. One value is one argument or part of one, never two, never an option. A flag adds its
   arguments or none, a repetition one for each value; an argument whose optional value was left out is left out.
7. What is over a limit of `concurrency` or `rate`, the command's or the principal's, is refused as busy.

### What a command gets

An environment of its own: `PATH LANG HOME TERM PAGER SYSTEMD_PAGER GIT_PAGER LESSSECURE` with fixed values, what
`environment` adds, and `REXEC_PRINCIPAL REXEC_COMMAND REXEC_REQUEST_ID REXEC_CONNECTION_ID REXEC_ADDRESS`. Standard
input is empty unless the rule takes input. The program, and every directory above it, has to belong to root or the
daemon's user and be writable by nobody else; this is looked at right before it starts.

A command has no capability, and no program it starts gains rights: `sudo` and other set-user-ID programs run as the same user, if at
all. Everything it started ends with it, what went into the background too.

`run_as` needs a monitor that is root, or has CAP_SETUID and CAP_SETGID as the installed one. Names are resolved when the policy is loaded: after a change of users or groups, reload.

### Sandbox

With `read` or `write` the file system is closed but for what they name and what programs are made of: `/usr`, `/bin`, `/sbin`
and `/lib*` can be read and executed, `/etc/ld.so.cache` and the devices `null`, `zero`, `full`, `random` and `urandom` be used.
Everything else has to be listed, `/etc` and `/proc` too. What is listed may be a file or a directory with all below it, has to
be there, and is opened only as far as the user may open it. A file that is passed as a descriptor is open already. `read` lets
files be executed as well, and `write` lets them be read.

`read` and `write` need Landlock in the kernel, and Linux 6.2 for `write` to hold for the cutting of files too. `private_tmp` and
`network: loopback` need namespaces: a monitor that is root, or a kernel in which users may make namespaces of their own. A
policy with a sandbox that this host cannot give is refused, at start and at a reload; with `best_effort: true` the command runs
with what there is of it. A sandbox is no second user: give a command that is not trusted a `run_as` of its own as well, and
what its user may reach is all that a gap in the sandbox can cost.

{_PATTERNS}

### Paths

A path is resolved, links and `..` included, when it is decided, and the program is given the result. Whoever may write to a
directory on the way can put a link there before the program opens it. Name only roots that others cannot write to, or say
`pass: descriptor`: then the file is opened for the program without following any link, and with `run_as` only if that user
could read it. A caller who names no such file is refused (126), without a word about what is there.

### Secrets

A secret never fills an argument, and stands in no record or listing. Callers send it with `rexec --value-file NAME=FILE HOST
COMMAND`, so that it does not stand in their own list of processes either. That needs a COMMAND: in an interactive session a
secret is typed in the open. Other processes of the command's user can read descriptor, standard input and variable while the
command runs; a variable for its whole life.

Once a policy has a secret, the trail withholds more of what was refused: of a line for a command that takes one, and of a
line for no command of the policy, only the first word is recorded.""",
        POLICY,
        "rexecd(8), rexec(1), rexecd.yaml(5)",
        _EXAMPLES,
    ),
]


#: The caller's page: not YAML, and so not of a form; its keys are put in.
_CALLER: Final = """\
# rexec.conf(5)

## NAME

rexec.conf - the configuration of rexec: hosts, whom to trust, where the token is

## DESCRIPTION

rexec(1) takes each value from the first place that has it:

1. the command line: options of their own, then each **-o** *KEY=VALUE*
2. the environment: **REXEC_TOKEN**, **REXEC_TOKEN_FILE**, **REXEC_CA**, **REXEC_PIN**, **REXEC_CERT**, **REXEC_KEY**, **CREDENTIALS_DIRECTORY**
3. the user's file, `$XDG_CONFIG_HOME/rexec/config`, or `~/.config/rexec/config`
4. the system's file, `/etc/rexec/config`
5. the defaults

With **-F** *FILE* that one is read in place of both files, with **-F none** no file is. `rexec -G HOST` prints what would be used, and where
each value came from.

The files are like those of ssh(1). A line is a key and a value, `KEY VALUE` or `KEY=VALUE`; upper and lower case, `-` and `_` in a key make no
difference, so that `TokenCommand` and `token_command` are the same. Empty lines say nothing, nor does anything from a word on that begins with `#`. A
value with blanks stands in quotes, `"..."` or `'...'`; a backslash takes its meaning from a quote, a backslash, a blank or a `#`.

**Host** *PATTERN*...
:   What follows, up to the next **Host**, is for hosts that one of the patterns fits. `*` is any number of characters, `?` is one; a pattern that begins
    with `!` takes the hosts away that it fits. Patterns stand apart by blanks or commas. They are compared with *HOST* as it was typed, without
    the port, in lower case. What stands before the first **Host** is for all.

Of each key the first value found holds, also within a file: write what is special first, and `Host *` last.

Three questions are each answered by one place, never by a mixture; a place is the command line, the environment, or one block of a file. Whom to trust: the first
place that says anything of **CA**, **Pin** and **KnownHostsFile**. Your certificate: the first one with **Cert** or **Key**. The token: the first one that
has any, in a block the key that stands first.

In paths a `~/` at the beginning is your home; a path in a file is absolute or begins with it. In paths, in **TokenCommand** and in **HostName**
`%h` is the host that is connected to (in **HostName**: what was typed), `%n` what was typed, `%p` the port, `%%` a percent sign.

A key that is unknown and a value that cannot be one are errors, with file, line and column, also in blocks for other hosts; nobody is connected to then (exit status 255). So
is a file that others can write to, or that belongs to another user; the system's has to belong to root. Others may read it:
**a token never stands in it**.

## KEYS

{keys}

## TOKEN COMMANDS

**TokenCommand** starts the program directly, without a shell: to have one, write `sh -c '...'`. What it prints, up to the end of the first line, is the token. It
gets no input, because that is the remote command's; what it writes to standard error is shown; it may use the terminal (`/dev/tty`). In its environment
is **REXEC_HOST**, the host that is connected to. It has {seconds:.0f} seconds to end, and has to end with 0. It runs before the connection is made.

Whoever can write the configuration can run any program as you; so can whoever can write the program. The file is judged (see above), the program is not. A program named without a `/` is looked
for in **PATH**. Host names cannot turn into an option or a path: they begin with no `-` and no `.` and hold no `/`.

## EXAMPLES

```
# Special things first.
Host db
    HostName db1.example.com
    Pin sha256:2f0b5c1d7a9e4b3c8d6f1a2e5b4c7d9081726354a5b6c7d8e9f0a1b2c3d4e5f6

Host *.example.com !old.example.com
    CA ~/pki/example.pem
    TokenCommand pass show rexec/%h

Host *
    ConnectTimeout 5
```

```
rexec db disk /srv
rexec -G web1.example.com
rexec -o ConnectTimeout=1 -F none db1.example.com
```

## SEE ALSO

rexec(1), ssh_config(5)
"""


def render_caller() -> str:
    """Return the page of the caller's configuration."""
    keys = []
    for keyword in KEYWORDS:
        form, default = keyword.form, keyword.default
        usual = "" if default is None else f"; default `{join([form.show(default)])}`"
        keys.append(
            f"**{keyword.name}**\n:   {form.about[0].upper()}{form.about[1:]}{usual}. {keyword.about}"
        )
    return _CALLER.format(keys="\n\n".join(keys), seconds=COMMAND_TIMEOUT)


def sections(form: Form, path: str) -> Iterator[tuple[str, Table]]:
    """Yield every table within a form, and how a file gets there: `commands.NAME.limits`."""
    match form:
        case Table(keys=keys):
            yield path, form
            for name, key in keys.items():
                yield from sections(key.form, f"{path}.{name}" if path else name)
        case Variant(by=by, tables=tables):
            for word, table in tables.items():
                yield from sections(table, f"{path}, {by}: {word}")
        case Named(value=value):
            yield from sections(value, f"{path}.NAME")
        case Listed(item=item):
            yield from sections(item, f"{path}, each")
        case Either(scalar=scalar, sequence=sequence, mapping=mapping):
            for each in (scalar, sequence, mapping):
                if each is not None:
                    yield from sections(each, path)


def render(page: Page) -> str:
    """Return the page's text."""
    parts = [
        f"# {page.name.removesuffix('.5.md')}(5)",
        "## NAME",
        page.title,
        "## DESCRIPTION",
        page.head,
    ]
    for path, table in sections(page.table, ""):
        parts += [f"## {path}" if path else "## KEYS"]
        parts += [table.about] if table.about else []
        parts += ["\n".join(_entry(name, key) for name, key in table.keys.items())]
    parts += ["## EXAMPLES", page.examples] if page.examples else []
    return "\n\n".join([*parts, "## SEE ALSO", page.see_also]) + "\n"


def _entry(name: str, key: Key) -> str:
    facts = [key.form.words]
    default = default_of(key)
    if key.required:
        facts.append("required")
    elif default is not None:
        facts.append(f"default `{default}`")
    return f"* **`{name}`**: {'; '.join(facts)}. {key.about}"


def all_files() -> dict[str, str]:
    """Return every page's text by its name."""
    return {"rexec.conf.5.md": render_caller()} | {page.name: render(page) for page in PAGES}


def differences(files: dict[str, str]) -> list[str]:
    """Return the names of pages that are missing or different."""
    there = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.md")}
    return sorted(name for name, text in files.items() if there.get(name) != text)


def main(arguments: list[str]) -> int:
    """Write the pages, or only compare them; return the exit status."""
    files = all_files()
    different = differences(files)
    if arguments == ["--check"]:
        print("".join(f"docs/man/{name}: not as build.py makes it\n" for name in different), end="")
        return 1 if different else 0
    for name in different:
        (HERE / name).write_text(files[name], encoding="utf-8")
    print(f"{len(files)} pages, {len(different)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
