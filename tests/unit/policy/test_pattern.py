"""Patterns: the same answers as `re` on the shared subset, and no way to stall."""

import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.limits import MAX_PATTERN_POSITIONS, MAX_PATTERN_VALUE
from rexecd.policy.grammar import PatternError
from rexecd.policy.pattern import compile_pattern

MATCHES = {
    "a literal": ("nginx", ["nginx"], ["", "ngin", "nginxx", "Nginx", "nginx\n"]),
    "alternatives as a whole": ("start|stop", ["start", "stop"], ["start --evil", "xstop", "startstop"]),
    "an empty alternative": ("a(|b)", ["a", "ab"], ["b", "abb"]),
    "a class": ("[a-c_.-]+", ["abc", "-", "a.b_"], ["", "d", "a b"]),
    "a negated class": ("[^/]+", ["a b", "é"], ["a/b", "a\nb", "a\x7fb", "\x85"]),
    "any character": ("a.c", ["abc", "a c", "aéc"], ["a\nc", "a\tc", "a\u2028c", "ac"]),
    "digits, words, spaces": (r"\d\w\s", ["1a ", "0_ "], ["aa ", "1- ", "1a\t", "1a\n", "٣a "]),
    "their negations": (r"\D\W\S", ["a-b", " é."], ["1-b", "aab", "a- ", "\n-b"]),
    "classes in classes": (r"[\d\s.]+", ["1 .2"], ["a"]),
    "escapes": (r"\.\*\[\]\{\}\(\)\^\$\\\-", [".*[]{}()^$\\-"], ["a"]),
    "none or more": ("(ab)*", ["", "ab", "abab"], ["a", "aba"]),
    "once or more": ("(?:ab)+", ["ab", "abab"], ["", "aba"]),
    "optional": ("ab?", ["a", "ab"], ["abb"]),
    "an exact count": ("a{3}", ["aaa"], ["aa", "aaaa"]),
    "at least": ("a{2,}", ["aa", "aaaaa"], ["a", ""]),
    "between": ("(a|bc){1,2}", ["a", "bc", "abc", "bcbc"], ["", "aaa"]),
    "never": ("ab{0}c", ["ac"], ["abc"]),
    "nothing repeated": ("(){3}a()*", ["a"], ["", "aa"]),
    "beyond ASCII": ("[à-é]+", ["àé"], ["ê", "a"]),
}


@pytest.mark.parametrize("case", MATCHES)
def test_a_pattern_matches_whole_values(case: str) -> None:
    """Each form matches what it should and nothing else."""
    text, good, bad = MATCHES[case]
    pattern = compile_pattern(text)

    assert dict.fromkeys(good, True) == {value: pattern.is_match(value) for value in good}
    assert dict.fromkeys(bad, False) == {value: pattern.is_match(value) for value in bad}


@pytest.mark.parametrize("case", MATCHES)
def test_what_a_value_holds_a_pattern_can_hold(case: str) -> None:
    """Every part of a value that matches, where it stands."""
    text, good, _ = MATCHES[case]
    pattern = compile_pattern(text)
    for value in filter(None, good):
        for start, end in itertools.combinations(range(len(value) + 1), 2):
            is_first, is_last = not start, end == len(value)

            assert pattern.can_hold(value[start:end], first=is_first, last=is_last)


@pytest.mark.parametrize(
    ("text", "part", "first", "last", "expected"),
    [
        ("[a-z.]+(/[a-z.]+)*", "../", True, False, True),
        ("[a-z][a-z.]*(/[a-z][a-z.]*)*", "../", True, False, False),
        ("[a-z][a-z.]*(/[a-z][a-z.]*)*", "../", False, False, True),
        ("[a-z][a-z.]*(/[a-z][a-z.]*)*", "/..", False, True, False),
        ("[a-z]+/[.]+", "/..", False, True, True),
        ("v[0-9]+", "v", False, True, False),
        ("ab{0}c", "b", False, False, False),
        ("a|bc", "ab", False, False, False),
        ("(ab)+", "ba", False, False, True),
    ],
)
def test_a_pattern_says_what_its_values_can_hold(
    text: str, part: str, *, first: bool, last: bool, expected: bool
) -> None:
    """Anywhere, at the beginning or at the end, whatever stands around it."""
    assert expected is compile_pattern(text).can_hold(part, first=first, last=last)


REFUSED = {
    "an empty pattern": ("", 1, "empty pattern"),
    "an anchor in front": ("^a", 1, "always matches the whole value"),
    "an anchor behind": ("a$", 2, "always matches the whole value"),
    "a boundary": (r"\ba", 2, "only punctuation"),
    "the end in another spelling": (r"a\Z", 3, "only punctuation"),
    "looking ahead": ("a(?=b)", 2, "no lookaround"),
    "looking behind": ("(?<=a)b", 1, "no lookaround"),
    "a named group": ("(?P<n>a)", 1, "only groups"),
    "inline flags": ("(?i)a", 1, "no flags"),
    "a back reference": (r"(a)\1", 5, "only punctuation"),
    "a control escape": (r"a\n", 3, "only punctuation"),
    "a backslash at the end": ("a\\", 3, "only punctuation"),
    "lazy": ("a+?", 3, "repetition of a repetition"),
    "possessive": ("a++", 3, "repetition of a repetition"),
    "counted twice": ("a{2}{3}", 5, "repetition of a repetition"),
    "nothing to repeat": ("|*", 2, "nothing to repeat"),
    "nothing to count": ("{2}", 1, "nothing to repeat"),
    "a brace that counts nothing": ("a{,2}", 3, "a count is written"),
    "a brace left open": ("a{2", 4, "a count is written"),
    "a count backwards": ("a{3,2}", 6, "smaller than the first"),
    "a huge count": ("(){99999999999999999999}", 4, "a count is at most 512"),
    "a count of digits that are not ASCII": ("a{٣}", 3, "a count is written"),
    "a closing brace": ("a}", 2, "written '\\}'"),
    "a group left open": ("(a", 3, "'(' without ')'"),
    "a group never opened": ("a)", 2, "')' without '('"),
    "a class left open": ("[a", 3, "'[' without ']'"),
    "an empty class": ("[]", 2, "an empty class"),
    "a class of everything else": (r"[^\d\D]", 7, "matches nothing"),
    "a range backwards": ("[z-a]", 4, "ends before it begins"),
    "a range of classes": (r"[\d-z]", 5, "from one character to another"),
    "a bracket in a class": ("[[:alpha:]]", 2, "written '\\['"),
    "a line end": ("a\n", 2, "line end or control character"),
    "too many positions": ("(a{512}){2}", 1, "1024 positions"),
    "positions multiplied": ("((((a{99}){99}){99}){99}){99}", 1, "9509900499 positions"),
    "no position at all": ("(|)", 1, "0 positions"),
    "deep groups": ("(" * 17 + "a" + ")" * 17, 17, "nested deeper than 16"),
    "a long pattern": ("a" * 1025, 1, "longer than 1024"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_in_the_subset_is_refused_with_its_column(case: str) -> None:
    """Nothing is given another meaning in silence."""
    text, column, words = REFUSED[case]

    with pytest.raises(PatternError, match=re.escape(words)) as caught:
        compile_pattern(text)

    assert column == caught.value.column


def test_a_value_above_the_ceiling_never_matches() -> None:
    """The ceiling holds whatever the pattern says."""
    pattern = compile_pattern("a*")

    assert pattern.is_match("a" * MAX_PATTERN_VALUE)
    assert not pattern.is_match("a" * (MAX_PATTERN_VALUE + 1))


@pytest.mark.parametrize(
    "text",
    ["(a+)+", "(a|a)*", "(a|aa)+", "(.*a){20}", "((a?){16}){32}", "((a|a)*){256}", "(a*)*(a*)*(a*)*"],
)
def test_catastrophic_patterns_take_no_time(text: str) -> None:
    """What stalls a backtracking matcher for years is answered in well under a second."""
    pattern = compile_pattern(text)
    start = time.process_time()

    assert not pattern.is_match("a" * (MAX_PATTERN_VALUE - 1) + "!")
    assert 2.0 > time.process_time() - start


def test_the_largest_pattern_compiles() -> None:
    """The ceiling on positions is exact, and reaching it costs little."""
    assert compile_pattern("(a|b){256}").is_match("ab" * (MAX_PATTERN_POSITIONS // 4))


_ATOMS = st.sampled_from(
    ["a", "b", "c", "-", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\w", r"\W", r"\s", r"\.", "1"]
)
_COUNTS = st.sampled_from(["*", "+", "?", "{0}", "{2}", "{1,}", "{0,2}", "{2,3}"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.builds("({}{})".format, st.sampled_from(["", "?:"]), inner)
    return st.one_of(
        st.lists(inner, min_size=0, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("({})".format),
        st.builds("{}{}".format, groups | _ATOMS, _COUNTS),
    )


def _grouped(parts: list[str]) -> str:
    return "".join(f"(?:{part})" for part in parts)


PATTERNS = st.recursive(_ATOMS, _larger, max_leaves=6)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(PATTERNS, min_size=1, max_size=3).map(_grouped),
    st.lists(st.text("abc-1. ", max_size=6), max_size=8),
)
def test_a_pattern_answers_as_re_does(text: str, values: list[str]) -> None:
    """On the shared subset and printable ASCII both matchers agree."""
    try:
        pattern = compile_pattern(text)
    except PatternError:
        return
    expected = re.compile(text, re.ASCII)

    assert [bool(expected.fullmatch(v)) for v in values] == [pattern.is_match(v) for v in values]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # `re` may read '--' in a class otherwise some day
@settings(max_examples=400, deadline=None)
@given(st.text("ab01.*+?{},()[]|\\^$-:dwé\n", max_size=20), st.text("ab01.-", max_size=8))
def test_any_text_is_refused_or_means_what_it_means_to_re(text: str, value: str) -> None:
    """No text raises anything but PatternError, and no text means something else than in `re`."""
    try:
        pattern = compile_pattern(text)
    except PatternError:
        return

    assert bool(re.fullmatch(text, value, re.ASCII)) == pattern.is_match(value)


@pytest.mark.parametrize(
    "text",
    ["(a?){0,3}", "(a?b?){1,3}c", "(a*){0,2}b", "((a|b)?c){0,2}", "(a{0,2}b?){2,3}", "a{0,2}(b|c?){0,2}"],
)
def test_repetitions_of_what_may_be_empty_are_those_of_re(text: str) -> None:
    """Each copy follows only the one before; nothing is lost by that."""
    values = ["".join(letters) for size in range(6) for letters in itertools.product("abc", repeat=size)]
    pattern = compile_pattern(text)

    assert [value for value in values if re.fullmatch(text, value)] == list(filter(pattern.is_match, values))
