"""Metrics as text, in the two forms that are read: OpenMetrics 1.0, and Prometheus' older one (0.0.4).

The older one is for the textfile collector of the node exporter, which knows no other: there a counter is
typed under the name of its sample, an info is a gauge, and there are neither units nor an end.
Pure.
"""

import enum
import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple


class Form(enum.Enum):
    """Which of the two."""

    OPENMETRICS = enum.auto()
    PROMETHEUS = enum.auto()


class Kind(enum.Enum):
    """What a family is: its word in OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One number of a family; `suffix` goes behind the family's name."""

    value: float
    labels: Labels = ()
    suffix: str = ""


class Family(NamedTuple):
    """Everything of one name; of a counter without `_total`, of an info without `_info`."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]
    #: The name ends with it.
    unit: str = ""


_SUFFIXES: Final = {Kind.COUNTER: "_total", Kind.INFO: "_info"}


def counter(name: str, help_: str, samples: Iterable[Sample], *, unit: str = "") -> Family:
    """Return what only grows."""
    return Family(name, Kind.COUNTER, help_, tuple(each._replace(suffix="_total") for each in samples), unit)


def gauge(name: str, help_: str, samples: Iterable[Sample], *, unit: str = "") -> Family:
    """Return what goes up and down."""
    return Family(name, Kind.GAUGE, help_, tuple(samples), unit)


def info(name: str, help_: str, labels: Labels) -> Family:
    """Return what is text."""
    return Family(name, Kind.INFO, help_, (Sample(1, labels, "_info"),))


def histogram(name: str, help_: str, bounds: Iterable[float], counts: Iterable[int], total: float) -> Family:
    """Return how many fell between bounds, in seconds; there is one more of the counts, without a bound."""
    samples = []
    so_far = 0
    for bound, count in zip((*bounds, math.inf), counts, strict=True):
        so_far += count
        samples.append(Sample(so_far, (("le", _number(float(bound))),), "_bucket"))
    samples += [Sample(so_far, (), "_count"), Sample(total, (), "_sum")]
    return Family(name, Kind.HISTOGRAM, help_, tuple(samples), "seconds")


def render(families: Iterable[Family], form: Form) -> str:
    """Return the text of all families; a family without samples is left out."""
    lines = [line for family in families if family.samples for line in _lines(family, form)]
    end = ["# EOF"] if form is Form.OPENMETRICS else []
    return "\n".join([*lines, *end, ""])


def _lines(family: Family, form: Form) -> Iterator[str]:
    name, kind, help_ = family.name, family.kind.value, _escaped(family.help)
    if form is Form.PROMETHEUS:
        name += _SUFFIXES.get(family.kind, "")
        kind = Kind.GAUGE.value if family.kind is Kind.INFO else kind
        help_ = help_.replace('\\"', '"')
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"
    if family.unit and form is Form.OPENMETRICS:
        yield f"# UNIT {name} {family.unit}"
    for sample in family.samples:
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sample.labels)
        yield f"{family.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)
