"""Several threads that train at once on shared weights, without locks (Hogwild, Recht et al. 2011, arXiv:1106.5730).

    for done in at_once([shard(0), shard(1)]):      # each an iterator that trains a little before each item
        ...

The iterators run ahead on threads of their own; kernels release the interpreter's lock, so that they really run at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["at_once"]

Item = TypeVar("Item")


def at_once(jobs: Sequence[Iterator[Item]], *, in_turn: bool = False) -> Generator[Item, None, None]:
    """The items of all iterators as they come, each iterator on a thread. Closing this one ends them after their step.

    in_turn: on this thread, one item of each after another, so that the order of all that happens is fixed.
    """
    if in_turn or len(jobs) == 1:
        yield from _in_turn(jobs)
        return
    found: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    ended = threading.Event()

    def run(job: Iterator[Item]) -> None:
        try:
            for item in job:
                found.put((True, item))
                if ended.is_set():
                    break
            found.put((False, None))
        except BaseException as error:  # it is raised where the items are read
            found.put((False, error))

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    try:
        for thread in threads:
            thread.start()
        left = len(jobs)
        while left:
            is_item, content = found.get()
            if is_item:
                yield content
                continue
            left -= 1
            if content is not None:
                raise content
    finally:
        ended.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _in_turn(jobs: Sequence[Iterator[Item]]) -> Iterator[Item]:
    left = list(jobs)
    while left:
        for job in list(left):
            try:
                yield next(job)
            except StopIteration:
                left.remove(job)
