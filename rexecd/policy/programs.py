"""Programs that can start or change more than they seem to, and variables that make them.

Rule 1: the tables are facts of our own wording. To add a program: its name in the row of its sort,
or a row of its own where its options matter.
Rule 2: a name counts wherever the program lies, with or without a version: `/opt/bin/python3.11`.
"""

import enum
import posixpath
import re
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple


class Sort(enum.Enum):
    """What is to be feared of a program."""

    SHELL = "a shell"
    INTERPRETER = "an interpreter"
    EDITOR = "an editor or pager"
    #: It starts the program its arguments name.
    WRAPPER = "a wrapper"
    #: The same, as somebody else or elsewhere.
    PRIVILEGE = "a change of identity"
    #: It may start programs, or read and write files, as its arguments say.
    TOOL = "a tool"
    #: It changes the whole system, and a word is enough to say how.
    MANAGER = "a manager"
    #: Its first argument is the program's name, and nothing is wrong with that.
    MULTICALL = "many programs in one"


class First(enum.Enum):
    """What the first operand of a program is, where no option names a script."""

    #: The name of a file with a script.
    FILE = "a file"
    #: The script itself.
    TEXT = "a text"
    OTHER = "something else"


class Program(NamedTuple):
    """What is known of one program, or of several that are alike."""

    sort: Sort
    #: What it does, behind its name in a message.
    why: str
    #: How many operands stand before the program it starts; None: it starts none.
    skips: int | None = None
    #: Whether NAME=value may stand before operands.
    assigns: bool = False
    #: Whether what it starts is put together and read by a shell.
    joined: bool = False
    first: First = First.OTHER
    #: With at most so many operands standard input says what it does; None: it never does.
    fed: int | None = None
    #: Whether '-' among its arguments stands for standard input that says what it does.
    dash: bool = False
    #: Options that take the next argument as their value.
    valued: frozenset[str] = frozenset()
    #: Options whose value is a script, or the name of a file with one.
    scripts: frozenset[str] = frozenset()
    #: Options whose value says what to start, or where to write.
    risky: frozenset[str] = frozenset()
    #: Names, in small letters, of NAME=value in the value of such an option that say nothing of the kind.
    plain: frozenset[str] = frozenset()
    #: Words behind which the program it starts stands.
    marks: frozenset[str] = frozenset()
    #: Words that say what to do, so that standard input does not.
    told: frozenset[str] = frozenset()


def _row(
    sort: Sort,
    why: str,
    *,
    skips: int | None = None,
    assigns: bool = False,
    joined: bool = False,
    first: First = First.OTHER,
    fed: int | None = None,
    dash: bool = False,
    **words: str,
) -> Program:
    sets = {name: frozenset(text.split()) for name, text in words.items()}
    return Program(sort, why, skips, assigns, joined, first, fed, dash, **sets)


_shell = partial(_row, Sort.SHELL, "is a shell and runs whatever its text says", first=First.FILE, fed=0)
_reader = partial(
    _row, Sort.INTERPRETER, "is an interpreter and runs whatever its script says", first=First.FILE, fed=0
)
_editor = partial(_row, Sort.EDITOR, "is an editor: it opens other files and starts commands")
_pager = partial(_row, Sort.EDITOR, "is a pager: with a terminal it opens files and starts commands")
_starter = partial(_row, Sort.WRAPPER, "starts the program its arguments name")
_other = partial(_row, Sort.PRIVILEGE, "starts a program as another user or with other rights")
_tool = partial(_row, Sort.TOOL)
_manager = partial(_row, Sort.MANAGER)

#: More operands than anybody writes: whatever they are, standard input says what is done.
_ANY: Final = 1000

_ARCHIVE: Final = "starts programs for an archive and writes files wherever it says"
_REMOTE: Final = "starts commands, here for its options and there for its words"
_TRANSFER: Final = "sends and fetches files, where and from where its arguments say"
_SQL: Final = "runs statements, and some of them start programs or write files"
_KEYS: Final = "reads and writes any file, keys too, and loads code"
_INSTALLS: Final = "installs software, whose scripts run with its rights"
_LATER: Final = "makes the system start commands later"
_LOGINS: Final = "changes who may log in, and as what"
_HOSTS: Final = "starts containers and machines, which may hold all of this host"
_TO_COMMAND: Final = (
    "-I -F -C -f --to-command --use-compress-program --checkpoint-action --info-script --file"
)

_SSH_PLAIN: Final = (
    "user port hostname connecttimeout connectionattempts batchmode loglevel serveraliveinterval "
    "serveralivecountmax addressfamily compression"
)
_GIT_PLAIN: Final = "user.name user.email color.ui core.quotepath core.abbrev log.date init.defaultbranch"

#: Names, and what is known of them.
# fmt: off
ROWS: Final[tuple[tuple[str, Program], ...]] = (
    ("sh bash rbash dash ash ksh rksh mksh pdksh zsh rzsh csh tcsh fish yash posh elvish nu xonsh",
     _shell(scripts="-c --command", valued="-o -O --rcfile --init-file --init-command")),
    ("pwsh", _shell(scripts="-Command -command -c -File -file")),
    ("python pypy", _reader(scripts="-c -m", valued="-W -X -Q")),
    ("perl", _reader(scripts="-e -E", valued="-I -M -m")),
    ("ruby jruby irb", _reader(scripts="-e", valued="-I -r -C -E -F")),
    ("node nodejs deno bun", _reader(scripts="-e -p --eval --print", valued="-r --require --import")),
    ("php", _reader(scripts="-r -f -B -R -E --run --file", valued="-d -c -z")),
    ("lua luajit", _reader(scripts="-e", valued="-l")),
    ("tclsh wish", _reader(valued="-encoding")),
    ("expect", _reader(scripts="-c -f")),
    ("Rscript julia", _reader(scripts="-e -E")),
    ("guile sbcl", _reader(scripts="-c --eval --load")),
    ("java", _reader(scripts="-jar", valued="-cp -classpath --class-path")),
    ("awk gawk mawk nawk original-awk",
     _reader(scripts="-f -e --file --source", valued="-v -F --assign --field-separator", first=First.TEXT)),
    ("sed", _reader(scripts="-e -f --expression --file", valued="-l", first=First.TEXT)),
    ("ed red ex vi vim vim.basic vim.tiny vim.nox vim.gtk3 view rvim rview vimdiff nvim", _editor(fed=_ANY)),
    ("nano rnano pico emacs emacsclient joe jed mcedit micro hx", _editor()),
    ("editor sensible-editor visudo vipw", _editor()),
    ("less more most pg man pager sensible-pager", _pager()),
    ("env", _starter(valued="-u -C", scripts="-S --split-string", skips=0, assigns=True)),
    ("nohup setsid dbus-run-session eatmydata torsocks unbuffer", _starter(skips=0)),
    ("nice chpst cgexec", _starter(valued="-n -u -g", skips=0)),
    ("tini dumb-init catatonit chronic ifne fakeroot fakechroot proot",
     _starter(valued="-p -e -l -i", skips=0)),
    ("ld.so ld-linux.so.2 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 ld-musl-x86_64.so.1",
     _starter(valued="--library-path --preload --audit --argv0", skips=0)),
    ("logsave envdir setlock", _starter(skips=1)),
    ("hyperfine", _starter(valued="-w -r -m -M -n -s -p -c", skips=0, joined=True)),
    ("ionice choom", _starter(valued="-c -n -p -P -u", skips=0)),
    ("timeout", _starter(valued="-k -s --kill-after --signal", skips=1)),
    ("stdbuf", _starter(valued="-i -o -e", skips=0)),
    ("taskset chrt setarch faketime", _starter(valued="-T -P -D", skips=1)),
    ("flock", _starter(valued="-w -E", scripts="-c --command", skips=1)),
    ("xargs", _starter(valued="-a -d -E -I -L -n -P -s", skips=0, fed=_ANY, told="-a --arg-file")),
    ("find", _starter(marks="-exec -execdir -ok -okdir")),
    ("fd fdfind", _starter(marks="-x -X --exec --exec-batch")),
    ("parallel",
     _starter(valued="-a -j -S -n", skips=0, joined=True, fed=_ANY, told="-a --arg-file ::: ::::")),
    ("watch", _starter(valued="-n --interval", skips=0, joined=True)),
    ("time strace ltrace", _starter(valued="-e -o -f -p -s -E -u -a -P", skips=0)),
    ("perf valgrind prlimit", _starter(valued="-o -e -p --pid", skips=0)),
    ("gdb lldb",
     _starter(scripts="-ex -x --eval-command -o --one-line", skips=0, fed=_ANY, told="-batch --batch")),
    ("script", _starter(scripts="-c --command", valued="-T -O -I -B", fed=_ANY)),
    ("run-parts start-stop-daemon", _starter(scripts="-x -a --exec --startas")),
    ("systemd-run", _starter(valued="-p -u -E -M -H --uid --unit", skips=0)),
    ("ssh-agent rlwrap", _starter(valued="-a -t -f", skips=0)),
    ("tmux screen", _starter(valued="-L -S -f -t -s")),
    ("sudo", _other(valued="-u -g -h -p -C -D -r -t -T -U", skips=0, assigns=True)),
    ("doas pkexec", _other(valued="-u -C --user", skips=0)),
    ("su", _other(valued="-s -g -G -w", scripts="-c --command", skips=1, fed=1)),
    ("runuser", _other(valued="-u -g -G -s", marks="-c --command", skips=0)),
    ("chroot", _other(valued="--userspec --groups", skips=1, fed=1)),
    ("unshare", _other(valued="-R -w -S -G --root --wd", skips=0, fed=0)),
    ("nsenter", _other(valued="-t -S -G --target", skips=0, fed=0)),
    ("setpriv", _other(valued="--reuid --regid --groups --securebits", skips=0)),
    ("capsh", _other(marks="-c")),
    ("sg", _other(scripts="-c", skips=1, joined=True, fed=1)),
    ("newgrp", _other(fed=1)),
    ("run0", _other(valued="-u -g -D -M --user --group --unit", skips=0)),
    ("gosu su-exec s6-setuidgid setuidgid", _other(skips=1)),
    ("schroot lxc-attach", _other(valued="-c -u -d -n", marks="--")),
    ("bwrap firejail", _other()),
    ("tar bsdtar gtar",
     _tool(_ARCHIVE, risky=_TO_COMMAND,
           valued="-b -g -H -K -L -N -T -V -X --directory --files-from --exclude")),
    ("cpio pax ar rpm2cpio", _tool(_ARCHIVE, risky="-D -I -F")),
    ("zip unzip 7z 7za 7zr", _tool(_ARCHIVE, risky="-TT -d")),
    ("rsync",
     _tool(_REMOTE, risky="-e --rsh --rsync-path --log-file", valued="-B -f -M -T --exclude --include")),
    ("ssh autossh",
     _tool(_REMOTE, risky="-o -F -E -L -R -D -J", plain=_SSH_PLAIN,
           valued="-B -b -c -e -I -i -l -M -m -O -P -p -Q -S -W -w",
           skips=1, joined=True, fed=1, told="-N -n -f -O -Q -V -W")),
    ("mosh", _tool(_REMOTE)),
    ("sshpass", _starter(valued="-f -d -p -P", skips=0)),
    ("git hg svn",
     _tool(_REMOTE, risky="-c -C --upload-pack --receive-pack --exec-path", plain=_GIT_PLAIN)),
    ("scp", _tool(_TRANSFER, risky="-o -F -S -D -J -i", plain=_SSH_PLAIN, valued="-c -l -P -X")),
    ("sftp",
     _tool(_TRANSFER, risky="-o -F -S -D -J -i", plain=_SSH_PLAIN, valued="-B -c -l -P -R -s -X",
           scripts="-b", fed=1)),
    ("curl",
     _tool(_TRANSFER, risky="-o -T --output --output-dir --upload-file", scripts="-K --config",
           valued="-A -b -c -C -d -D -e -E -F -h -H -m -P -Q -r -t -u -U -w -x -X -y -Y -z")),
    ("wget aria2c tftp", _tool(_TRANSFER, risky="-o -O -K -T -P --output --config")),
    ("lftp ftp", _tool(_TRANSFER, risky="-o", scripts="-c -e -f", valued="-u -p", fed=_ANY)),
    ("nc ncat netcat socat telnet", _tool(_TRANSFER, risky="-e -c")),
    ("sqlite3",
     _tool(_SQL, risky="-cmd", scripts="-init", valued="-separator -newline -nullvalue -vfs", fed=1)),
    ("psql",
     _tool(_SQL, risky="-c -o --command --output", scripts="-f --file", fed=2,
           told="-c --command -l --list -V",
           valued="-d -h -p -U -v -F -P -R -T --dbname --host --port --username --set --variable")),
    ("mysql mariadb",
     _tool(_SQL, risky="-e --execute --init-command", fed=1, told="-e --execute -V",
           valued="-D -h -P -S -u --database --host --port --socket --user")),
    ("mongo mongosh",
     _tool(_SQL, risky="--eval", scripts="-f --file", valued="-p -u --host --port", fed=1, told="--eval")),
    ("redis-cli",
     _tool(_SQL, risky="-c -e", scripts="--eval", valued="-a -h -i -n -p -r -s -u", fed=0, told="-x -X")),
    ("tcpdump tshark dumpcap", _tool("writes captures and starts a program for each", risky="-z -w -r -Z")),
    ("openssl gpg", _tool(_KEYS, risky="-in -out -engine -provider --output")),
    ("cp mv ln install dd tee truncate shred rm",
     _tool("writes or removes what it is told to", risky="-t --target-directory")),
    ("chmod chown chgrp setfacl setcap", _tool("changes who may use the files its arguments name")),
    ("make gmake ninja",
     _tool("runs whatever its makefile says", risky="-C --directory", scripts="-f --file --makefile --eval")),
    ("crontab", _tool(_LATER, risky="-u", first=First.FILE, fed=0, told="-l -r -e")),
    ("at batch", _tool(_LATER, scripts="-f", valued="-q -t", fed=_ANY, told="-l -d -r -c -V")),
    ("mount umount losetup", _tool("puts other files in the place of these", risky="-o -t")),
    ("sysctl modprobe insmod iptables nft ip tc", _tool("changes the kernel for everybody", dash=True)),
    ("iptables-restore ip6tables-restore", _tool("changes the kernel for everybody", fed=_ANY)),
    ("ansible ansible-playbook salt puppet",
     _tool("runs whatever its modules say", risky="-a -e -m -i", dash=True)),
    ("journalctl", _tool("shows messages in a pager and reads any journal", risky="-D --directory --file")),
    ("apt apt-get aptitude dpkg dnf yum rpm zypper pacman apk snap flatpak brew", _manager(_INSTALLS)),
    ("pip pipx uv npm npx yarn pnpm gem bundle cargo go composer cpan", _manager(_INSTALLS)),
    ("docker docker-compose podman nerdctl ctr crictl lxc incus", _manager(_HOSTS, dash=True)),
    ("kubectl oc helm machinectl systemd-nspawn", _manager(_HOSTS, dash=True)),
    ("virsh", _manager(_HOSTS, valued="-c", fed=0)),
    ("systemctl service initctl rc-service", _manager("starts, stops and changes what runs on this machine")),
    ("useradd usermod userdel groupadd passwd chsh",
     _manager(_LOGINS, valued="-s -c -d -g -G -u -p -e --shell --comment --home --gid --groups --uid")),
    ("chpasswd newusers", _manager(_LOGINS, fed=_ANY)),
    ("busybox toybox", _row(Sort.MULTICALL, "is many programs in one", skips=0)),
)

_opener = partial(_row, Sort.TOOL, "opens the files its operands name")
#: Programs that open what their operands name, behind so many others. Most stand here for that alone.
_OPENING: Final[tuple[tuple[str, Program], ...]] = (
    ("cat tac nl rev od xxd hexdump strings base64 base32 fold column paste", _opener(skips=0)),
    ("join comm cmp diff wc sort uniq cksum md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum",
     _opener(skips=0)),
    ("zcat bzcat xzcat gzip gunzip bzip2 xz zstd file ls dir tree less more most", _opener(skips=0)),
    ("touch mkdir rmdir unlink", _opener(skips=0)),
    ("head tail", _opener(valued="-n -c -s --lines --bytes --sleep-interval --pid", skips=0)),
    ("cut", _opener(valued="-b -c -d -f", skips=0)),
    ("grep egrep fgrep zgrep",
     _opener(scripts="-e -f --regexp --file", valued="-A -B -C -d -D -m --context --max-count", skips=1)),
    ("sed", _opener(scripts="-e -f --expression --file", valued="-l", skips=1)),
    ("awk gawk mawk", _opener(scripts="-f -e --file --source", valued="-v -F", skips=1)),
)

# fmt: on

#: Programs that change every file their operands name, and those that change the last one.
WRITERS: Final = frozenset(
    {"tee", "truncate", "shred", "rm", "rmdir", "unlink", "touch", "mkdir", "sponge", "patch", "mv"}
).union({"chmod", "chown", "chgrp", "setfacl", "setcap"})
COPIERS: Final = frozenset({"cp", "ln", "link", "install", "rsync", "scp"})
#: Options of programs above behind which stands what is written.
WRITING: Final = frozenset(
    {"-o", "-O", "-P", "-t", "-w", "-out", "--output", "--output-dir", "--target-directory", "--log-file"}
)
#: Programs that tell of a file no more than that it is there, and what it is like.
LOOKERS: Final = frozenset(
    {"df", "du", "stat", "ls", "mountpoint", "findmnt", "test", "realpath", "readlink"}
)
OPENERS: Final = MappingProxyType({name: program for names, program in _OPENING for name in names.split()})
PROGRAMS: Final = MappingProxyType({name: program for names, program in ROWS for name in names.split()})

_STARTED: Final = (
    "PAGER MANPAGER GIT_PAGER SYSTEMD_PAGER EDITOR VISUAL SUDO_EDITOR SYSTEMD_EDITOR GIT_EDITOR GIT_SSH "
    "GIT_SSH_COMMAND GIT_ASKPASS SSH_ASKPASS GIT_EXTERNAL_DIFF GIT_PROXY_COMMAND GIT_SEQUENCE_EDITOR "
    "BROWSER LESSOPEN LESSCLOSE SUDO_ASKPASS RSYNC_RSH CVS_RSH GIT_EXEC_PATH TAR_OPTIONS SHELL MAKEFLAGS "
    "GNUMAKEFLAGS MAKEFILES PSQL_PAGER PSQL_EDITOR PSQLRC VIMINIT EXINIT GVIMINIT MYVIMRC SVN_SSH HGEDITOR "
    "RSYNC_CONNECT_PROG RUSTC_WRAPPER LESSKEY LESSKEYIN LESSKEY_SYSTEM LESSKEYIN_SYSTEM LESSKEY_CONTENT "
    "MANOPT SSH_SK_HELPER SSH_PKCS11_HELPER SCREENRC"
)
_LOADED: Final = (
    "PERL5OPT PERL5LIB PERLLIB PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT LOCPATH RUBYOPT RUBYLIB "
    "NODE_OPTIONS NODE_PATH LUA_PATH LUA_CPATH PHPRC PHP_INI_SCAN_DIR JAVA_TOOL_OPTIONS _JAVA_OPTIONS "
    "CLASSPATH AWKPATH GCONV_PATH GLIBC_TUNABLES HOSTALIASES OPENSSL_CONF OPENSSL_MODULES GIT_CONFIG_GLOBAL "
    "GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS GIT_TEMPLATE_DIR PERL5DB LUA_INIT DOTNET_STARTUP_HOOKS "
    "ERL_FLAGS R_PROFILE R_PROFILE_USER GCC_EXEC_PREFIX COMPILER_PATH PYTHONBREAKPOINT NODE_EXTRA_CA_CERTS "
    "JDK_JAVA_OPTIONS MAVEN_OPTS ERL_AFLAGS ERL_ZFLAGS ERL_LIBS R_ENVIRON R_LIBS JULIA_LOAD_PATH "
    "GUILE_LOAD_PATH TCLLIBPATH AWKLIBPATH FPATH OPENSSL_ENGINES GEM_PATH BUNDLE_GEMFILE GOFLAGS CURL_HOME "
    "WGETRC SYSTEM_WGETRC KUBECONFIG AWS_CONFIG_FILE ANSIBLE_CONFIG HGRCPATH LIBMYSQL_PLUGINS PGSYSCONFDIR "
    "PIP_CONFIG_FILE NPM_CONFIG_USERCONFIG GTK_MODULES GIO_EXTRA_MODULES QT_PLUGIN_PATH"
)
_SHELLS: Final = "BASH_ENV ENV ZDOTDIR PROMPT_COMMAND IFS SHELLOPTS BASHOPTS PS4 CDPATH"
#: Families of variables, most of which make their programs load or start something.
PREFIXES: Final = ("GIT_", "LUA_", "NODE_", "PERL", "PYTHON", "RUBY")
#: Of these families, and harmless.
PLAIN_VARIABLES: Final = frozenset(
    {"GIT_TERMINAL_PROMPT", "GIT_OPTIONAL_LOCKS", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES"}
    | {f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")}
    | {"NODE_ENV", "NODE_NO_WARNINGS", "NODE_DISABLE_COLORS", "NODE_DEBUG", "PERL_UNICODE", "PERL_HASH_SEED"}
    | {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUTF8"}
    | {"PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHONOPTIMIZE", "PYTHONFAULTHANDLER", "PYTHONDEVMODE"}
)
#: Variables of the environment, and what programs do with them.
VARIABLES: Final = MappingProxyType(
    dict.fromkeys(_STARTED.split(), "names what other programs start")
    | dict.fromkeys(_LOADED.split(), "says what is loaded into programs")
    | dict.fromkeys(_SHELLS.split(), "changes how shells start and read")
)

_VERSION: Final = re.compile(r"-?[0-9][0-9.]*\Z")


def find(path: str) -> Program | None:
    """Return what is known of a program by the last part of its path, or None."""
    name = posixpath.basename(path)
    return PROGRAMS.get(name) or PROGRAMS.get(_VERSION.sub("", name))
