"""Conditions under which an option has an effect, stated in tables beside the options and evaluated by `config`.

    attention_size:  when("attention", "additive", "scaled-dot")
    dropout_between: when("encoder_layers", Above(1)) | when("decoder_layers", Above(1))
    freeze_vectors:  when("vectors", SET)

A condition names other options of the same task, or facts of a training run that are no options (`FACTS`). It is a list of
alternatives; each is a list of tests that must all hold. A fact that is not known yet counts as one that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    "ALWAYS",
    "FACTS",
    "SET",
    "UNSET",
    "Above",
    "Condition",
    "Not",
    "Requirement",
    "Shown",
    "conditions",
    "flag",
    "never",
    "when",
]

#: Facts of a training run that options depend on, and how they are shown: where they hold, and where they do not.
FACTS = {
    "valid": ("--valid", "held-out data of the training data (no --valid)"),
    "probe": ("--probe", "no --probe"),
    "start": ("--from", "no --from"),
    "processes": ("several processes (torchrun)", "one process"),
    "frames": ("recordings that are frames (.npy, .npz)", "recordings that are sound"),
    "own_encoder": ("an encoder of your own", "an encoder by its name"),
    "check": ("`unrolled check`", "`unrolled train`"),
}


class Above(NamedTuple):
    """A number larger than `limit`."""

    limit: float


class Not(NamedTuple):
    """Any value but this one."""

    value: Any


class Shown(NamedTuple):
    """This value; need: what messages say instead of "--option value"."""

    value: Any
    need: str


class _Set(NamedTuple):
    """An option that is given: not None, 0, empty or off. wanted: whether it has to be."""

    wanted: bool


SET, UNSET = _Set(True), _Set(False)


def flag(option: str) -> str:
    """Return the command-line flag of an option: --hidden-size."""
    return f"--{option.replace('_', '-')}"


class Requirement(NamedTuple):
    """A test of the value of one option: whether it is, or fits, one of those `wanted`."""

    option: str
    wanted: tuple[Any, ...]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether the value is as wanted; True for a fact that is not among `values`."""
        return self.option not in values or any(_fits(values[self.option], wanted) for wanted in self.wanted)

    def need(self) -> str:
        """Return what would make it hold, as flags."""
        name, first = flag(self.option), self.wanted[0]
        if isinstance(first, Shown):
            return first.need
        if self.option in FACTS:
            return FACTS[self.option][0 if first else 1]
        if isinstance(first, bool):
            return name if first else f"--no-{name[2:]}"
        if isinstance(first, _Set):
            return name if first.wanted else f"no {name}"
        if isinstance(first, Above):
            return f"{name} above {first.limit:g}"
        if isinstance(first, Not):
            return f"another {name}"
        return f"{name} {' or '.join(map(str, self.wanted))}"

    def reason(self, values: Mapping[str, Any]) -> str:
        """Return what keeps it from holding: "with --attention dot"."""
        value, name = values[self.option], flag(self.option)
        if self.option in FACTS:
            return f"with {FACTS[self.option][0 if value else 1]}"
        if value is True or UNSET in self.wanted:
            return f"with {name}"
        if not value and not isinstance(value, str):
            return f"without {name}"
        return f"with {name} {value}"


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Shown):
        return value == wanted.value
    if isinstance(wanted, _Set):
        return bool(value) == wanted.wanted
    if isinstance(wanted, Above):
        return value is not None and value > wanted.limit
    return value != wanted.value if isinstance(wanted, Not) else value == wanted


@dataclass(frozen=True)
class Condition:
    """When an option has an effect: if all tests of one of the alternatives hold. why: what is said if there are none."""

    alternatives: tuple[tuple[Requirement, ...], ...]
    why: str = ""

    def __or__(self, other: Condition) -> Condition:
        return Condition(self.alternatives + other.alternatives, self.why or other.why)

    def __and__(self, other: Condition) -> Condition:
        both = tuple(one + two for one in self.alternatives for two in other.alternatives)
        return Condition(both, self.why or other.why)

    def unmet(self, values: Mapping[str, Any]) -> str | None:
        """Return why the option has no effect with these values of options and facts, and what it needs; None if it has."""
        failed = [[test for test in tests if not test.holds(values)] for tests in self.alternatives]
        if not all(failed):
            return None
        if not failed:
            return f" {self.why}"
        fewest = min(map(len, failed))
        nearest = [tests for tests in failed if len(tests) == fewest]
        reasons = {test.option: test.reason(values) for tests in nearest for test in tests}
        needs = dict.fromkeys(" and ".join(test.need() for test in tests) for tests in nearest)
        return f" {' and '.join(reasons.values())} (requires {', or '.join(needs)})"


#: The condition of an option that always has an effect.
ALWAYS = Condition(((),))


def when(option: str, *wanted: Any) -> Condition:
    """Return the condition that an option has one of these values, or fits SET, UNSET, Above(1) or Not("none")."""
    return Condition(((Requirement(option, wanted),),))


def never(why: str) -> Condition:
    """Return the condition of an option that a task inherits and has no use for; `why` is a clause of the message."""
    return Condition((), why)


def conditions(
    *tables: Mapping[str, Condition], also: Mapping[Iterable[str], Condition] | None = None
) -> dict[str, Condition]:
    """Join tables of conditions by option: where several name one, all must hold. also: conditions of several options."""
    spread = [{option: condition} for options, condition in (also or {}).items() for option in options]
    found: dict[str, Condition] = {}
    for table in (*tables, *spread):
        for option, condition in table.items():
            found[option] = found[option] & condition if option in found else condition
    return found
