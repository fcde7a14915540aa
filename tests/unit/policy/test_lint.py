"""What is legal and unwise: each code has a policy that gets it, and a near miss that does not."""

import itertools
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.policy.lint import CODES, Facts, Finding, directories_of, lint, programs_of, scripts_of
from rexecd.policy.load import load
from rexecd.policy.model import NO_POLICY, Defaults, Identity, Policy
from rexecd.policy.programs import PROGRAMS, VARIABLES
from rexecd.yamltext import Place
from tests.catalogues import document_tables

ROOT = Path(__file__).parents[3]
SILENT = Facts(programs={}, token_principals=None, open_ended=(), missing=frozenset(), shared=frozenset())


def make(
    commands: dict[str, str],
    *,
    roles: str = "{all: {allow: ['*']}}",
    principals: str = "{ann: {roles: [all]}}",
) -> Policy:
    """Return a policy; each command is the inside of a mapping, and has a summary and a timeout."""
    lines = [f"  {name}: {{summary: S, timeout: 1s, {body}}}" for name, body in commands.items()]
    head = f"version: 1\nprincipals: {principals}\nroles: {roles}\ncommands:\n"
    return load(head + "\n".join(lines) + "\n", "p")


def codes(policy: Policy, facts: Facts = SILENT) -> list[str]:
    """Return the codes of what is found."""
    return [finding.code for finding in lint(policy, facts)]


TEXT = "x: {type: text}"
WORD = "x: {type: word}"
DASHED = "x: {type: text, leading_dash: allow}"
CHOICE = "x: {type: choice, of: [a, b]}"
NUMBER = "x: {type: integer}"
PATTERN = "x: {type: pattern, matches: 'v[0-9]+'}"
ANYTHING = "x: {type: pattern, matches: '.+'}"
OPTIONAL = "x: {type: word, optional: true}"
MAYBE_NONE = "x: {type: word, least: 0, most: 3}"
FILE = "x: {type: path, under: [/srv]}"
SECRET = "x: {type: secret, pass: stdin}"
HANDED = "x: {type: secret, pass: descriptor}"
SENT = ", stdin: accept"


def run(words: str, *parameters: str, more: str = "") -> str:
    """Return a command that runs some words."""
    quoted = ", ".join(f"'{word}'" for word in words.split("|"))
    declared = f", parameters: {{{', '.join(parameters)}}}" if parameters else ""
    return f"run: [{quoted}]{declared}{more}"


def below(root: str) -> str:
    """Return a parameter that is a path."""
    return f"x: {{type: path, under: [{root}]}}"


def pattern(text: str) -> str:
    """Return a parameter that is a pattern."""
    return f"x: {{type: pattern, matches: '{text}'}}"


RULES = {
    # RX100
    "text inside the script of a shell": (run("/bin/bash|-c|echo {x}", TEXT), "RX100 RX101"),
    "a word inside the script of a shell": (run("/bin/sh|-c|echo {x}", WORD), "RX100 RX101"),
    "a number inside the script of a shell": (run("/bin/sh|-c|kill {x}", NUMBER), "RX101"),
    "text behind the script of a shell": (run('/bin/sh|-c|echo "$1"|sh|{x}', TEXT), "RX101"),
    "the caller names the script": (run("/usr/bin/python3|{x}", FILE), "RX100 RX102"),
    "the caller chooses one of our scripts": (run("/usr/bin/python3|{x}", CHOICE), "RX102"),
    "the caller names the program": (run("/usr/bin/env|{x}", WORD), "RX100 RX104"),
    "the caller names the applet": (run("/bin/busybox|{x}", WORD), "RX100"),
    "a shell reads standard input": (run("/bin/bash|-s", more=", stdin: accept"), "RX100 RX101"),
    "a shell with a script reads standard input": (run("/bin/bash|/opt/a", more=", stdin: accept"), "RX101"),
    "a shell without standard input": (run("/bin/bash"), "RX101"),
    "a script of a shell that is told '-s'": (run("/bin/bash|/opt/a|-s", more=SENT), "RX101"),
    "a file that is standard input": (run("/usr/bin/python3|/dev/stdin", more=SENT), "RX100 RX102"),
    "a job from standard input": (run("/usr/bin/at|now", more=SENT), "RX100"),
    "a job that has to have input": (run("/usr/bin/batch", more=", stdin: require"), "RX100"),
    "a job from a file": (run("/usr/bin/at|now|-f|/opt/a", more=SENT), ""),
    "a list of jobs": (run("/usr/bin/at|-l", more=SENT), ""),
    "a job without standard input": (run("/usr/bin/at|now"), ""),
    "a crontab from standard input": (run("/usr/bin/crontab|-u|ann|-", more=SENT), "RX100"),
    "a crontab from a file": (run("/usr/bin/crontab|/opt/tab", more=SENT), ""),
    "a crontab is shown": (run("/usr/bin/crontab|-l", more=SENT), ""),
    "a shell elsewhere": (run("/usr/bin/ssh|-p|22|web1", more=SENT), "RX100"),
    "a shell elsewhere by its name": (run("/usr/bin/ssh|web1|bash", more=SENT), "RX100"),
    "a program elsewhere": (run("/usr/bin/ssh|-p|22|web1|cat|-", more=SENT), ""),
    "a tunnel": (run("/usr/bin/ssh|-N|web1", more=SENT), ""),
    "statements from standard input": (run("/usr/bin/psql|-h|db|app", more=SENT), "RX100"),
    "statements from a dash": (run("/usr/bin/psql|-f|-", more=SENT), "RX100"),
    "a statement and input": (run("/usr/bin/psql|-c|copy a from stdin", more=SENT), ""),
    "statements for mysql": (run("/usr/bin/mysql|-N|app", more=SENT), "RX100"),
    "a statement for mysql": (run("/usr/bin/mysql|-Ne|select 1|app", more=SENT), ""),
    "statements for sqlite": (run("/usr/bin/sqlite3|/srv/a.db", more=SENT), "RX100"),
    "a statement for sqlite": (run("/usr/bin/sqlite3|/srv/a.db|select 1", more=SENT), ""),
    "passwords for anybody": (run("/usr/sbin/chpasswd", more=SENT), "RX100"),
    "a password for somebody": (run("/usr/bin/passwd|--stdin|ann", more=SENT), ""),
    "a makefile from standard input": (run("/usr/bin/make|-f|-", more=SENT), "RX100"),
    "a makefile from standard input in one": (run("/usr/bin/make|--file=-", more=SENT), "RX100"),
    "a makefile of ours": (run("/usr/bin/make|-f|/opt/Makefile", more=SENT), ""),
    "objects from standard input": (run("/usr/bin/kubectl|apply|-f|-", more=SENT), "RX100"),
    "objects from a file": (run("/usr/bin/kubectl|apply|-f|/opt/a.yaml", more=SENT), ""),
    "a debugger with input": (run("/usr/bin/gdb|/bin/ls", more=SENT), "RX100 RX104"),
    "a debugger without a dialogue": (run("/usr/bin/gdb|--batch|/bin/ls", more=SENT), "RX104"),
    "command lines from standard input": (run("/usr/bin/parallel", more=SENT), "RX100 RX104"),
    "arguments from standard input": (run("/usr/bin/xargs|/bin/ls", more=SENT), "RX100 RX104"),
    "arguments from the line": (run("/usr/bin/parallel|gzip|:::|a", more=SENT), "RX104"),
    "a shell of another user": (run("/bin/su|ann", more=SENT), "RX100 RX109"),
    "a command of another user": (run("/bin/su|ann|-c|cat", more=SENT), "RX109"),
    "a shell in a container reads input": (run("/usr/bin/docker|exec|-i|a|sh", more=SENT), "RX100"),
    "a program in a container reads input": (run("/usr/bin/docker|exec|-i|a|cat", more=SENT), ""),
    # RX100 of secrets
    "a secret is a script on standard input": (run("/bin/bash", SECRET), "RX100 RX101"),
    "a secret is a script in a descriptor": (run("/bin/bash|{x}", HANDED), "RX100 RX101"),
    "a secret is statements": (run("/usr/bin/psql|-f|{x}", HANDED), "RX100"),
    "a secret is a job": (run("/usr/bin/at|now", SECRET), "RX100"),
    "a secret is options": (run("/usr/bin/curl|-K|{x}", HANDED), "RX100"),
    "a secret for a script": (run("/bin/bash|/opt/a", SECRET), "RX101"),
    "a secret is a password on standard input": (run("/usr/bin/docker|login|-u|a", SECRET), ""),
    "a secret is a password in a descriptor": (run("/usr/bin/openssl|-passin|file:{x}", HANDED), ""),
    # RX100 behind any program
    "a shell behind the loader": (
        run("/lib64/ld-linux-x86-64.so.2|/bin/sh|-c|{x}", TEXT),
        "RX100 RX101 RX104",
    ),
    "a shell behind tini": (run("/usr/bin/tini|--|sh|-c|{x}", TEXT), "RX100 RX101 RX104"),
    "a shell behind logsave": (run("/sbin/logsave|/srv/log|sh|-c|{x}", TEXT), "RX100 RX101 RX104"),
    "a shell behind envdir": (run("/usr/bin/envdir|/srv/env|sh|-ec|{x}", TEXT), "RX100 RX101 RX104"),
    "a shell behind a program not on the list": (run("/opt/any|-s|sh|-c|{x}", TEXT), "RX100 RX101"),
    "a shell's name for a program not on the list": (run("/opt/any|sh|{x}", TEXT), ""),
    "a shell's script behind a program not on the list": (run("/opt/any|sh|/opt/a|-c"), ""),
    "an interpreter behind a program not on the list": (run("/opt/any|perl|-e|{x}", TEXT), "RX100 RX102"),
    "a shell for a new user": (run("/sbin/useradd|-s|/bin/bash|-c|a b|ann"), ""),
    "the command of a group": (run("/usr/bin/sg|adm|{x}", TEXT), "RX100 RX109"),
    "a word in the command of a group": (run("/usr/bin/sg|adm|-c|ls {x}", WORD), "RX109"),
    "a path in a script in a container": (run("/usr/bin/docker|exec|a|sh|-c|ls {x}", FILE), "RX100 RX101"),
    "a pattern in a script in a container": (
        run("/usr/bin/kubectl|exec|a|--|/bin/sh|-c|ls {x}", PATTERN),
        "RX100 RX101",
    ),
    "a path for a program in a container": (run("/usr/bin/docker|exec|a|ls|{x}", FILE), ""),
    "a path in a command elsewhere": (run("/usr/bin/ssh|web1|ls -l {x}", FILE), "RX100"),
    "a path behind a command elsewhere": (run("/usr/bin/ssh|-t|web1|ls|-l|{x}", FILE), "RX100"),
    "a pattern with blanks in a command elsewhere": (
        run("/usr/bin/ssh|web1|ls|{x}", "x: {type: pattern, matches: '[a-z ]+'}"),
        "RX100",
    ),
    "a pattern in a command elsewhere": (run("/usr/bin/ssh|web1|ls|{x}", PATTERN), ""),
    "a word in a command elsewhere": (run("/usr/bin/ssh|web1|ls -l {x}", WORD), ""),
    "a word is the command elsewhere": (run("/usr/bin/ssh|web1|{x}", WORD), "RX100"),
    "a choice is the command elsewhere": (run("/usr/bin/ssh|web1|{x}", CHOICE), ""),
    "a path is the key for elsewhere": (run("/usr/bin/ssh|-i|{x}|web1|ls", FILE), ""),
    # RX101 to RX104, RX109
    "a shell": (run("/bin/bash|/opt/a"), "RX101"),
    "a shell behind two wrappers": (run("/usr/bin/timeout|5|/usr/bin/env|bash|/opt/a"), "RX101 RX104 RX104"),
    "a shell in busybox": (run("/bin/busybox|sh|/opt/a"), "RX101"),
    "another applet of busybox": (run("/bin/busybox|df|{x}", FILE), ""),
    "an interpreter with a version": (run("/usr/bin/python3.11|/opt/a.py"), "RX102"),
    "a program that is called like a part of one": (run("/opt/python-report"), ""),
    "an editor": (run("/usr/bin/vim.basic|/srv/a"), "RX103"),
    "a pager": (run("/usr/bin/less|/srv/a"), "RX103"),
    "no pager": (run("/bin/cat|/srv/a"), ""),
    "a wrapper": (run("/usr/bin/nice|/opt/a|{x}", TEXT), "RX104"),
    "find with a path": (run("/usr/bin/find|{x}|-ls", FILE), "RX104"),
    "sudo": (run("/usr/bin/sudo|-u|ann|/opt/a"), "RX109"),
    "a program behind sudo": (run("/usr/bin/sudo|bash|/opt/a"), "RX101 RX109"),
    # RX105, RX110
    "free text for tar": (run("/bin/tar|xf|{x}", TEXT), "RX105"),
    "a pattern of everything for tar": (run("/bin/tar|xf|{x}", ANYTHING), "RX105"),
    "a pattern for tar": (run("/bin/tar|xf|{x}", PATTERN), ""),
    "a word for tar": (run("/bin/tar|xf|{x}", WORD), ""),
    "a path for tar": (run("/bin/tar|xf|{x}", FILE), ""),
    "text inside an argument of rsync": (run("/usr/bin/rsync|/srv/{x}|/mnt", TEXT), "RX105 RX208"),
    "text tied to a harmless option": (run("/usr/bin/git|log|--grep={x}", TEXT), ""),
    "text tied to a harmful option": (run("/bin/tar|xf|/srv/a|--to-command={x}", TEXT), "RX105"),
    "a word behind a harmful option": (run("/usr/bin/rsync|-e|{x}|a|b", WORD), "RX105"),
    "a choice behind a harmful option": (run("/usr/bin/rsync|-e|{x}|a|b", CHOICE), ""),
    "a word in a cluster of options": (run("/bin/tar|-xI{x}|-f|/srv/a", WORD), "RX105"),
    "a number in a cluster of options": (run("/bin/tar|-cb{x}|/srv/a", NUMBER), ""),
    "a word in a cluster for a harmless option": (run("/bin/tar|-cV{x}|/srv/a", WORD), ""),
    "a word behind a cluster of options": (run("/usr/bin/curl|-so|{x}|https://web1", WORD), "RX105"),
    "a word behind a cluster for a harmless option": (run("/usr/bin/curl|-sX|{x}|https://web1", WORD), ""),
    "a word behind a cluster that has its value": (run("/usr/bin/curl|-so/srv/a|{x}", WORD), ""),
    "a word in the value of a harmful option": (
        run("/usr/bin/ssh|-o|ProxyCommand={x}|web1|ls", WORD),
        "RX105",
    ),
    "a word in a value with its option": (run("/usr/bin/ssh|-oProxyCommand={x}|a|ls", WORD), "RX105"),
    "a word for a harmless key": (run("/usr/bin/ssh|-o|User={x}|-oPort={x}|web1|ls", WORD), ""),
    "a choice in the value of a harmful option": (run("/usr/bin/ssh|-o|ProxyJump={x}|a|ls", CHOICE), ""),
    "a word for a pager of git": (run("/usr/bin/git|-c|core.pager={x}|log", WORD), "RX105"),
    "a word for a name of git": (run("/usr/bin/git|-c|user.name={x}|log", WORD), ""),
    "text for a program not on the list": (run("/bin/echo|{x}", TEXT), ""),
    "a word for a package manager": (run("/usr/bin/apt-get|install|{x}", WORD), "RX110"),
    "a choice for a package manager": (run("/usr/bin/apt-get|install|{x}", CHOICE), ""),
    "a word for the service manager": (run("/usr/bin/systemctl|restart|{x}", WORD), "RX110"),
    # RX106, RX202
    "text with a dash for find": (run("/usr/bin/find|/srv|{x}", DASHED), "RX104 RX106"),
    "text with a dash for ssh": (run("/usr/bin/ssh|{x}", DASHED), "RX106"),
    "text with a dash behind '--'": (run("/usr/bin/git|log|--|{x}", DASHED), "RX105"),
    "text with a dash for another program": (run("/bin/df|{x}", DASHED), "RX202"),
    "text with a dash behind '--' for another program": (run("/bin/df|--|{x}", DASHED), ""),
    "text with a dash inside an argument": (run("/bin/df|--x={x}", DASHED), ""),
    "a word behind options in one": (run("/bin/tar|-x{x}", WORD), "RX106"),
    "a pattern behind options in one": (
        run("/bin/tar|-x{x}", "x: {type: pattern, matches: '[A-Z]+'}"),
        "RX106",
    ),
    "a narrow pattern behind options in one": (
        run("/bin/tar|-x{x}", "x: {type: pattern, matches: '[vz]+'}"),
        "",
    ),
    "a choice behind options in one": (run("/bin/tar|-x{x}", CHOICE), ""),
    "a word behind options in one behind '--'": (run("/bin/tar|-cf|/srv/a|--|-x{x}", WORD), ""),
    "a word behind an option not on the list": (run("/usr/bin/journalctl|-u{x}", WORD), ""),
    "a word behind options in one for another program": (run("/bin/df|-x{x}", WORD), ""),
    "a word behind a dash": (run("/bin/df|-{x}", WORD), "RX202"),
    "a word behind two dashes": (run("/usr/bin/git|log|--{x}", WORD), "RX106"),
    "a number behind a dash": (run("/usr/bin/head|-{x}|/srv/a", NUMBER), ""),
    "a pattern of numbers behind a dash": (run("/bin/df|-{x}", "x: {type: pattern, matches: '[0-9]+'}"), ""),
    "a negative number": (run("/bin/df|{x}", "x: {type: integer, min: -5, leading_dash: allow}"), ""),
    "a pattern of options": (
        run("/bin/df|{x}", "x: {type: pattern, matches: '[a-z-]+', leading_dash: allow}"),
        "RX202",
    ),
    "a pattern of numbers": (
        run("/bin/df|{x}", "x: {type: pattern, matches: '-?[0-9]+', leading_dash: allow}"),
        "",
    ),
    "a flag that adds options": (run("/bin/tar|{x}|/srv", "x: {type: flag, adds: ['--verbose']}"), ""),
    # RX111
    "a pipe": (run("/bin/ls|/srv").replace("'/srv'", "'/srv', '|', sort"), "RX111"),
    "a pipe to a shell": (run("/bin/ls").replace("]", ", '|', bash]"), "RX111"),
    "a pipe inside an argument": (run("/bin/ls").replace("]", ", 'a|b', '-e', 'a | b']"), ""),
    "another command behind": (run("/bin/ls|&&|/bin/df"), "RX111"),
    "a command in the background": (run("/bin/ls|&"), "RX111"),
    "two commands": (run("/bin/ls|;|/bin/df"), "RX111"),
    "output into a file": (run("/bin/ls|>|/tmp/a"), "RX111"),
    "output behind a file": (run("/bin/ls|>>|/tmp/a"), "RX111"),
    "input from a file": (run("/bin/ls|<|/tmp/a"), "RX111"),
    "errors into nothing": (run("/bin/ls|2>/dev/null"), "RX111"),
    "errors to the output": (run("/bin/ls|2>&1"), "RX111"),
    "errors somewhere": (run("/bin/ls|2>|/dev/null"), "RX111"),
    "a text with an arrow": (run("/bin/ls|->|a>b|<html>"), ""),
    "a comparison": (run("/usr/bin/expr|{x}|>|2", NUMBER), ""),
    "the end of what find starts": (run("/usr/bin/find|/srv|-exec|/bin/ls|;"), "RX104"),
    "a variable": (run("/bin/ls|$HOME"), "RX111"),
    "a variable in front of a hole": (run("/bin/ls|$HOME/{x}", WORD), "RX111"),
    "the output of a command": (run("/bin/ls|--since=$(date)"), "RX111"),
    "the output of a command in backquotes": (run("/bin/ls|--since=`date`"), "RX111"),
    "a pattern with an end": (run("/bin/grep|end$|/srv/a"), ""),
    "a format": (run("/bin/ls|-f=${{Package}}|$1|$5.00"), ""),
    "a quoted name of a database": (run("/bin/ls|select `a b` from c"), ""),
    "files of one kind": (run("/bin/ls|/srv/*.log"), "RX111"),
    "files of one kind here": (run("/bin/ls|*.log"), "RX111"),
    "all files": (run("/bin/ls|*"), "RX111"),
    "files with a hole": (run("/bin/ls|/srv/{x}/?.log", WORD), "RX111"),
    "files of one kind for an option": (run("/usr/bin/find|/srv|-name|*.log"), "RX104"),
    "files of one kind for a program that knows them": (run("/usr/bin/unzip|a.zip|*.txt"), ""),
    "units of one kind": (run("/usr/bin/systemctl|status|nginx*"), ""),
    "a pattern of paths": (run("/bin/grep|/api/.*|/srv/a"), ""),
    "a question": (run("/bin/echo|why?|2*3"), ""),
    "all of it in a shell": (run("/bin/sh|-c|ls $HOME/*.log > /tmp/a"), "RX101"),
    "words for a shell elsewhere": (run("/usr/bin/ssh|web1|ls|;|df|$HOME"), ""),
    "a shell in a container": (run("/usr/bin/docker|exec|a|sh|-c|$HOME/a"), "RX101"),
    "a script of awk": (run("/usr/bin/awk|$(NF) > 1 `x`|/srv/a"), "RX102"),
    # RX201, RX203
    "a path anywhere": (run("/bin/df|{x}", "x: {type: path, under: [/]}"), "RX201"),
    "a path in /etc": (run("/bin/df|{x}", "x: {type: path, under: [/etc/]}"), "RX201"),
    "a path in a part of /etc": (run("/bin/df|{x}", "x: {type: path, under: [/etc/nginx]}"), ""),
    "a path in /proc": (run("/bin/df|{x}", "x: {type: path, under: [/proc/self]}"), "RX201"),
    "a path beside /proc": (run("/bin/df|{x}", "x: {type: path, under: [/process]}"), ""),
    "a path in /tmp": (run("/bin/df|{x}", "x: {type: path, under: [/tmp/a]}"), "RX203"),
    "a path of everybody's": (run("/bin/df|{x}", "x: {type: path, under: [/home]}"), "RX203"),
    "a path of one user": (run("/bin/df|{x}", "x: {type: path, under: [/home/app]}"), ""),
    "a descriptor in /tmp": (
        run("/bin/df|{x}", "x: {type: path, under: [/tmp], pass: descriptor}"),
        "",
    ),
    "a path in everything that varies": (run("/bin/cat|{x}", below("/var")), "RX201"),
    "a path in everything that is kept": (run("/opt/any|{x}", below("/var/lib/")), "RX201"),
    "a path in a part of what is kept": (run("/opt/any|{x}", below("/var/lib/app")), ""),
    "a path that is only looked at": (run("/bin/ls|-l|{x}", below("/var")), ""),
    "a path of jobs": (run("/bin/ls|{x}", below("/var/spool/cron/crontabs")), "RX201"),
    "a path of other things that wait": (run("/bin/cat|{x}", below("/var/spool/lpd")), ""),
    "a path to write to in /etc": (run("/usr/bin/tee|-a|{x}", below("/etc/cron.d")), "RX201"),
    "a path to write to among programs": (run("/usr/bin/tee|{x}", below("/usr/local/bin")), "RX201"),
    "a path to write to elsewhere": (run("/usr/bin/tee|{x}", FILE), ""),
    "a path to read in /etc": (run("/bin/cat|{x}", below("/etc/cron.d")), ""),
    "a path to copy to": (run("/bin/cp|/srv/a|{x}", below("/usr/local/bin")), "RX201"),
    "a path to copy from": (run("/bin/cp|{x}|/srv/a", below("/etc/nginx")), ""),
    "a path to fetch into": (run("/usr/bin/curl|-so|{x}|https://web1", below("/etc/nginx")), "RX201"),
    "a path to dump into": (run("/bin/dd|of={x}", below("/boot")), "RX201"),
    "a path to dump": (run("/bin/dd|if={x}", below("/boot")), ""),
    # RX204
    "an option that loses its value": (run("/bin/df|-n|{x}|--|a", OPTIONAL), "RX204"),
    "an option that is called like its value": (run("/bin/df|--x|{x}", OPTIONAL), "RX204"),
    "an option with a default": (run("/bin/df|-n|{x}|--|a", "x: {type: word, default: a}"), ""),
    "an option with its value in it": (run("/bin/df|--x={x}|--", OPTIONAL), ""),
    "an optional value behind all options": (run("/bin/df|-h|{x}", OPTIONAL), ""),
    "an optional value behind '--'": (run("/bin/df|--|{x}", OPTIONAL), ""),
    "a repetition that may be empty": (run("/bin/df|-n|{x...}|-v", MAYBE_NONE), "RX204"),
    "a repetition that is not empty": (run("/bin/df|-n|{x...}|-v", "x: {type: word, most: 3}"), ""),
    "a flag behind an option": (run("/bin/df|-n|{x}|-v", "x: {type: flag, adds: [a]}"), ""),
    # RX205
    "a secret in the environment": (
        run("/bin/df", "x: {type: secret, pass: environment, variable: WORD}"),
        "RX205",
    ),
    "a secret on standard input": (run("/bin/df", "x: {type: secret, pass: stdin}"), ""),
    # RX206, RX306
    "a path below a pattern": (
        run("/bin/df|{x}", "x: {type: path, under: ['/srv/*/log']}"),
        "RX206",
    ),
    "a start below a pattern": (run("/bin/df", more=", working_directory: '/srv/*'"), "RX306"),
    # RX207
    "a default in front": (run("/bin/df|{x}|{y}", "x: {type: word, default: a}", "y: {type: word}"), "RX207"),
    "an optional value in front": (run("/bin/df|{x}|{y}", OPTIONAL, "y: {type: word}"), "RX207"),
    "a default at the end": (run("/bin/df|{x}|{y}", WORD, "y: {type: word, default: a}"), ""),
    "a flag in front": (run("/bin/df|{x}|{y}", "x: {type: flag, adds: ['-v']}", "y: {type: word}"), ""),
    "two defaults": (run("/bin/df|{x}|{y}", OPTIONAL, "y: {type: word, default: a}"), ""),
    # RX208
    "text in a path": (run("/bin/cat|/srv/{x}", TEXT), "RX208"),
    "text at the end of a path": (run("/bin/cat|/srv/app-{x}.log", TEXT), "RX208"),
    "text in a path of an option": (run("/opt/any|--file=/srv/{x}|-I/opt/{x}", TEXT), "RX208 RX208"),
    "a word in a path": (run("/bin/cat|/srv/{x}", WORD), ""),
    "a pattern of anything in a path": (run("/bin/cat|/srv/{x}", ANYTHING), "RX208"),
    "a pattern that may be '..'": (run("/bin/ls|/srv/{x}", pattern("[a-z.]+")), "RX208"),
    "a pattern that may be '..' and more": (run("/bin/cat|/srv/{x}.log", pattern("[a-z.]+")), ""),
    "a pattern with slashes and points": (run("/bin/cat|/srv/{x}", pattern("[a-z0-9./]+")), "RX208"),
    "a pattern of paths without '..'": (
        run("/bin/cat|/srv/{x}", pattern("[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*")),
        "",
    ),
    "a pattern of paths without a point": (run("/bin/cat|/srv/{x}", pattern("[a-z/]+")), ""),
    "text in an address": (run("/opt/any|https://web1/{x}", TEXT), ""),
    "text behind a slash in a sentence": (run("/bin/echo|and/or {x}|a /srv {x}", TEXT), ""),
    "text in a script with slashes": (run("/usr/bin/awk|/{x}/|/srv/a", TEXT), "RX100 RX102"),
    "text is a file": (run("/bin/cat|{x}", TEXT), "RX208"),
    "text is a file behind options": (run("/usr/bin/tail|-n|5|--|{x}", TEXT), "RX208"),
    "text is a file behind a pattern": (run("/bin/grep|-m|5|a|{x}", TEXT), "RX208"),
    "text is a file behind a pattern with an option": (run("/bin/grep|-e|a|{x}", TEXT), "RX208"),
    "text is what is looked for": (run("/bin/grep|-m|5|--|{x}|/srv/a", TEXT), ""),
    "text is the value of an option": (run("/usr/bin/tail|-n|{x}|/srv/a", TEXT), ""),
    "text is a file for a script": (run("/usr/bin/sed|-n|5p|{x}", TEXT), "RX102 RX208"),
    "a path is a file": (run("/bin/cat|{x}", FILE), ""),
    "a word is a file": (run("/bin/cat|{x}", WORD), ""),
    "a pattern of all paths is a file": (run("/bin/cat|{x}", pattern("[a-z/]+")), "RX208"),
    "a pattern of some paths is a file": (run("/bin/cat|{x}", pattern("/srv/[a-z]+")), ""),
    # RX307
    "files for everybody": (run("/bin/df", more=", umask: '000'"), "RX307"),
    "files for the group": (run("/bin/df", more=", umask: '002'"), "RX307"),
    "files that others may read": (run("/bin/df", more=", umask: '022'"), ""),
    # RX309 to RX311
    "little memory": (run("/bin/df", more=", limits: {memory: 65535KiB}"), "RX309"),
    "enough memory": (run("/bin/df", more=", limits: {memory: 64MiB}"), ""),
    "a sandbox that may write to its program": (
        run("/opt/app/bin/x", more=", sandbox: {write: [/opt/app/]}"),
        "RX310",
    ),
    "a sandbox that may write beside its program": (
        run("/usr/local/bin/x", more=", sandbox: {write: [/usr/local/bin2, /var/lib/app]}"),
        "",
    ),
    "a sandbox that may write what is ours": (run("/bin/x", more=", sandbox: {write: [/var/lib]}"), "RX310"),
    "a sandbox that may write a part of it": (
        run("/bin/x", more=", sandbox: {write: [/etc/rexecd/policy.d/a.yaml]}"),
        "RX310",
    ),
    "a sandbox without its program": (run("/opt/x", more=", sandbox: {read: [/opt/y]}"), "RX311"),
    "a sandbox with its program": (run("/opt/x", more=", sandbox: {read: [/opt/x]}"), ""),
    "a sandbox that leaves files open": (run("/opt/x|{x}", FILE, more=", sandbox: {network: none}"), ""),
    "a sandbox without a path": (run("/bin/x|{x}", FILE, more=", sandbox: {read: [/etc]}"), "RX311"),
    "a sandbox with a part of a path": (run("/bin/x|{x}", FILE, more=", sandbox: {write: [/srv/a]}"), ""),
    "a sandbox with all of a path": (run("/bin/x|{x}", FILE, more=", sandbox: {read: [/]}"), ""),
    "a sandbox without a descriptor": (
        run("/bin/x|{x}", "x: {type: path, under: [/srv], pass: descriptor}", more=", sandbox: {read: []}"),
        "",
    ),
    # RX305
    "a variable that loads code": (run("/bin/df", more=", environment: {PYTHONPATH: /opt}"), "RX305"),
    "a variable that starts a program": (run("/bin/df", more=", environment: {PAGER: less}"), "RX305"),
    "a pager that is none": (run("/bin/df", more=", environment: {PAGER: cat, SYSTEMD_PAGER: ''}"), ""),
    "another variable": (run("/bin/df", more=", environment: {LANG: C}"), ""),
    "options of make": (run("/bin/df", more=", environment: {MAKEFLAGS: '--eval=x'}"), "RX305"),
    "settings of git": (run("/bin/df", more=", environment: {GIT_CONFIG_SYSTEM: /srv/git}"), "RX305"),
    "a name for git": (run("/bin/df", more=", environment: {GIT_AUTHOR_NAME: ann}"), ""),
    "a script of one version": (run("/bin/df", more=", environment: {LUA_INIT_5_3: x}"), "RX305"),
    "a variable of a family that is none": (run("/bin/df", more=", environment: {LUAPATH: x}"), ""),
    "keys of less": (run("/bin/df", more=", environment: {LESSKEY: /srv/keys}"), "RX305"),
    "settings of curl": (run("/bin/df", more=", environment: {CURL_HOME: /srv}"), "RX305"),
    "settings of kubectl": (run("/bin/df", more=", environment: {KUBECONFIG: /srv/kube}"), "RX305"),
    "a switch of python": (run("/bin/df", more=", environment: {PYTHONUNBUFFERED: '1'}"), ""),
    "programs of everybody": (run("/bin/df", more=", environment: {PATH: '/tmp:/usr/bin'}"), "RX305"),
    "programs of the system": (run("/bin/df", more=", environment: {PATH: '/opt/app/bin:/usr/bin'}"), ""),
    "a home of everybody": (run("/bin/df", more=", environment: {HOME: /tmp}"), "RX305"),
    "a home of one's own": (run("/bin/df", more=", environment: {HOME: /srv/app}"), ""),
    "a place for files that do not last": (run("/bin/df", more=", environment: {TMPDIR: /tmp}"), ""),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), RULES.values(), ids=RULES.keys())
def test_a_rule_gets_these_codes_and_no_others(body: str, expected: str) -> None:
    """One command alone, with a timeout, that somebody may run."""
    assert expected.split() == codes(make({"c": body}))


def test_every_code_is_given_by_some_test() -> None:
    """A code nobody can get would be a promise without a policy behind it."""
    given_ = {code for _, expected in RULES.values() for code in expected.split()}
    named = set(re.findall(r'"(RX[0-9]{3})"', Path(__file__).read_text(encoding="utf-8")))

    assert set(CODES) == (given_ | named) & set(CODES)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_program_on_the_list_counts(name: str) -> None:
    """Given a free text that may begin with '-', each of them is found, and said to be known."""
    assert {"RX106", "RX100"} & set(codes(make({"c": run(f"/usr/bin/{name}|{{x}}", DASHED)})))


def test_a_complaint_about_a_program_is_passed_on() -> None:
    """Lint looks at no file: what is wrong with one is handed in, also for one behind a wrapper."""
    policy = make({"c": run("/usr/bin/nice|/opt/a"), "d": run("/opt/b")})
    facts = SILENT._replace(programs={"/opt/a": "'/opt/a' not found", "/usr/bin/nice": None, "/opt/b": None})

    assert {"/usr/bin/nice", "/opt/a", "/opt/b"} == programs_of(policy)
    assert [("RX104", True), ("RX107", False)] == [(f.code, "nice" in f.message) for f in lint(policy, facts)]


def test_a_program_found_by_its_name_is_not_asked_about() -> None:
    """Which file `env bash` starts is not written in the policy."""
    assert {"/usr/bin/env"} == programs_of(make({"c": run("/usr/bin/env|bash|/opt/a")}))


def test_a_program_in_a_container_is_not_asked_about() -> None:
    """It is another machine's, as far as files go, and so are its scripts."""
    policy = make({"c": run("/usr/bin/docker|exec|a|/bin/ash|-c|ls")})
    facts = SILENT._replace(programs={"/bin/ash": "'/bin/ash' not found"})

    assert {"/usr/bin/docker"} == programs_of(policy)
    assert ["RX101"] == codes(policy, facts)


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "/usr/bin/python3|-I|/opt/a.py|/opt/b": {"/opt/a.py"},
        "/usr/bin/env|bash|/opt/a": {"/opt/a"},
        "/usr/bin/awk|-f|/opt/a.awk|/srv/a": {"/opt/a.awk"},
        "/usr/bin/psql|--file=/opt/a.sql": {"/opt/a.sql"},
        "/usr/bin/make|-f/opt/Makefile": {"/opt/Makefile"},
        "/usr/bin/crontab|/opt/tab": {"/opt/tab"},
        "/usr/bin/python3|-c|/opt/a.py": set(),
        "/usr/bin/python3|a.py": set(),
        "/usr/bin/python3|/dev/stdin": set(),
        "/usr/bin/awk|/opt/": set(),
        "/bin/bash|/bin/bash": set(),
        "/bin/cat|/opt/a.py": set(),
    }.items(),
)
def test_the_files_of_scripts_are_asked_about(words: str, expected: set[str]) -> None:
    """Who can change one decides what runs; a text is no file, and a program is asked about as one."""
    assert expected == scripts_of(make({"c": run(words)}))


@pytest.mark.parametrize(
    ("complaint", "expected"), [("'/opt/a.py' not found", ["RX102", "RX107"]), (None, ["RX102"])]
)
def test_a_complaint_about_a_script_is_passed_on(complaint: str | None, expected: list[str]) -> None:
    """As one about a program is."""
    policy = make({"c": run("/usr/bin/python3|/opt/a.py")})

    assert expected == codes(policy, SILENT._replace(programs={"/opt/a.py": complaint}))


def test_a_directory_that_is_not_there_is_found() -> None:
    """Lint looks at none: which are missing is handed in, as they are written."""
    body = run("/bin/df|{x}", "x: {type: path, under: [/srv/, /var]}", more=", working_directory: /opt")
    policy = make({"c": body})
    nothing, all_ = (SILENT._replace(missing=frozenset(each)) for each in ((), ("/srv/", "/opt")))

    assert {"/srv/", "/var", "/opt"} == directories_of(policy)
    assert ([], ["RX206", "RX306"]) == (codes(policy, nothing), codes(policy, all_))


def test_a_directory_of_everybodys_in_a_variable_is_found() -> None:
    """Which are is handed in, as far as programs look for something there."""
    policy = make(
        {"c": run("/bin/df", more=", environment: {PATH: '/opt/bin:/bin', HOME: /srv, TMPDIR: /var}")}
    )
    facts = SILENT._replace(shared=frozenset({"/opt/bin", "/srv", "/var"}))

    assert {"/", "/opt/bin", "/bin", "/srv"} == directories_of(policy)
    assert ["'HOME'", "'PATH'"] == sorted(
        re.findall("'[A-Z]+'", finding.message)[0] for finding in lint(policy, facts)
    )


@pytest.mark.parametrize(("passed", "expected"), [("argument", ["RX203"]), ("descriptor", [])])
def test_a_directory_of_everybodys_is_found(passed: str, expected: list[str]) -> None:
    """Which are is handed in, as they are written."""
    policy = make({"c": run("/bin/df|{x}", f"x: {{type: path, under: [/srv/, /opt], pass: {passed}}}")})

    assert expected == codes(policy, SILENT._replace(shared=frozenset({"/srv/"})))
    assert [] == codes(policy, SILENT._replace(shared=frozenset({"/"})))


def test_a_sandbox_that_opens_what_is_not_there_is_found() -> None:
    """Files and directories are handed in as the others are."""
    policy = make({"c": run("/bin/df", more=", sandbox: {read: [/etc/app.conf], write: [/srv/a/]}")})
    facts = SILENT._replace(missing=frozenset({"/etc/app.conf", "/srv/a/"}))

    assert {"/", "/etc/app.conf", "/srv/a/"} == directories_of(policy)
    assert ([], ["RX312", "RX312"]) == (codes(policy), codes(policy, facts))


@pytest.mark.parametrize(("ceiling", "expected"), [(None, []), (7200.0, []), (3600.0, ["RX308"])])
def test_a_timeout_that_the_settings_cut_is_found(ceiling: float | None, expected: list[str]) -> None:
    """Where the ceiling is known; the default that nobody wrote is cut in silence."""
    text = "version: 1\nprincipals: {a: {roles: [r]}}\nroles: {r: {allow: ['*']}}\ncommands:\n"
    text += "  long: {summary: S, run: /bin/df, timeout: 2h}\n"
    policy = load(text, "p", defaults=Defaults(max_timeout=ceiling))
    brief = load(text.replace(", timeout: 2h", ""), "p", defaults=Defaults(max_timeout=1.0))

    assert (expected, ["RX301"]) == (codes(policy), codes(brief))


def test_a_large_policy_is_looked_at_quickly() -> None:
    """Twice the names take about twice the time, and not four times."""

    def took(count: int) -> float:
        policy = make({f"group{at % 50}.job{at}.run": run("/bin/df") for at in range(count)})
        times = []
        for _ in range(3):
            start = time.process_time()
            lint(policy, SILENT)
            times.append(time.process_time() - start)
        return min(times)

    assert took(2000) < 8 * took(500)


def test_a_rule_without_a_timeout_is_found() -> None:
    """The default counts only if it was chosen."""
    text = "version: 1\nprincipals: {a: {roles: [r]}}\nroles: {r: {allow: [c]}}\n"
    policy = load(text + "commands:\n  c: {summary: S, run: /bin/df}\n", "p")

    assert [
        Finding(
            Place("p", 5, 3), "RX301", "no 'timeout', so it is ended after 1m; write how long it may take"
        )
    ] == list(lint(policy, SILENT))


def as_user(policy: Policy, uid: int) -> Policy:
    """Return the policy with all its rules run as a user."""
    identity = Identity("name", uid, uid, ())
    rules = {name: replace(rule, identity=identity) for name, rule in policy.rules.items()}
    return replace(policy, rules=rules)


@pytest.mark.parametrize(
    ("parameter", "uid", "expected"),
    [
        (TEXT, 0, ["RX302"]),
        (WORD, 0, ["RX302"]),
        (ANYTHING, 0, ["RX302"]),
        (PATTERN, 0, []),
        (CHOICE, 0, []),
        (FILE, 0, []),
        (TEXT, 1000, []),
    ],
)
def test_root_takes_nothing_open(parameter: str, uid: int, expected: list[str]) -> None:
    """Text and words are left to users that can do less."""
    assert expected == codes(as_user(make({"c": run("/bin/df|{x}", parameter)}), uid))


def test_a_rule_nobody_may_run_is_found() -> None:
    """Neither a role nobody holds nor a denied name lets anybody in."""
    policy = make(
        {"web.up": run("/bin/df"), "web.off": run("/bin/df")},
        roles="{all: {allow: ['web.*'], deny: [web.off]}}",
    )

    assert [("RX303", 6)] == [(finding.code, finding.place.line) for finding in lint(policy, SILENT)]


@pytest.mark.parametrize(
    ("rule", "principal", "expected"),
    [
        ("[10.0.0.0/8]", "[192.168.0.0/16]", ["RX303"]),
        ("[10.0.0.0/8]", "['fd00::/8']", ["RX303"]),
        ("[10.0.0.0/8]", "[10.1.0.0/16, 192.168.0.0/16]", []),
        ("[10.1.0.0/16]", "[10.0.0.0/8]", []),
    ],
)
def test_a_rule_that_no_address_reaches_is_found(rule: str, principal: str, expected: list[str]) -> None:
    """The networks of a rule and of those who may run it have to meet somewhere."""
    policy = make(
        {"c": run("/bin/df", more=f", from: {rule}")},
        principals=f"{{ann: {{roles: [all], from: {principal}}}}}",
    )

    assert expected == codes(policy)


def test_a_rule_from_some_networks_and_a_principal_from_anywhere_meet() -> None:
    """No `from` is any address."""
    assert [] == codes(make({"c": run("/bin/df", more=", from: [10.0.0.0/8]")}))


def test_a_role_nobody_holds_is_found() -> None:
    """It stands at the role."""
    found = lint(make({"c": run("/bin/df")}, roles="{all: {allow: [c]}, old: {allow: [c]}}"), SILENT)

    assert [("RX401", 3)] == [(finding.code, finding.place.line) for finding in found]


def test_tokens_and_principals_have_to_fit() -> None:
    """A principal without a token stands at its place, a token without a principal at the beginning."""
    policy = make({"c": run("/bin/df")}, principals="{ann: {roles: [all]}, bob: {roles: [all]}}")
    found = lint(policy, SILENT._replace(token_principals=frozenset({"ann", "old"})))

    assert [("RX403", Place("p", 1, 1), "'old'"), ("RX402", policy.principals["bob"].place, "'bob'")] == [
        (finding.code, finding.place, re.findall("'[a-z]+'", finding.message)[0]) for finding in found
    ]


@pytest.mark.parametrize("tokens", [None, frozenset({"ann"})])
def test_fitting_and_unknown_tokens_are_no_finding(tokens: frozenset[str] | None) -> None:
    """Without a store nothing is known, and nothing is said."""
    assert [] == codes(make({"c": run("/bin/df")}), SILENT._replace(token_principals=tokens))


def test_a_token_without_any_policy_is_found() -> None:
    """Even where there is no file to point at."""
    assert ["RX403"] == codes(NO_POLICY, SILENT._replace(token_principals=frozenset({"ann"})))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("service.stop", "service.step"),
        ("backup", "backups"),
        ("mount", "umount"),
        ("restart", "restatr"),
        ("web.restart", "web.restrt"),
        ("disk_usage", "disk_usege"),
        ("service", "service.stop"),
    ],
)
def test_names_that_are_easily_mistaken_are_found(one: str, other: str) -> None:
    """One letter more, less or another, two swapped, or one the beginning of the other."""
    assert ["RX404"] == codes(make({one: run("/bin/df"), other: run("/bin/df")}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("disk1", "disk2"),
        ("node-a", "node-b"),
        ("db.up", "db.cp"),
        ("start", "stop"),
        ("service-a", "servicea"),
        ("service", "services2.stop"),
        ("list.disks", "list.disc"),
    ],
)
def test_names_that_differ_enough_are_not_found(one: str, other: str) -> None:
    """Numbers and short words are told apart on purpose."""
    assert [] == codes(make({one: run("/bin/df"), other: run("/bin/df")}))


def test_of_two_names_that_are_alike_the_later_one_is_named() -> None:
    """There it can be silenced, and the message says what it is like."""
    (found,) = lint(make({"backups": run("/bin/df"), "backup": run("/bin/df")}), SILENT)

    assert 6 == found.place.line
    assert "'backups'" in found.message


LETTERS = st.text("abs1-", min_size=1, max_size=7).filter(
    lambda name: re.fullmatch("[abs1][abs1-]*", name) is not None
)


@settings(max_examples=25, deadline=None)
@given(st.sets(LETTERS, min_size=2, max_size=12))
def test_finding_alike_names_quickly_finds_them_all(names: set[str]) -> None:
    """The quick way over shortened names finds what looking at every pair of two does."""
    found = codes(make({f"{name}": run("/bin/df") for name in sorted(f"x{name}" for name in names)}))
    pairs = itertools.combinations(sorted(f"x{name}" for name in names), 2)

    assert sum(len(codes(make({name: run("/bin/df") for name in pair}))) for pair in pairs) == len(found)


@pytest.mark.parametrize(
    ("roles", "expected"),
    {
        "{all: {allow: [a.x, a.y], deny: [a.y]}}": ["RX406", "RX303"],
        "{all: {allow: ['a.*'], deny: [a.y]}}": ["RX303"],
        "{all: {allow: [a.x], deny: [a.y]}, other: {allow: [a.y]}}": ["RX303", "RX401", "RX406"],
    }.items(),
)
def test_a_term_that_changes_nothing_is_found(roles: str, expected: list[str]) -> None:
    """One that the same role denies, and a denial of what nobody with the role has."""
    found = codes(make({"a.x": run("/bin/df"), "a.y": run("/bin/df")}, roles=roles))

    assert sorted(expected) == sorted(found)


def test_a_denial_counts_for_the_other_roles_of_its_holders() -> None:
    """Deny beats allow over all roles, so it takes something here."""
    policy = make(
        {"a.x": run("/bin/df"), "a.y": run("/bin/df")},
        roles="{all: {allow: ['*']}, less: {allow: [a.x], deny: [a.y]}}",
        principals="{ann: {roles: [all, less]}, bob: {roles: [all]}}",
    )

    assert [] == codes(policy)


def test_a_file_without_an_end_is_found_at_its_last_line() -> None:
    """Where it is, the caller says."""
    place = Place("p", 9, 1)
    (found,) = lint(make({"c": run("/bin/df")}), SILENT._replace(open_ended=(place,)))

    assert (place, "RX501") == (found.place, found.code)


def test_what_is_silenced_is_not_found() -> None:
    """All findings of that code at that rule, and no others."""
    shell = run("/bin/bash|-c|echo {x}", TEXT, more=", silence: {RX101: meant}")
    policy = make({"c": shell, "d": run("/bin/bash|/opt/a")})

    assert [("RX100", 5), ("RX101", 6)] == [(found.code, found.place.line) for found in lint(policy, SILENT)]


def test_what_is_silenced_for_nothing_is_found() -> None:
    """A code without a finding, one that does not exist, and lint's own, which cannot be silenced."""
    policy = make({"c": run("/bin/df", more=", silence: {RX101: a, RX901: b, RX998: c}")})
    found = lint(policy, SILENT)

    assert [("RX901", "'RX101'"), ("RX901", "'RX901'"), ("RX902", "'RX998'")] == [
        (finding.code, re.findall("'RX[0-9]+'", finding.message)[0]) for finding in found
    ]


def test_findings_come_in_the_order_of_their_places() -> None:
    """And at one place in the order of their codes, each once."""
    policy = make({name: run("/bin/bash|-c|{x} {x}", TEXT) for name in ("zulu", "alpha", "kilo")})
    found = lint(policy, SILENT)

    assert sorted(set(found)) == list(found)
    assert ["RX100", "RX101"] * 3 == [finding.code for finding in found]


def test_every_message_has_the_form_of_ours() -> None:
    """Lower case, no full stop at its end, and a remedy behind a semicolon (or it is one)."""
    found = [finding for body, _ in RULES.values() for finding in lint(make({"c": body}), SILENT)]

    assert [] == [f.message for f in found if f.message.endswith(".") or "; " not in f.message]
    assert [] == [f.message for f in found if f.message[0].isupper()]


def test_the_document_has_every_code() -> None:
    """One row each, with its name and its meaning, in the section of its first digit."""
    headings = {
        "RX1": "Programs",
        "RX2": "Parameters",
        "RX3": "Rules",
        "RX4": "Names and grants",
        "RX5": "Files",
        "RX9": "Lint itself",
    }
    rows = [
        (prefix, row[:3])
        for prefix, heading in headings.items()
        for table in document_tables("LINT.md", heading)
        for row in table
    ]

    assert [(code[:3], (code, entry.name, entry.meaning)) for code, entry in sorted(CODES.items())] == rows


def test_names_of_codes_are_unique() -> None:
    """Whoever speaks of 'wide-path' means one code."""
    assert len(CODES) == len({code.name for code in CODES.values()})


def test_the_variables_are_names_of_variables() -> None:
    """A slip in the table would find nothing."""
    assert [] == [name for name in VARIABLES if not re.fullmatch("[A-Z_][A-Z0-9_]*", name)]


def test_the_shipped_policy_gets_few_findings() -> None:
    """It is what operators start from."""
    text = (ROOT / "config/policy.yaml").read_text(encoding="utf-8")

    assert {"RX301", "RX404"} >= set(codes(load(text, "policy.yaml")))


def test_the_design_s_example_gets_only_just_findings() -> None:
    """Commands without a timeout, and nothing else."""
    policy = load(
        """
version: 1
principals:
  ci:      {roles: [deployer], from: [10.0.0.0/8, 127.0.0.0/8]}
  grafana: {roles: [viewer]}
roles:
  viewer:   {allow: [disk]}
  deployer: {allow: ["service.*"], deny: [service.stop]}
commands:
  disk:
    summary: Free space below one directory
    run: /usr/bin/df -h {path}
    parameters:
      path: {type: path, under: [/srv, /var], default: /var}
  service.restart:
    summary: Restart one of our services
    run: [/usr/bin/systemctl, restart, "{unit}"]
    parameters:
      unit: {type: choice, of: [nginx, postgresql]}
    timeout: 30s
  service.stop:
    summary: Stop one of our services
    run: [/usr/bin/systemctl, stop, "{unit}"]
    parameters: {unit: {type: choice, of: [nginx, postgresql]}}
""",
        "p",
    )

    assert [(10, "RX301"), (21, "RX301"), (21, "RX303")] == [
        (finding.place.line, finding.code) for finding in lint(as_user(policy, 0), SILENT)
    ]
