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
from typing import Any

from unrolled.server.counts import Counts
from unrolled.server.problems import Problem
from unrolled.server.served.base import Served

__all__ = ["Engine"]

_BUSY = {"Retry-After": "1"}


@dataclass(eq=False)
class _Job:
    """What one request asks. inputs: to be predicted together with those of others whose key is equal; none where `alone`
    is the whole question.
    """

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    inputs: Sequence[Any] = ()
    options: Any = None
    size: int = 0
    alone: Callable[[], Any] | None = None

    def tell(self, found: Any) -> None:
        """Give the answer, or the error, to the request; nobody may be waiting any more."""
        self.loop.call_soon_threadsafe(self._tell, found)

    def _tell(self, found: Any) -> None:
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
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"model {served.name}", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(self.limits.timeout)

    async def predict(self, inputs: Sequence[Any], options: Any) -> list[Any]:
        """The answers to inputs, or an error in the place of one."""
        size = max(map(self.served.size, inputs))
        return await self._asked(lambda loop, answer: _Job(loop, answer, inputs, options, size), len(inputs))

    async def explain(self, one: Any, options: Any) -> dict[str, Any]:
        """What happens inside."""
        alone = lambda: self.served.explain(one, options)  # noqa: E731 - a name for the thread to call
        return await self._asked(lambda loop, answer: _Job(loop, answer, alone=alone), 1)

    async def generate(self, prompt: str, options: Any) -> AsyncIterator[dict[str, Any]]:
        """The pieces of a text as they are written. Closing it ends the writing."""
        if len(self._writing) >= self.limits.streams:
            raise Problem(429, f"{self.limits.streams} texts are being written. Try again later.", headers=_BUSY)
        writing = _Writing(asyncio.get_running_loop(), lambda: self.served.generate(prompt, options))
        with self._news:
            self._writing.append(writing)
            self._news.notify()
        try:
            while (found := await writing.pieces.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                self.counts.tokens.labels(self.served.name).inc()
                yield found
        finally:
            writing.gone = True

    async def _asked(self, job: Callable[[Any, Any], _Job], inputs: int) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        with self._news:
            if self._inputs + inputs > self.limits.queue:
                raise Problem(429, f"{self._inputs} inputs wait for this model. Try again later.", headers=_BUSY)
            self._waiting.append(job(loop, answer))
            self._wait(inputs)
            self._news.notify()
        try:
            return await asyncio.wait_for(answer, self.limits.timeout)
        except TimeoutError:
            raise Problem(504, f"no answer within {self.limits.timeout:g} s; ask for less at once") from None

    def _run(self) -> None:
        while True:
            with self._news:
                while not (self._waiting or self._writing or self._closed):
                    self._news.wait()
                if self._closed and not self._waiting and not self._writing:
                    return
                jobs = self._taken()
            if jobs:
                self._answer(jobs)
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

    def _taken(self) -> list[_Job]:
        """The oldest question, and others that can be read together with it: those most like it in length first."""
        while self._waiting and self._waiting[0].answer.done():
            self._left_out(self._waiting.popleft())
        if not self._waiting:
            return []
        first = self._waiting[0]
        if first.alone is not None:
            self._left_out(self._waiting.popleft())
            return [first]
        alike = [job for job in self._waiting if job.alone is None and job.options == first.options]
        alike.sort(key=lambda job: (job is not first, abs(job.size - first.size)))
        taken, room = list[_Job](), self.limits.batch
        for job in alike:
            if taken and len(job.inputs) > room:
                break
            if job.answer.done():
                continue
            taken.append(job)
            room -= len(job.inputs)
        chosen = set(map(id, taken))
        self._waiting = deque(job for job in self._waiting if id(job) not in chosen)
        for job in taken:
            self._left_out(job)
        return taken

    def _left_out(self, job: _Job) -> None:
        self._wait(-(len(job.inputs) or 1))

    def _wait(self, more: int) -> None:
        self._inputs += more
        self.counts.waiting.labels(self.served.name).set(self._inputs)

    def _answer(self, jobs: list[_Job]) -> None:
        if jobs[0].alone is not None:
            jobs[0].tell(_found(jobs[0].alone))
            return
        inputs = [one for job in jobs for one in job.inputs]
        self.counts.batches.labels(self.served.name).observe(len(inputs))
        found = _found(lambda: self.served.predict(inputs, jobs[0].options))
        if isinstance(found, Exception) and len(jobs) > 1:  # whose fault it is, each alone tells
            for job in jobs:
                self._answer([job])
            return
        at = 0
        for job in jobs:
            job.tell(found if isinstance(found, Exception) else found[at : at + len(job.inputs)])
            at += len(job.inputs)


def _found(ask: Callable[[], Any]) -> Any:
    """What a question finds; its error, where it ends in one."""
    try:
        return ask()
    except Exception as error:
        return error
