"""What was measured?

Samples by measure, tool and number of revisions, and the facts about the machine; kept as JSON, so that the report can be written
again without measuring again. Never rounds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Key(NamedTuple):
    """What a sample belongs to: the measure, the tool (or the part of a start), the number of revisions."""

    measure: str
    tool: str
    size: int


class Spread(NamedTuple):
    """Median and quartiles of a sample."""

    low: float
    median: float
    high: float


@dataclass
class Results:
    """Everything that one run found out. Times are seconds, memory is bytes."""

    machine: dict[str, str] = field(default_factory=dict)
    plan: dict[str, float] = field(default_factory=dict)
    samples: dict[Key, list[float]] = field(default_factory=dict)
    verified: dict[str, int] = field(default_factory=dict)
    """How many lines the catalog has that all tools arrived at, by number of revisions."""

    def add(self, measure: str, tool: str, size: int, value: float) -> None:
        """Add one value to a sample."""
        self.samples.setdefault(Key(measure, tool, size), []).append(value)

    def values(self, measure: str, tool: str, size: int) -> list[float]:
        """Return a sample, empty when it was not taken."""
        return self.samples.get(Key(measure, tool, size), [])

    def spread(self, measure: str, tool: str, size: int) -> Spread | None:
        """Return median and quartiles of a sample; None when it was not taken."""
        values = self.values(measure, tool, size)
        return spread(values) if values else None

    def median(self, measure: str, tool: str, size: int) -> float | None:
        """Return the median of a sample; None when it was not taken."""
        found = self.spread(measure, tool, size)
        return found.median if found else None

    def sizes(self, measure: str) -> list[int]:
        """Return the numbers of revisions that `measure` was taken at, smallest first."""
        return sorted({key.size for key in self.samples if key.measure == measure})

    def names(self, measure: str) -> list[str]:
        """Return the tools (or parts) that `measure` was taken of, in the order in which they came first."""
        return list(dict.fromkeys(key.tool for key in self.samples if key.measure == measure))

    def save(self, file: Path) -> None:
        """Write everything to `file`."""
        samples = [[*key, values] for key, values in self.samples.items()]
        whole = {"machine": self.machine, "plan": self.plan, "verified": self.verified, "samples": samples}
        file.write_text(json.dumps(whole, indent=1))

    @classmethod
    def load(cls, file: Path) -> Results:
        """Return what `save` wrote."""
        whole = json.loads(file.read_text())
        samples = {Key(measure, tool, size): values for measure, tool, size, values in whole["samples"]}
        return cls(whole["machine"], whole["plan"], samples, whole["verified"])


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))
