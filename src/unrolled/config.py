"""Options: pydantic models with sections, read from TOML, presets, the environment and flags.

A default exists once, in the model's field. Leaf names are unique across sections, so that `hidden_size` can be a flag, a
key of `-s`, an environment variable UNROLLED_HIDDEN_SIZE and an entry under [model] in TOML.

Precedence: flag, environment, file, preset, default. Unknown keys are errors that name the nearest.

An option may be "auto": its value is derived from the data by `take_auto`. config.toml keeps "auto"; run.json and the
model's config.json keep the value that was taken, and resuming and loading use that.

The limits of a training run (`LIMITS`) replace each other: a command (flags and environment) that gives one of them
switches off those of the file, and a file those of the preset.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from unrolled.errors import ConfigError, nearest, unknown_name

__all__ = [
    "AUTO",
    "LIMITS",
    "Auto",
    "Leaf",
    "Options",
    "Section",
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
]


#: The value of an option that is derived from the data, and its type: `batch_size: Annotated[int, Field(ge=1)] | Auto`.
AUTO: Literal["auto"] = "auto"
Auto = Literal["auto"]

#: Options that end a training run: the first reached ends it.
LIMITS = ("minutes", "epochs", "max_steps")


class Section(BaseModel):
    """Base of all option models: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


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
    file: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> Options:
    """Put the layers together. `preset` and `flags` are flat (leaf name -> value), `file` has sections as TOML does,
    `settings` are written key=value.
    """
    section_of = {leaf.name: leaf.section for leaf in leaves(options)}
    tree: dict[str, dict[str, Any]] = {section: {} for section in options.model_fields}
    environment = {
        name: os.environ[f"UNROLLED_{name.upper()}"] for name in section_of if f"UNROLLED_{name.upper()}" in os.environ
    }
    limited_by_command = False
    for origin, layer in (
        ("preset", preset or {}),
        ("config file", _flatten(file or {}, section_of)),
        ("environment", environment),
        ("options", dict(map(parse_assignment, settings)) | dict(flags or {})),
    ):
        named: dict[str, Any] = {}
        for key, value in layer.items():
            section, _, name = key.replace("-", "_").rpartition(".")
            if name not in section_of or section not in ("", section_of[name]):
                raise ConfigError(f"{origin}: unknown key '{key}'.{nearest(name, section_of)}")
            named[name] = value
        if named.keys() & set(LIMITS) and not limited_by_command:
            limited_by_command = origin == "environment"
            for name in set(LIMITS) & section_of.keys():
                tree[section_of[name]].pop(name, None)
        for name, value in named.items():
            tree[section_of[name]][name] = value
    try:
        return options.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


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
                raise ConfigError(f"config file: unknown key '{key}' in [{section}].{nearest(key, here)}")
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
        lines.setdefault(name, f"{name}: {problem['msg']}, got {problem['input']!r}")
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
            raise unknown_name(what, key, kinds)
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
    """The options as TOML; options that are not set (None) are left out."""
    return tomli_w.dumps(options.model_dump(exclude_none=True))
