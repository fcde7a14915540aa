"""A strict reader of OpenMetrics text, as far as we write it: after the specification, not our writer."""

import re
from typing import NamedTuple

_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? ([^ ]+)")
_ONE_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_SUFFIXES = {
    "counter": {"_total"},
    "gauge": {""},
    "histogram": {"_bucket", "_count", "_sum"},
    "info": {"_info"},
}
#: Of the older form, where the suffix is part of the name.
_OLD_SUFFIXES = {"counter": {""}, "gauge": {""}, "histogram": {"_bucket", "_count", "_sum"}}


class Read(NamedTuple):
    """What stands in a text: each sample by its name and labels, the kinds by family."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    kinds: dict[str, str]

    def value(self, name: str, **labels: str) -> float:
        """Return the number of one sample."""
        return self.samples[name, frozenset(labels.items())]

    def has(self, name: str, **labels: str) -> bool:
        """Return whether there is such a sample."""
        return (name, frozenset(labels.items())) in self.samples


def read(text: str, *, old: bool = False) -> Read:
    """Return what stands in a text; an AssertionError says what is wrong with it."""
    assert text.endswith("\n")
    lines = text.split("\n")[:-1]
    if not old:
        assert lines.pop() == "# EOF"
    found = Read({}, {})
    suffixes = _OLD_SUFFIXES if old else _SUFFIXES
    family, about, seen = "", set[str](), set[str]()
    for line in lines:
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            if name != family:
                assert name not in seen, f"{name} stands in two places"
                family, about = name, set()
                seen.add(name)
            assert word not in about, line
            about.add(word)
            if word == "TYPE":
                assert rest in suffixes, line
                found.kinds[name] = rest
            elif word == "UNIT":
                assert not old
                assert name.endswith(f"_{rest}")
            else:
                assert word == "HELP"
                assert rest
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        name = match[1]
        assert name.startswith(family), line
        assert name.removeprefix(family) in suffixes[found.kinds[family]], line
        labels = frozenset((label, _plain(value)) for label, value in _ONE_LABEL.findall(match[2] or ""))
        assert (name, labels) not in found.samples, f"twice: {line}"
        found.samples[name, labels] = float(match[3])
    for name, kind in found.kinds.items():
        if kind == "histogram":
            _check_histogram(found, name)
        if kind == "counter" and old:
            assert name.endswith("_total")
    return found


def _plain(text: str) -> str:
    return re.sub(r"\\.", lambda match: _UNESCAPED[match[0]], text)


def _check_histogram(found: Read, name: str) -> None:
    """Buckets do not fall, and the last one has all."""
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (sample, labels), value in found.samples.items()
        if sample == f"{name}_bucket"
    )
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[-1] == (float("inf"), found.value(f"{name}_count"))
