"""What was computed of images once, kept on disk: a record of fixed shape for each, by the content of its file.

store = ImageStore(folder, (49, 1280), np.float16)
store.add(keys, records)                  # whole or not at all, also when others write at the same time
store.rows(keys)                          # where the records are (n,), -1 where there is none
store.records[rows]                       # read from disk when they are asked for
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from unrolled.errors import FolderError

__all__ = ["ImageStore", "content_key"]

_KEY = 16


def content_key(data: bytes | np.ndarray) -> bytes:
    """16 bytes that stand for the content of an image."""
    data = data.tobytes() if isinstance(data, np.ndarray) else data
    return hashlib.blake2b(data, digest_size=_KEY).digest()


class ImageStore:
    """Records of one shape in a folder, in the order of their keys. FolderError where it cannot be written.

    A record counts once its key is there; what was left unfinished by a crash is written over.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self._size = int(np.prod(shape)) * self.dtype.itemsize
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("records", "keys"):
                (folder / name).touch()
        except OSError as error:
            raise FolderError(f"{folder}: cannot be written ({error.strerror or error}).") from None
        self._found: dict[bytes, int] = {}
        self._n = 0
        self._read_keys()

    def _read_keys(self) -> None:
        """Those that have come since they were read last."""
        with (self.folder / "keys").open("rb") as file:
            file.seek(self._n * _KEY)
            data = file.read()
        n = min(len(data) // _KEY, (self.folder / "records").stat().st_size // self._size - self._n)
        self._found |= {data[i * _KEY : (i + 1) * _KEY]: self._n + i for i in range(n)}
        self._n += n

    def rows(self, keys: Sequence[bytes]) -> np.ndarray:
        """Where the records are (n,); -1 where there is none. Those that others have added are seen after `add`."""
        return np.array([self._found.get(key, -1) for key in keys], np.int64)

    @property
    def records(self) -> np.ndarray:
        """All records (N, ...), mapped from disk."""
        shape = (self._n, *self.shape)
        return np.memmap(self.folder / "records", self.dtype, "r", shape=shape) if self._n else np.zeros(shape, self.dtype)

    def add(self, keys: Sequence[bytes], records: np.ndarray) -> None:
        """Records (n, ...) more; those whose keys are there already are left out."""
        if any(len(key) != _KEY for key in keys):
            raise ValueError(f"a key has {_KEY} bytes")
        try:
            with FileLock(self.folder / ".lock"):
                self._read_keys()
                new = {key: i for i, key in enumerate(keys) if key not in self._found}
                with (self.folder / "records").open("r+b") as file:
                    file.seek(self._n * self._size)
                    file.write(np.ascontiguousarray(records[list(new.values())], self.dtype).tobytes())
                    file.flush()
                    os.fsync(file.fileno())
                with (self.folder / "keys").open("r+b") as file:
                    file.seek(self._n * _KEY)
                    file.write(b"".join(new))
                    file.truncate()
                self._read_keys()
        except OSError as error:
            raise FolderError(f"{self.folder}: cannot be written ({error.strerror or error}).") from None
