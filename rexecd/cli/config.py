"""`rexecd config`: what is in effect, as YAML that can be read again, and what may be written."""

import argparse
import json
from typing import Final

from rexecd import yamltext
from rexecd.cli import say
from rexecd.forms import Schema, document_schema, value_of
from rexecd.settingkeys import SETTINGS
from rexecd.settings import Settings, load_settings, show_settings
from rexecd.yamltext import Faults

_URI: Final = "urn:rexecd:schema:{}:1"


def show(arguments: argparse.Namespace) -> int:
    """Print the settings in effect, or the policy in one piece."""
    settings = load_settings(arguments.config)
    text = _show_policy(settings) if arguments.what == "policy" else show_settings(settings)
    say.out(_as_json(text) if arguments.json else text)
    return 0


def _show_policy(settings: Settings) -> str:
    from rexecd.policyfiles import show_policy  # noqa: PLC0415 - settings are shown without the code that decides

    return show_policy(settings.policy)


def _as_json(text: str) -> str:
    """Return what a YAML text of ours says as JSON, which is YAML again."""
    faults = Faults()
    node = yamltext.parse(text, "config", faults)
    faults.check()
    return json.dumps(value_of(node), indent=2)


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of the policy or the settings; no file is read."""
    made = policy_schema() if arguments.what == "policy" else settings_schema()
    say.out(json.dumps(made, indent=2))
    return 0


def settings_schema() -> Schema:
    """Return the schema of `rexecd.yaml`."""
    return document_schema(SETTINGS, uri=_URI.format("settings"), title="settings of rexecd")


def policy_schema() -> Schema:
    """Return the schema of `policy.yaml`."""
    from rexecd.policy.tables import POLICY  # noqa: PLC0415 - as in _show_policy

    return document_schema(POLICY, uri=_URI.format("policy"), title="policy of rexecd")
