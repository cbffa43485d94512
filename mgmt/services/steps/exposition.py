"""The text format of Prometheus for metrics.

https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. Without timestamps, which the textfile
collector of the node exporter refuses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name, with the unit; `counter` or `gauge`; what it means; and its values by labels."""

    name: str
    kind: str
    meaning: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str | None) -> None:
        """Add a value. A label that is None is an empty one, which to Prometheus is no label."""
        self.samples.append(({name: text or "" for name, text in labels.items()}, value))


def text_of(metrics: Iterable[Metric]) -> str:
    """The metrics as the format has them, each with its HELP and TYPE."""
    lines = []
    for metric in metrics:
        meaning = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {metric.name} {meaning}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            named = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{{{named}}} {value!r}" if named else f"{metric.name} {value!r}")
    return "".join(f"{line}\n" for line in lines)


def escaped(text: str) -> str:
    """The value of a label: backslash, quote and line feed are escaped, and what is not UTF-8 is shown as `\\xff`."""
    known = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return known.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
