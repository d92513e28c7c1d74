"""What is wrong with data, whatever the task: faults of several kinds, and how to tell of them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Fault", "Findings", "outliers", "rare_letters"]

#: Robust deviations of a logarithm from which it is an outlier, and the least that a deviation can be.
_OUTLIER, _LEAST_DEVIATION = 5.0, 0.05
#: Fewer values have no usual one.
_ENOUGH = 10


class Fault(NamedTuple):
    """What is wrong, where it stands, in which file, and how bad it is: larger is worse among faults of a kind."""

    kind: str
    place: str
    what: str
    size: float = 0.0
    file: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "file": self.file, "place": self.place, "what": self.what}


@dataclass
class Findings:
    """kinds: what each kind of fault is called; facts: what was looked at, name and value."""

    kinds: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def of(self, kind: str) -> list[Fault]:
        """The faults of a kind, the worst first."""
        return sorted((fault for fault in self.faults if fault.kind == kind), key=lambda fault: -fault.size)

    def to_json(self) -> dict[str, Any]:
        return {**self.facts, "faults": [fault.to_json() for kind in self.kinds for fault in self.of(kind)]}

    def table(self) -> str:
        """All faults as CSV."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["kind", "file", "place", "what"])
        for kind in self.kinds:
            rows.writerows([fault.kind, fault.file, fault.place, fault.what] for fault in self.of(kind))
        return text.getvalue()

    def lines(self, most: int) -> list[str]:
        """For people: what was looked at, and of each kind how many there are, and the worst."""
        rows = [f"{name.replace('_', ' '):<36}{_shown(value)}" for name, value in self.facts.items() if value]
        for kind, name in self.kinds.items():
            faults = self.of(kind)
            rows += [f"{name:<36}{len(faults):,}"] if faults else []
            for fault in faults[:most]:
                place = f"{fault.place}: " if fault.place else ""
                file = f"{fault.file}: " if fault.file and fault.file not in fault.what else ""
                rows.append(f"  {place}{file}{fault.what}")
        return rows if self.faults else [*rows, "nothing wrong was found"]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        most = list(value.items())[:8]
        more = f" and {len(value) - len(most)} more" if len(value) > len(most) else ""
        return ", ".join(f"{key} ({n:,})" for key, n in most) + more
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def outliers(values: Sequence[float]) -> list[tuple[int, float]]:
    """Which of positive values (n,) are far from the median, and by how many robust deviations of the logarithm."""
    if len(values) < _ENOUGH:
        return []
    logs = np.log(np.asarray(values, np.float64) + 1e-9)
    off = np.abs(logs - np.median(logs))
    deviation = max(1.4826 * float(np.median(off)), _LEAST_DEVIATION)
    return [(int(i), float(off[i] / deviation)) for i in np.flatnonzero(off > _OUTLIER * deviation)]


def rare_letters(texts: Iterable[str], places: Sequence[str]) -> list[Fault]:
    """Characters that stand in one text only, of more than one."""
    counts, where = Counter[str](), dict[str, int]()
    for i, text in enumerate(texts):
        counts.update(set(text))
        for letter in text:
            where.setdefault(letter, i)
    alone = sorted(letter for letter, n in counts.items() if n == 1) if len(places) > 1 else []
    return [Fault("rare", places[where[letter]], f"{letter!r} stands in no other text") for letter in alone]
