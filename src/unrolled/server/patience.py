"""HTTP whose patience has an end: a request's head has to come in time, and must not be too large.

Bodies are limited where it is known whom they are for (`guards.py`); until a head has ended nobody is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PatientProtocol"]

#: Seconds from the connection, or from the first byte of a later request, to the end of the head; and its bytes, about.
_SECONDS, _BYTES = 30.0, 65_536


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol. It closes connections whose head takes too long or is too large, and when the server stops those
    whose body is not there.
    """

    _late: asyncio.TimerHandle | None = None
    _room = _BYTES

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:  # the head goes on
            self._room -= len(data)
            if self._room < 0:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self.transport.close()  # who is still asking is not waited for

    def _begin(self) -> None:
        self._end()
        self._late, self._room = self.loop.call_later(_SECONDS, self.transport.close), _BYTES

    def _end(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
