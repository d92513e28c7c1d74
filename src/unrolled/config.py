"""Options: pydantic models with sections, read from TOML, presets, the environment and flags.

A default exists once, in the model's field. Leaf names are unique across sections, so that `hidden_size` can be a flag, a
key of `-s`, an environment variable UNROLLED_HIDDEN_SIZE and an entry under [model] in TOML.

Precedence: flag, environment, file, preset, default. Unknown keys are errors that name the nearest.

An option may be "auto": its value is derived from the data by `take_auto`. config.toml keeps "auto"; run.json and the
model's config.json keep the value that was taken, and resuming and loading use that.

The limits of a training run (`LIMITS`) replace each other: a command (flags and environment) that gives one of them
switches off those of the file, and a file those of the preset.

Options that have no effect in the chosen configuration (`conditions`) are not accepted silently: a flag or a setting is a
UsageError, a value in a config file an error where it differs from the default, an environment variable a notice. What is
written to config.toml are the options that have an effect.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from unrolled.aliases import option_advice
from unrolled.conditions import Condition, flag
from unrolled.errors import ConfigError, UsageError, nearest, unknown_name
from unrolled.messages import describe_problem

__all__ = [
    "AUTO",
    "LIMITS",
    "Auto",
    "Leaf",
    "Options",
    "Section",
    "check_environment",
    "effective",
    "explain",
    "flat",
    "leaves",
    "parse_assignment",
    "preset_named",
    "read_toml",
    "resolve",
    "take_auto",
    "to_toml",
    "typed_settings",
    "with_facts",
]

#: Environment variables of the package that are no options.
_VARIABLES = frozenset({"CACHE", "DEBUG", "SERVE", "THREADS", "TOKEN"})
_PREFIX = "UNROLLED_"


#: The value of an option that is derived from the data, and its type: `batch_size: Annotated[int, Field(ge=1)] | Auto`.
AUTO: Literal["auto"] = "auto"
Auto = Literal["auto"]

#: Options that end a training run: the first reached ends it.
LIMITS = ("minutes", "epochs", "max_steps")


class Section(BaseModel):
    """Base of all option models: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    #: Of a model made of sections: when an option has an effect, by its name; an option that is not named always has.
    conditions: ClassVar[Mapping[str, Condition]] = {}

    #: By option the layer that its value came from, and what is known of the run (`with_facts`).
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _facts: dict[str, bool] = PrivateAttr(default_factory=dict)


class Leaf(NamedTuple):
    """One option: its section's name, its own name and pydantic's description of it."""

    section: str
    name: str
    field: FieldInfo


Options = TypeVar("Options", bound=Section)


def leaves(options: type[Section]) -> Iterator[Leaf]:
    """All options of a model made of sections."""
    for section, field in options.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        for name, leaf in kind.model_fields.items():
            yield Leaf(section, name, leaf)


def resolve(
    options: type[Options],
    *,
    preset: Mapping[str, Any] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    file: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    check_effects: bool = True,
) -> Options:
    """Put the layers together and refuse options that have no effect.

    Args:
        options: the model of all options of a task, made of sections.
        preset, flags: flat, by option. file: by section, as TOML has it. settings: written key=value.
        presets: all presets of the task: their values are no error in a config file, whichever preset is chosen.
        check_effects: False where the layers are not complete yet.

    Raises:
        ConfigError: for an unknown option or UNROLLED_* variable, a value that is not allowed, an option in a config file
            that has no effect.
        UsageError: for a flag or a setting that has no effect.
    """
    section_of = {leaf.name: leaf.section for leaf in leaves(options)}
    foreign = check_environment() - section_of.keys() - {name.lower() for name in _VARIABLES}
    layers = {
        "preset": preset or {},
        "config file": _flatten(file or {}, section_of),
        "environment": {name: os.environ[_variable(name)] for name in section_of if _variable(name) in os.environ},
        "options": dict(map(parse_assignment, settings)) | dict(flags or {}),
    }
    tree, origins = _merge(layers, section_of)
    try:
        found = options.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None
    if check_effects:
        _forget_usual(origins, tree, options, (preset or {}, *(presets or {}).values()))
        found._origins.update(origins)
        _refuse_idle(found, [f"{_variable(name)} (an option of another command)" for name in sorted(foreign)])
    return found


def _merge(
    layers: Mapping[str, Mapping[str, Any]], section_of: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the values by section and option, later layers over earlier ones, and the layer of each by option."""
    tree: dict[str, dict[str, Any]] = {section: {} for section in section_of.values()}
    origins: dict[str, str] = {}
    limited_by_command = False
    for origin, layer in layers.items():
        named: dict[str, Any] = {}
        for key, value in layer.items():
            section, _, name = key.replace("-", "_").rpartition(".")
            if name not in section_of or section not in ("", section_of[name]):
                raise ConfigError(f"{origin}: unknown key '{key}'.{option_advice(name, section_of)}")
            named[name] = value
        if named.keys() & set(LIMITS) and not limited_by_command:
            limited_by_command = origin == "environment"
            for name in set(LIMITS) & section_of.keys():
                tree[section_of[name]].pop(name, None)
        for name, value in named.items():
            tree[section_of[name]][name] = value
            origins[name] = origin
    return tree, origins


def _forget_usual(
    origins: dict[str, str],
    tree: Mapping[str, Mapping[str, Any]],
    options: type[Section],
    presets: Iterable[Mapping[str, Any]],
) -> None:
    """Forget the config file as origin of values that are defaults: of the option, or of a preset."""
    usual = {leaf.name: [leaf.field.default] for leaf in leaves(options)}
    for values in presets:
        for name, value in values.items():
            usual[name.replace("-", "_")].append(value)
    for name, value in flat(tree).items():
        if origins[name] == "config file" and value in usual[name]:
            del origins[name]


def with_facts(options: Options, facts: Mapping[str, bool]) -> Options:
    """Return the options with what is known of the run, as `conditions.FACTS` names it.

    Raises UsageError or ConfigError, as `resolve` does, for options that turn out to have no effect.
    """
    found = options.model_copy()
    found._facts = options._facts | dict(facts)
    _refuse_idle(found, [])
    return found


def _idle(options: Section) -> dict[str, str]:
    """Return why options have no effect, by name."""
    values = flat({section: dict(getattr(options, section)) for section in type(options).model_fields})
    values |= options._facts
    conditions = type(options).conditions
    unmet = {leaf.name: conditions[leaf.name].unmet(values) for leaf in leaves(type(options)) if leaf.name in conditions}
    return {name: why for name, why in unmet.items() if why is not None}


def _refuse_idle(options: Section, notes: list[str]) -> None:
    """Raise an error for options that were given and have no effect; print a notice for environment variables."""
    idle, origins = _idle(options), options._origins
    by_reason: dict[str, list[str]] = {}
    for name, why in idle.items():
        if origins.get(name) in ("options", "config file"):
            by_reason.setdefault(why, []).append(name)
    problems = [
        f"{', '.join(map(flag, names))} {'has' if len(names) == 1 else 'have'} no effect{why}."
        for why, names in by_reason.items()
    ]
    if any(origins[name] == "options" for names in by_reason.values() for name in names):
        raise UsageError("\n".join(problems) + "\nLeave out what has no effect, or change what it depends on.")
    if problems:
        raise ConfigError("config file: " + "\n".join(problems) + "\nRemove these lines, or change what they depend on.")
    notes = [f"{_variable(name)}{why}" for name, why in idle.items() if origins.get(name) == "environment"] + notes
    line = f"note: environment variables without effect here: {'; '.join(notes)}"
    if notes and line not in _PRINTED:
        _PRINTED.add(line)
        print(line, file=sys.stderr)


#: Notices that were printed: each is printed once.
_PRINTED: set[str] = set()


def effective(options: Section) -> dict[str, dict[str, Any]]:
    """Return the options that are set and have an effect, by section."""
    idle = _idle(options)
    tree = options.model_dump(exclude_none=True)
    found = {section: {k: v for k, v in values.items() if k not in idle} for section, values in tree.items()}
    return {section: values for section, values in found.items() if values}


def _variable(option: str) -> str:
    """Return the environment variable of an option: UNROLLED_HIDDEN_SIZE."""
    return f"{_PREFIX}{option.upper()}"


def _models(base: type[Section]) -> Iterator[type[Section]]:
    """Yield all option models, so that it is known which names of environment variables there are."""
    for model in base.__subclasses__():
        yield model
        yield from _models(model)


def check_environment() -> set[str]:
    """Return the names of options that UNROLLED_* variables set; ConfigError for a variable of an unknown name."""
    options = {
        name
        for model in _models(Section)
        for name, field in model.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section))
    }
    known = {*map(_variable, options), *(f"{_PREFIX}{name}" for name in _VARIABLES)}
    found = {variable for variable in os.environ if variable.startswith(_PREFIX)}
    unknown = sorted(found - known)
    if unknown:
        raise ConfigError(
            "\n".join(f"{variable}: unknown environment variable.{nearest(variable, known)}" for variable in unknown)
            + "\nUNROLLED_* names an option of a task or of `unrolled serve`, or is one of "
            + ", ".join(f"{_PREFIX}{name}" for name in sorted(_VARIABLES))
            + ". Rename it, or unset it."
        )
    return {variable.removeprefix(_PREFIX).lower() for variable in found} & options


def take_auto(options: Options, taken: Mapping[str, Any]) -> Options:
    """Return the options with the values of `taken`, by name, where they are "auto"; other options stay as they are."""
    changed: dict[str, Section] = {}
    for section in options.__class__.model_fields:
        values = getattr(options, section)
        own = {name: taken[name] for name in type(values).model_fields if getattr(values, name) == AUTO and name in taken}
        if own:
            changed[section] = type(values).model_validate(values.model_dump() | own)
    return options.model_copy(update=changed) if changed else options


def preset_named(name: str | None, presets: Mapping[str, Mapping[str, Any]], otherwise: str) -> Mapping[str, Any]:
    """The settings of a preset, of `otherwise` where none is named. ConfigError for a name that is not known."""
    if name is not None and name not in presets:
        raise unknown_name("preset", name, presets)
    return presets[name or otherwise]


def _flatten(file: Mapping[str, Any], section_of: Mapping[str, str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, entries in file.items():
        if section not in section_of.values() or not isinstance(entries, Mapping):
            known = sorted(set(section_of.values()))
            raise ConfigError(
                f"config file: unknown section [{section}]; known: {', '.join(known)}.{nearest(section, known)}"
            )
        for key, value in entries.items():
            if section_of.get(key) != section:
                here = [name for name, owner in section_of.items() if owner == section]
                advice = option_advice(key, here) or option_advice(key, section_of)
                raise ConfigError(f"config file: unknown key '{key}' in [{section}].{advice}")
            flat[key] = value
    return flat


def flat(tree: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Options by their names, without the sections."""
    return {key: value for section in tree.values() for key, value in section.items()}


def explain(error: ValidationError) -> str:
    """One line for each option that pydantic refused."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        at = problem["loc"]  # section, option, and for a union which of its types was tried
        name = str(at[min(1, len(at) - 1)]).replace("_", "-") if at else "options"
        lines.setdefault(name, f"{name}: got {problem['input']!r}, {describe_problem(problem)}")
    return "\n".join(lines.values())


def parse_assignment(text: str) -> tuple[str, Any]:
    """'hidden_size=300' -> ('hidden_size', 300); the value is TOML, and plain text where that is no TOML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"-s takes key=value, got '{text}'. Example: -s hidden_size=300")
    try:
        return key.strip(), tomllib.loads(f"v = {value.strip()}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def typed_settings(settings: Sequence[str], kinds: Mapping[str, type], what: str) -> dict[str, Any]:
    """`key=value` settings of which `kinds` names the types; ConfigError for an unknown name, `what` it is, or a value."""
    given: dict[str, Any] = {}
    for key, value in map(parse_assignment, settings):
        if key not in kinds:
            raise ConfigError(f"unknown {what} '{key}'; known: {', '.join(kinds)}.{option_advice(key, kinds)}")
        if isinstance(value, bool) or not isinstance(value, int | kinds[key]):
            wanted = {int: "a whole number", float: "a number"}.get(kinds[key], "a word")
            raise ConfigError(f"{key}: {wanted} is expected, got {value!r}")
        given[key] = kinds[key](value)
    return given


def read_toml(path: Path) -> dict[str, Any]:
    """Read a config file; raise ConfigError with file and line when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not utf-8 text at byte {error.start}; a config file is TOML.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not a TOML file: {error}.") from None


def to_toml(options: Section) -> str:
    """Return as TOML the options that are set (not None) and have an effect."""
    return tomli_w.dumps(effective(options))
