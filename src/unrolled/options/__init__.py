"""What a user may set, a file a task. Imported as a whole, so that `config` knows the names of all options."""

from unrolled.options import caption, classify, language_model, serve, tag, transcribe, translate, word_vectors

__all__ = ["caption", "classify", "language_model", "serve", "tag", "transcribe", "translate", "word_vectors"]
