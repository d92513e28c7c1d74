"""One thread asks one model. Requests that wait are read together: the oldest, and those most like it in length.

    many clients -> waiting -> a batch -> predict -> an answer each
                 -> writing: one token of each text in turn, between batches

The event loop never waits for a model, and a model never for a client. Who has gone away, or has waited too long, is left
out before the model is asked; a text that is being written ends with its reader.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from unrolled.server.counts import Counts
from unrolled.server.problems import Problem
from unrolled.server.served.base import Served

__all__ = ["Engine"]

_BUSY = {"Retry-After": "1"}
#: Files of requests that are decoded side by side.
_DECODING = 2
#: Longest texts whose length together is read at once.
_ROOM = 5


class _Part(NamedTuple):
    """Inputs of a job that are read now, and their size together."""

    job: _Job
    inputs: Sequence[Any]
    size: int


@dataclass(eq=False)
class _Job:
    """What one request asks. inputs: to be predicted together with those of others who ask with equal options, a part after
    another where they are many; found: the answers so far. Or `alone`, the whole question.
    """

    answer: asyncio.Future[Any]
    inputs: Sequence[Any] = ()
    sizes: Sequence[int] = ()
    options: Any = None
    alone: Callable[[], Any] | None = None
    found: list[Any] = field(default_factory=list)

    @property
    def waits(self) -> int:
        """How many inputs wait; a whole question counts as one."""
        return 1 if self.alone is not None else len(self.inputs) - len(self.found)

    @property
    def size(self) -> int:
        """The largest of the inputs that wait."""
        return max(self.sizes[len(self.found) :], default=0)

    def part(self, inputs: int, size: int, least: int) -> _Part:
        """The inputs that come next: at most so many, of at most that size together, but `least` of them in any case."""
        first, n, weight = len(self.found), 0, 0
        for one in self.sizes[first : first + inputs]:
            if n >= least and weight + one > size:
                break
            n, weight = n + 1, weight + one
        return _Part(self, self.inputs[first : first + n], weight)

    def tell(self, found: Any) -> None:
        """Give the answer, or the error, to the request, in its loop; nobody may be waiting any more."""
        if self.answer.done():
            return
        if isinstance(found, BaseException):
            self.answer.set_exception(found)
        else:
            self.answer.set_result(found)


@dataclass(eq=False)
class _Writing:
    """A text that is being written for one reader."""

    loop: asyncio.AbstractEventLoop
    begin: Callable[[], Iterator[Any]]
    pieces: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    gone: bool = False
    begun: Iterator[Any] | None = None

    def step(self) -> bool:
        """Write one piece; False where the text has ended."""
        if self.gone:
            return False
        try:
            if self.begun is None:
                self.begun = self.begin()
            found = next(self.begun, None)
        except Exception as error:
            found = error
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, found)
        return found is not None and not isinstance(found, Exception)


class Engine:
    """A model that answers from its own thread. Raises Problem 429 where too much waits, 504 where it takes too long."""

    def __init__(self, served: Served, counts: Counts) -> None:
        self.served, self.limits, self.counts = served, served.limits, counts
        self._waiting, self._writing = deque[_Job](), deque[_Writing]()
        self._inputs, self._closed = 0, False
        self._gauge = counts.waiting.labels(served.name)
        self._gauge.set(0)
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self.decoding = asyncio.Semaphore(_DECODING)

    def close(self) -> None:
        """Answer what waits, then end; the next question begins anew. Does not wait for that: see `join`."""
        with self._news:
            self._closed = True
            self._news.notify()

    def join(self, seconds: float) -> None:
        """Wait for the end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def room_for(self, inputs: int) -> None:
        """Problem 429 where so many inputs cannot wait now, 422 where they never can."""
        if inputs > self.limits.queue:
            raise Problem(422, f"at most {self.limits.queue} inputs can wait for a model: ask for less at once")
        if self._inputs + inputs > self.limits.queue:
            raise Problem(429, f"{self._inputs} inputs wait for this model. Try again later.", headers=_BUSY)

    def predict(self, inputs: Sequence[Any], options: Any) -> asyncio.Future[list[Any]]:
        """The answers to inputs, or an error in the place of one. Who cancels it gives the question up."""
        sizes = [self.served.size(one) for one in inputs]
        return self._asked(_Job(_future(), inputs, sizes, options))

    def explain(self, one: Any, options: Any) -> asyncio.Future[dict[str, Any]]:
        """What happens inside. Who cancels it gives the question up."""
        return self._asked(_Job(_future(), alone=partial(self.served.explain, one, options)))

    async def generate(self, prompt: str, options: Any) -> AsyncIterator[dict[str, Any]]:
        """The pieces of a text as they are written. Closing it ends the writing."""
        if len(self._writing) >= self.limits.streams:
            raise Problem(429, f"{self.limits.streams} texts are being written. Try again later.", headers=_BUSY)
        writing = _Writing(asyncio.get_running_loop(), partial(self.served.generate, prompt, options))
        with self._news:
            self._writing.append(writing)
            self._awake()
        try:
            while (found := await asyncio.wait_for(writing.pieces.get(), self.limits.timeout)) is not None:
                if isinstance(found, Exception):
                    raise found
                if "token" in found:
                    self.counts.tokens.labels(self.served.name).inc()
                yield found
        except TimeoutError:
            raise self.too_long from None
        finally:
            writing.gone = True

    def _asked(self, job: _Job) -> asyncio.Future[Any]:
        with self._news:
            self.room_for(job.waits)
            self._waiting.append(job)
            self._wait(job.waits)
            self._awake()
        return job.answer

    @property
    def too_long(self) -> Problem:
        """What is told of a question whose answer does not come in time."""
        return Problem(504, f"no answer within {self.limits.timeout:g} s; ask for less at once")

    def _awake(self) -> None:
        """Let the thread look; begin it, where there is none."""
        if self._thread is None or self._closed:
            before, self._closed = self._thread, False
            if before is None or not before.is_alive():
                self._thread = threading.Thread(target=self._run, name=f"model {self.served.name}", daemon=True)
                self._thread.start()
        self._news.notify()

    def _run(self) -> None:
        while True:
            parts = list[_Part]()  # what was read last is not kept while nobody asks
            with self._news:
                while not (self._waiting or self._writing or self._closed):
                    self._news.wait()
                if self._closed and not self._waiting and not self._writing:
                    return
                parts = self._taken()
            if parts:
                self._answer(parts)
            self._write()

    def _write(self) -> None:
        """One piece of the text whose turn it is. It takes its turn again behind the others."""
        if not self._writing:
            return
        one = self._writing[0]
        goes_on = one.step()
        with self._news:
            self._writing.popleft()
            if goes_on:
                self._writing.append(one)

    def _taken(self) -> list[_Part]:
        """The oldest question, and others that can be read together with it: those most like it in length first. Of one
        with many inputs, a part; the rest waits behind the others.
        """
        self._waiting = deque(job for job in self._waiting if not self._given_up(job))
        if not self._waiting:
            return []
        first = self._waiting[0]
        if first.alone is not None:
            self._waiting.popleft()
            self._wait(-first.waits)
            return [_Part(first, (), 0)]
        alike = [job for job in self._waiting if job.alone is None and job.options == first.options]
        alike.sort(key=lambda job: (job is not first, abs(job.size - first.size)))
        taken, inputs, size = list[_Part](), self.limits.batch, _ROOM * self.limits.text
        for job in alike:
            part = job.part(inputs, size, 0 if taken else 1)
            if not part.inputs:
                break
            taken.append(part)
            inputs, size = inputs - len(part.inputs), size - part.size
            self._wait(-len(part.inputs))
        chosen = {id(part.job) for part in taken}
        self._waiting = deque(job for job in self._waiting if id(job) not in chosen)
        return taken

    def _given_up(self, job: _Job) -> bool:
        """Whether nobody waits for the answer any more."""
        if job.answer.done():
            self._wait(-job.waits)
            return True
        return False

    def _wait(self, more: int) -> None:
        self._inputs += more
        self._gauge.set(self._inputs)

    def _answer(self, parts: list[_Part]) -> None:
        first = parts[0].job
        if first.alone is not None:
            _tell([(first, _found(first.alone))])
            return
        inputs = [one for part in parts for one in part.inputs]
        self.counts.batches.labels(self.served.name).observe(len(inputs))
        found = _found(partial(self.served.predict, inputs, first.options))
        if isinstance(found, Exception) and len(parts) > 1:  # whose fault it is, each alone tells
            for part in parts:
                self._answer([part])
            return
        if isinstance(found, Exception):
            with self._news:
                self._wait(len(inputs) - first.waits)
            _tell([(first, found)])
            return
        answers, ended = iter(found), list[tuple[_Job, Any]]()
        for job, own, _ in parts:
            job.found += [next(answers) for _ in own]
            if len(job.found) == len(job.inputs):
                ended.append((job, job.found))
            else:
                with self._news:
                    self._waiting.append(job)
        _tell(ended)


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _tell(ended: Sequence[tuple[_Job, Any]]) -> None:
    """Give answers to requests, all of a loop at once: to be woken for each of a batch costs it more than the rest."""

    def tell(loop: asyncio.AbstractEventLoop) -> None:
        for job, found in ended:
            if job.answer.get_loop() is loop:
                job.tell(found)

    for loop in {job.answer.get_loop() for job, _ in ended}:
        loop.call_soon_threadsafe(tell, loop)


def _found(ask: Callable[[], Any]) -> Any:
    """What a question finds; its error, where it ends in one."""
    try:
        return ask()
    except Exception as error:
        return error
