"""A recogniser that listens while sound is coming: every hundredth of a second of it is heard once.

stream = recognizer.stream()                         # of a model trained with --streaming
for samples in microphone:                           # float32 (N,) at the rate of the model, any N
    for line in stream.feed(samples):                # an utterance has ended: a pause
        print(line.text)
    print(stream.partial)                            # what has been heard since
last = stream.finish()

The steps of what is heard are those of the whole recording read at once, whatever the pieces (a test says so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.ctc import collapse
from unrolled.errors import ConfigError
from unrolled.models.recognizer import BLANK, Listened
from unrolled.tasks.hearing import Search
from unrolled.tasks.transcript import Transcript, later
from unrolled.types import State

if TYPE_CHECKING:
    from unrolled.tasks.recognizer import TrainedRecognizer

__all__ = ["Stream"]

#: Seconds without a symbol that end an utterance; and after which one ends in any case, at the last step without a symbol.
_PAUSE, _LONGEST = 0.8, 30.0


class _Step(NamedTuple):
    """A step that has been heard: log-probabilities (V,) and the likeliest symbol; the step before it was heard (D,), and
    the normal frames (r, F) that it begins with.
    """

    logs: np.ndarray
    likeliest: int
    x: Tensor
    frames: Tensor


class Stream:
    """Made by `TrainedRecognizer.stream`. ConfigError for a model that reads from both ends, or looks at all of a text."""

    def __init__(self, trained: TrainedRecognizer, search: Search) -> None:
        config = trained.model.config
        if config.bidirectional or config.head != "ctc":
            raise ConfigError(
                "this model reads recordings from both ends, so it cannot listen while sound is coming: train one with "
                "--streaming"
            )
        if trained.front.deltas:
            raise ConfigError("this model looks at deltas, which wait for frames to come: train one without --deltas")
        if trained.normal.own_mean:
            raise ConfigError("this model takes each recording's mean away, which is known at its end only")
        self._trained, self._search = trained, search
        self._samples, self._frames = np.zeros(0, np.float32), torch.zeros(0, config.n_features)
        self._state: State | None = None
        self._steps: list[_Step] = []
        self._forgotten = 0

    @property
    def partial(self) -> str:
        """What has been heard since the last pause: the likeliest symbol of each step."""
        return self._trained.text_of(collapse([step.likeliest for step in self._steps], BLANK))

    def feed(self, samples: np.ndarray) -> list[Transcript]:
        """More samples, float32 (N,): the utterances that have ended meanwhile."""
        front = self._trained.front
        self._samples = np.concatenate((self._samples, np.asarray(samples, np.float32)))
        n = front.n_frames(len(self._samples))
        if not n:
            return []
        frames = front.frames([self._samples[: front.window + (n - 1) * front.hop]])[0]
        self._samples = self._samples[n * front.hop :]
        self._hear(self._trained.normal(frames), last=False)
        return self._ended()

    def finish(self) -> Transcript:
        """No more is coming: what has been heard since the last pause."""
        self._hear(self._frames[:0], last=True)
        found = self._told(len(self._steps))
        self._state, self._samples = None, self._samples[:0]
        return found

    @torch.no_grad()
    def _hear(self, frames: Tensor, *, last: bool) -> None:
        """Normal frames (T, F) more -> log-probabilities of the steps that are complete; of all if these are the last."""
        listener = self._trained.model.listener
        reduction = listener.reduction
        self._frames = torch.cat((self._frames, frames))
        n = max(0, (len(self._frames) - reduction.window) // reduction.factor + 1)
        if last:
            if not len(self._frames):
                return
            x, used = reduction(self._frames.unsqueeze(0)), self._frames
        elif n:
            x = reduction.reduce(self._frames[: reduction.window + (n - 1) * reduction.factor].unsqueeze(0))
            used = self._frames[: n * reduction.factor]
        else:
            return
        self._frames = self._frames[len(used) :]
        h, self._state = listener.hear(x, None, self._state)
        (logs,) = self._trained.ear.spelled(Listened(h, torch.tensor([len(h)]), x))
        each = zip(logs, logs.argmax(1).tolist(), x[0], used.split(reduction.factor), strict=True)
        self._steps += [_Step(*one) for one in each]

    def _ended(self) -> list[Transcript]:
        """Utterances that a pause has ended, or that are too long."""
        pause, longest = (max(1, round(s / self._trained.step_seconds)) for s in (_PAUSE, _LONGEST))
        found = []
        while True:
            quiet = np.array([step.likeliest == BLANK for step in self._steps], bool)
            spoken = np.flatnonzero(~quiet)
            if not len(spoken):  # nothing has begun: silence is forgotten
                self._forget(max(0, len(quiet) - 1))
                return found
            rising = np.cumsum(np.append(0, quiet))
            starts = np.arange(spoken[0], len(quiet) - pause + 1)
            pauses = starts[rising[starts + pause] - rising[starts] == pause] if len(starts) else starts
            if len(pauses):
                found.append(self._told(int(pauses[0]) + pause // 2))
            elif len(quiet) >= longest:
                late = np.flatnonzero(quiet[longest // 2 :])
                found.append(self._told(longest // 2 + int(late[-1]) if len(late) else len(quiet)))
            else:
                return found

    def _told(self, n: int) -> Transcript:
        """The first n steps as an utterance, with the times of the whole stream; they are forgotten."""
        trained, step = self._trained, self._trained.step_seconds
        if not n:
            return Transcript("stream", "", (), 0.0, 0.0)
        told = self._steps[:n]
        x = torch.stack([one.x for one in told]).unsqueeze(0)
        (located,) = trained.ear.located(Listened(x.new_zeros(n, 1, 0), torch.tensor([n]), x))
        heard = trained.ear.heard_in(np.stack([one.logs for one in told]), located, self._search)
        words = trained.words(heard, torch.cat([one.frames for one in told]))
        words = tuple(later(word, self._forgotten * step) for word in words)
        self._forget(n)
        return Transcript("stream", trained.text_of(heard.symbols), words, heard.log_probability, n * step)

    def _forget(self, n: int) -> None:
        self._steps, self._forgotten = self._steps[n:], self._forgotten + n
