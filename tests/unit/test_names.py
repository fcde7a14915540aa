"""What names may look like."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.limits import MAX_NAME
from rexecd.names import COMMAND, PARAMETER, PRINCIPAL, VARIABLE, is_name

FORMS = (PRINCIPAL, COMMAND, PARAMETER, VARIABLE)
GOOD = [
    (PRINCIPAL, "ci"),
    (PRINCIPAL, "grafana-eu"),
    (PRINCIPAL, "ann@example.org"),
    (PRINCIPAL, "0"),
    (PRINCIPAL, "A" * MAX_NAME),
    (COMMAND, "disk"),
    (COMMAND, "service.restart"),
    (COMMAND, "a.b.c-d_e.0"),
    (PARAMETER, "unit"),
    (PARAMETER, "_x1"),
    (VARIABLE, "LC_ALL"),
]
BAD = [
    (PRINCIPAL, ""),
    (PRINCIPAL, "-ci"),
    (PRINCIPAL, ".ci"),
    (PRINCIPAL, "ci\n"),
    (PRINCIPAL, "c i"),
    (PRINCIPAL, "caf\u00e9"),
    (PRINCIPAL, "A" * (MAX_NAME + 1)),
    (COMMAND, "Disk"),
    (COMMAND, "service."),
    (COMMAND, ".restart"),
    (COMMAND, "a..b"),
    (COMMAND, "a/b"),
    (COMMAND, "--help"),
    (COMMAND, "disk\x00"),
    (PARAMETER, "1st"),
    (PARAMETER, "a-b"),
    (PARAMETER, "\u0661"),
    (VARIABLE, "A=B"),
]


@pytest.mark.parametrize(("form", "text"), GOOD)
def test_a_name_in_form_is_one(form: re.Pattern[str], text: str) -> None:
    """The names people want are names."""
    assert is_name(form, text)


@pytest.mark.parametrize(("form", "text"), BAD)
def test_a_name_out_of_form_is_none(form: re.Pattern[str], text: str) -> None:
    """Whatever would need quoting somewhere is not a name."""
    assert not is_name(form, text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMS), st.text(max_size=MAX_NAME + 2))
def test_every_name_is_plain_ascii_and_no_option(form: re.Pattern[str], text: str) -> None:
    """A name can stand in records, file names and terminals as it is."""
    if is_name(form, text):
        assert text.isascii()
        assert text.isprintable()
        assert text[0] not in "-."
        assert not set(text) & set(" /\\'\"$`;|&<>*?[]{}()~#!=")
