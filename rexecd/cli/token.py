"""The operator's verbs on tokens: create, import, mint, list, rotate, revoke, purge."""

import argparse
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rexecd.cli import say
from rexecd.cli.operate import change
from rexecd.cli.owner import act_as_owner
from rexecd.errors import ConfigError
from rexecd.files import write_file
from rexecd.identity.store import Store
from rexecd.identity.tokens import TokenRecord, mint, spell_digest
from rexecd.policy.model import NO_POLICY
from rexecd.seam import messages as seam
from rexecd.settings import load_settings

_PRIVATE: Final = 0o600


def create(arguments: argparse.Namespace) -> int:
    """Make a token and print it: the only time it can be seen."""
    made = change(arguments, seam.CreateToken(arguments.principal, *_terms(arguments)))
    _hand_out(made)
    say.note("rexecd", f"token {made['id']} for {made['principal']}, {_life(made)}: it is not shown again")
    return 0


def take(arguments: argparse.Namespace) -> int:
    """Accept a token that was made elsewhere, by its digest."""
    done = change(arguments, seam.ImportToken(arguments.principal, *_terms(arguments), arguments.digest))
    state = "is known now" if done["is_new"] else "was known already, and is as it was"
    say.out(f"rexecd: token {done['id']} of {done['principal']} {state}, {_life(done)}")
    return 0


def make(arguments: argparse.Namespace) -> int:
    """Make a token without any server: the token for its holder, its digest for `token import`."""
    if arguments.is_digest_only and arguments.out is None:
        raise ConfigError("--digest-only: say with --out FILE where the token itself goes")
    minted = mint(secrets.token_bytes)
    digest = spell_digest(minted.token_id, minted.digest)
    if arguments.out is not None:
        _create(arguments.out)
        write_file(arguments.out, f"{minted.text}\n".encode(), mode=_PRIVATE)
    elif not arguments.is_digest_only:
        say.out(minted.text)
        say.note("rexecd", f"for 'rexecd token import NAME': {digest}")
        return 0
    if not arguments.is_digest_only:
        say.note("rexecd", f"the token is in {arguments.out}; for 'rexecd token import NAME':")
    say.out(digest)
    return 0


def rotate(arguments: argparse.Namespace) -> int:
    """Make a token in place of another and print it; the old one goes on for a while."""
    changes = arguments.lifetime is not None
    question = seam.RotateToken(arguments.token_id, arguments.overlap, changes, arguments.lifetime or 0)
    made = change(arguments, question)
    _hand_out(made)
    say.note(
        "rexecd",
        f"token {made['id']} for {made['principal']}, {_life(made)}: it is not shown again; "
        f"{made['replaces']} is good until {made['until']}",
    )
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    """End a token at once, or all of a principal."""
    question = seam.RevokeTokens(arguments.token_id or "", arguments.principal or "")
    # A token can always be ended, whatever state the policy is in.
    ended = change(arguments, question, policy=NO_POLICY)
    for token_id in ended["ids"]:
        say.out(f"rexecd: token {token_id} of {ended['principal']} is revoked")
    if ended["count"] > len(ended["ids"]):
        say.out(f"rexecd: and {ended['count'] - len(ended['ids'])} more")
    return 0


def purge(arguments: argparse.Namespace) -> int:
    """Forget tokens that have been revoked or expired for some time."""
    gone = change(arguments, seam.PurgeTokens(arguments.age), policy=NO_POLICY)
    ids = gone["ids"] + ["..."] * (gone["count"] > len(gone["ids"]))
    which = f": {', '.join(ids)}" if ids else ""
    say.out(f"rexecd: {say.count(gone['count'], 'token')} forgotten{which}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Show every token's public side."""
    settings = load_settings(arguments.config)
    act_as_owner(settings.state)
    with Store(settings.tokens) as store:
        records = sorted(store.records().values(), key=lambda record: record.created)
    now = datetime.now(UTC)
    rows = [_row(record, now) for record in records]
    if arguments.json:
        say.out(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        say.out(_line(row))
    return 0


def _hand_out(made: dict[str, Any]) -> None:
    """Print a new token; where that fails nobody has it, but it is there, and that is said."""
    try:
        say.out(str(made["token"]))
    except OSError:
        what = "was made and could not be printed: nobody has it"
        say.error("rexecd", f"token {made['id']} {what}", f"end it: rexecd token revoke {made['id']}")
        raise


def _create(path: Path) -> None:
    """Make an empty file where none is; raise ConfigError."""
    try:
        path.touch(mode=_PRIVATE, exist_ok=False)
    except FileExistsError:
        raise ConfigError(f"{path}: already there, and never overwritten: choose another FILE") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None


def _terms(arguments: argparse.Namespace) -> tuple[int, tuple[str, ...], tuple[str, ...], str]:
    networks, only = tuple(arguments.networks or ()), tuple(arguments.only or ())
    return arguments.lifetime, networks, only, arguments.note


def _life(answer: dict[str, Any]) -> str:
    return f"good until {answer['expires']}" if answer["expires"] else "good for ever"


def _row(record: TokenRecord, now: datetime) -> dict[str, Any]:
    """Return a token as `--json` shows it."""
    terms, used = record.terms, record.used
    return {
        "id": record.token_id,
        "principal": record.principal,
        "state": record.flaw(now) or "good",
        "created": _spell(record.created),
        "expires": _spell(terms.expires),
        "revoked": _spell(record.revoked),
        "last_used": _spell(used and used.when),
        "last_address": used and used.address,
        "from": list(map(str, terms.networks)),
        "only": list(terms.only),
        "note": terms.note,
    }


def _line(row: dict[str, Any]) -> str:
    """Return a token as a line for people."""
    state = {
        "good": f"good until {row['expires']}" if row["expires"] else "good",
        "expired": f"expired {row['expires']}",
        "revoked": f"revoked {row['revoked']}",
    }[row["state"]]
    used = f"used {row['last_used']} from {row['last_address']}" if row["last_used"] else "never used"
    parts = [row["id"], f"{row['principal']:<20}", f"created {row['created']}", state, used]
    if row["from"]:
        parts.append(f"from {', '.join(row['from'])}")
    if row["only"]:
        parts.append(f"only {', '.join(row['only'])}")
    if row["note"]:
        parts.append(f"({row['note']})")
    return "  ".join(parts)


def _spell(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat(timespec="seconds")
