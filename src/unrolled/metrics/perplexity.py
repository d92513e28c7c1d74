"""How well a language model predicts a text.

    loss = nats / tokens        perplexity = exp(loss)        bits per character = (nats + spelling) / (characters ln 2)

Perplexities compare only between models that share their tokens. Bits per character compare between all models that can
write every text: unknown words are charged what it costs to spell them (`features.spelling`). Where the words behind the
unknown ones are not known, there are no bits per character.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Tally"]


@dataclass(frozen=True)
class Tally:
    """Sums over the tokens of one or more texts; tallies add up.

    spelling: nats for spelling the unknown words, None if some of them cannot be known.
    """

    nats: float = 0.0
    tokens: int = 0
    unknown: int = 0
    characters: int = 0
    spelling: float | None = 0.0

    def __add__(self, other: Tally) -> Tally:
        known = self.spelling is not None and other.spelling is not None
        return Tally(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
            self.characters + other.characters,
            (self.spelling or 0.0) + (other.spelling or 0.0) if known else None,
        )

    @property
    def loss(self) -> float | None:
        """Nats a token."""
        return self.nats / self.tokens if self.tokens else None

    @property
    def perplexity(self) -> float | None:
        """exp of the loss; None where that overflows."""
        return None if self.loss is None or self.loss > 700 else math.exp(self.loss)

    @property
    def bits_per_character(self) -> float | None:
        """Bits a character with unknown words spelled out."""
        if self.spelling is None or not self.characters:
            return None
        return (self.nats + self.spelling) / (self.characters * math.log(2))

    def to_json(self) -> dict[str, float | int | None]:
        """The numbers of a report."""
        return {
            "perplexity": self.perplexity,
            "loss": self.loss,
            "bits_per_character": self.bits_per_character,
            "tokens": self.tokens,
            "unknown_rate": self.unknown / self.tokens if self.tokens else None,
            "characters": self.characters,
        }
