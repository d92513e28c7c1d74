"""What a user may say about serving models: where, how much at once, and what is too much."""

from __future__ import annotations

from pydantic import Field

from unrolled.config import Section

__all__ = ["LimitOptions", "ServeOptions", "ServerOptions"]


class ServerOptions(Section):
    """Where and by whom requests are answered."""

    host: str = Field("127.0.0.1", description="Address to listen at; any but this machine's own needs a token.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen at; 0: any that is free.")
    workers: int = Field(1, ge=1, le=256, description="Processes that answer; each opens the models.")
    certificate: str | None = Field(None, description="File of a certificate: answers are encrypted (https); with --key.")
    key: str | None = Field(None, description="File of its private key.")
    threads: int | None = Field(None, ge=1, le=1024, description="Threads of arithmetic of a process; unset: its share.")


class LimitOptions(Section):
    """What is too much."""

    batch: int = Field(64, ge=1, le=4096, description="Inputs that a model reads together.")
    queue: int = Field(1024, ge=1, le=1_000_000, description="Inputs that wait for a model at most; then 429.")
    streams: int = Field(32, ge=1, le=10_000, description="Texts that a model writes side by side at most; then 429.")
    timeout: float = Field(60, gt=0, le=86_400, description="Seconds a request may take; then 504.")
    body_mb: float = Field(32, gt=0, le=4096, description="Megabytes of a request; more: 413.")
    inputs: int = Field(256, ge=1, le=100_000, description="Inputs of a request; more: 422.")
    text: int = Field(20_000, ge=1, le=10_000_000, description="Characters of a text; more: 422.")
    seconds: float = Field(300, gt=0, le=36_000, description="Seconds of a recording; more: 422.")
    pixels: float = Field(50, gt=0, le=50, description="Millions of pixels of an image; more: 422.")
    length: int = Field(2000, ge=1, le=1_000_000, description="Tokens that a request may ask to be written.")


class ServeOptions(Section):
    """All options of `unrolled serve`, by section."""

    server: ServerOptions = ServerOptions()
    limits: LimitOptions = LimitOptions()
