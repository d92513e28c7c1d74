"""What each kind of model can be asked over HTTP. A new task is a file here, one line below, and a module of the page."""

from __future__ import annotations

import importlib
from typing import Any

from unrolled.options.serve import LimitOptions
from unrolled.server.served.base import Served

__all__ = ["Served", "served"]

#: By the class of what was loaded: names, so that nothing is imported before it is used.
_KINDS = {
    "TrainedLanguageModel": ("language_model", "ServedLanguageModel"),
    "Vectors": ("word_vectors", "ServedVectors"),
    "TrainedWordVectors": ("word_vectors", "ServedVectors"),
    "TrainedClassifier": ("classify", "ServedClassifier"),
    "TrainedTagger": ("tag", "ServedTagger"),
    "TrainedTranslator": ("translate", "ServedTranslator"),
    "TrainedCaptioner": ("caption", "ServedCaptioner"),
    "TrainedRecognizer": ("transcribe", "ServedRecognizer"),
}


def served(name: str, trained: Any, limits: LimitOptions) -> Served:
    """A trained model under the name that requests use."""
    module, kind = _KINDS[type(trained).__name__]
    return getattr(importlib.import_module(f"unrolled.server.served.{module}"), kind)(name, trained, limits)
