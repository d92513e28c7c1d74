"""Words with their times as subtitles: SubRip (.srt), WebVTT (.vtt), or lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unrolled.tasks.transcript import Word

__all__ = ["Cue", "cues", "srt", "vtt"]

#: Letters of a line, lines of a cue, seconds of a cue, and the pause that ends one.
_LETTERS, _LINES, _SECONDS, _PAUSE = 42, 2, 6.0, 0.8
#: A cue stays to be read at least so long, if nothing follows.
_LEAST = 1.0


class Cue(NamedTuple):
    """Lines that are shown from begin to end, in seconds."""

    begin: float
    end: float
    lines: list[str]


def cues(words: Sequence[Word]) -> list[Cue]:
    """Words in order -> cues of at most two lines of 42 letters and six seconds, which pauses end."""
    groups = list(_groups(words))
    found = []
    for i, group in enumerate(groups):
        following = groups[i + 1][0].begin if i + 1 < len(groups) else float("inf")
        end = min(max(group[-1].end, group[0].begin + _LEAST), max(following, group[-1].end))
        found.append(Cue(group[0].begin, end, _lines([word.text for word in group])))
    return found


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    group = list[Word]()
    for word in words:
        if group:
            paused = word.begin - group[-1].end > _PAUSE
            texts = [*(w.text for w in group), word.text]
            if paused or word.end - group[0].begin > _SECONDS or len(_filled(texts)) > _LINES:
                yield group
                group = []
        group.append(word)
    if group:
        yield group


def _filled(words: Sequence[str]) -> list[str]:
    """Words in lines, each as full as it can be."""
    lines = list[str]()
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= _LETTERS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _lines(words: Sequence[str]) -> list[str]:
    """Words in one line, or in two that are about as long as each other."""
    if len(_filled(words)) == 1:
        return _filled(words)
    halves = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    return list(min(halves, key=lambda two: max(map(len, two))))


def srt(words: Sequence[Word], first: int = 1) -> str:
    """A SubRip file, or a part of one, whose cues are numbered from `first` on."""
    parts = [
        f"{n}\n{_clock(cue.begin, ',')} --> {_clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for n, cue in enumerate(cues(words), start=first)
    ]
    return "\n".join(parts)


def vtt(words: Sequence[Word], first: int = 1) -> str:
    """A WebVTT file, or a part of one, which begins with cue `first`."""
    shown = [(cue, "\n".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in cue.lines)) for cue in cues(words)]
    return "\n".join(
        [
            *(["WEBVTT\n"] if first == 1 else []),
            *(f"{_clock(cue.begin, '.')} --> {_clock(cue.end, '.')}\n{text}\n" for cue, text in shown),
        ]
    )


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"
