"""Metrics as text: what is written is read again, in both forms."""

import math

from hypothesis import given
from hypothesis import strategies as st

from rexecd.monitor.exposition import Family, Form, Sample, counter, gauge, histogram, info, render
from tests.openmetrics import read

FAMILIES = [
    counter(
        "a_bytes", 'What "a" is:\nC:\\new.', [Sample(3, (("b", 'x"\\\ny'),)), Sample(2**70)], unit="bytes"
    ),
    gauge("b", "B.", [Sample(-1.5)]),
    info("c", "C.", (("version", "1"),)),
    histogram("d_seconds", "D.", [0.5, 1.0], [1, 0, 2], 7.25),
    gauge("nothing", "N.", []),
]


def test_the_form_of_openmetrics() -> None:
    """A counter's sample has a suffix that its name has not; the end is said."""
    assert (
        '# HELP a_bytes What \\"a\\" is:\\nC:\\\\new.\n'
        "# TYPE a_bytes counter\n"
        "# UNIT a_bytes bytes\n"
        'a_bytes_total{b="x\\"\\\\\\ny"} 3\n'
        "a_bytes_total 1180591620717411303424\n"
        "# HELP b B.\n"
        "# TYPE b gauge\n"
        "b -1.5\n"
        "# HELP c C.\n"
        "# TYPE c info\n"
        'c_info{version="1"} 1\n'
        "# HELP d_seconds D.\n"
        "# TYPE d_seconds histogram\n"
        "# UNIT d_seconds seconds\n"
        'd_seconds_bucket{le="0.5"} 1\n'
        'd_seconds_bucket{le="1.0"} 1\n'
        'd_seconds_bucket{le="+Inf"} 3\n'
        "d_seconds_count 3\n"
        "d_seconds_sum 7.25\n"
        "# EOF\n"
    ) == render(FAMILIES, Form.OPENMETRICS)  # fmt: skip


def test_the_older_form() -> None:
    """Names are those of the samples; what it does not know is left out, or a gauge."""
    assert (
        '# HELP a_bytes_total What "a" is:\\nC:\\\\new.\n'
        "# TYPE a_bytes_total counter\n"
        'a_bytes_total{b="x\\"\\\\\\ny"} 3\n'
        "a_bytes_total 1180591620717411303424\n"
        "# HELP b B.\n"
        "# TYPE b gauge\n"
        "b -1.5\n"
        "# HELP c_info C.\n"
        "# TYPE c_info gauge\n"
        'c_info{version="1"} 1\n'
        "# HELP d_seconds D.\n"
        "# TYPE d_seconds histogram\n"
        'd_seconds_bucket{le="0.5"} 1\n'
        'd_seconds_bucket{le="1.0"} 1\n'
        'd_seconds_bucket{le="+Inf"} 3\n'
        "d_seconds_count 3\n"
        "d_seconds_sum 7.25\n"
    ) == render(FAMILIES, Form.PROMETHEUS)  # fmt: skip


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_VALUE = st.one_of(st.integers(0, 2**53), st.floats(0, 1e12))


@given(st.dictionaries(st.tuples(_TEXT, _TEXT), _VALUE, min_size=1, max_size=8), _TEXT, st.sampled_from(Form))
def test_no_label_escapes_its_quotes(values: dict[tuple[str, str], float], about: str, form: Form) -> None:
    """Whatever stands in it is read as it was."""
    samples = [Sample(value, (("a", a), ("b", b))) for (a, b), value in values.items()]
    family: Family = counter("x", about or "X", samples)
    found = read(render([family], form), old=form is Form.PROMETHEUS)

    assert values == {
        (dict(labels)["a"], dict(labels)["b"]): value for (_, labels), value in found.samples.items()
    }


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0, 1e9))
def test_a_histogram_adds_up(counts: list[int], total: float) -> None:
    """The last bucket has all of them."""
    text = render([histogram("x_seconds", "X.", [0.1, 1.0, math.pi], counts, total)], Form.OPENMETRICS)
    found = read(text)

    assert sum(counts) == found.value("x_seconds_bucket", le="+Inf") == found.value("x_seconds_count")
    assert counts[0] == found.value("x_seconds_bucket", le="0.1")
    assert total == found.value("x_seconds_sum")
