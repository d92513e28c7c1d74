"""Models as they are before their first step: enough where it only matters that they answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.captions import Captioned
from unrolled.data.recordings import Recordings
from unrolled.run.caption import caption_options
from unrolled.run.transcribe import transcribe_options
from unrolled.tasks.caption import CaptionTask
from unrolled.tasks.image_encoders import Looked, eye_for
from unrolled.tasks.transcribe import TranscribeTask


def untrained_captioner(drawn: Captioned) -> Any:
    """A small captioner of drawn scenes."""
    seen = Looked(np.stack([*drawn.images, *drawn.images]), np.arange(2 * len(drawn)), [])  # type: ignore[arg-type]
    options = caption_options(flags={"encoder": "small", "decoder_size": 8, "min_count": 1})
    task = CaptionTask(options, (drawn, drawn), seen, eye_for(options.model))
    return task.trained(task.build())


def untrained_recognizer(songs: Recordings, **flags: Any) -> Any:
    """A small recogniser of sung words."""
    task = TranscribeTask(transcribe_options(flags=flags), (songs, songs))
    return task.trained(task.build())
