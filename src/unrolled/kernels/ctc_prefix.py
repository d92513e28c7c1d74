"""What CTC says of beginnings of texts: twin of `unrolled.decoding.joint`.

s<t>(g), b<t>(g) are the sums over all alignments of frames 1 to t that collapse to g and end with its last symbol, or with
a blank. With p<t>(k) the probabilities of frame t, a symbol c behind g begins in frame t after

    before<t>(g c)  = b<t-1>(g) + [c is not the last of g] s<t-1>(g)            1 in the first frame behind an empty text
    P(g c ...)      = sum over t of before<t>(g c) p<t>(c)                      all texts that begin with g c
    P(g)            = s<T>(g) + b<T>(g)                                         the text that ends there

Graves 2008, section 7.5.2; Watanabe et al. 2017. Nothing is scaled: in double precision half a minute of steps that are
each as unlikely as .4 can be told from nothing.
"""

from __future__ import annotations

from unrolled.kernels._jit import kernel

__all__ = ["prefix_probabilities"]


@kernel
def prefix_probabilities(p, lengths, sentence, last, before, blank, begin, symbols, blanks, to_symbols, to_blanks, found):  # type: ignore[no-untyped-def]
    """Feed `last` (R,) to texts whose last symbols are `before` (R,), `begin` where there is none: their sums s and b
    (R, T) become those in `to_symbols` and `to_blanks`, and found (R, K) is P of all texts that go on with each symbol; in
    the column of the blank, that of the text that ends there. p (B, T, K); sentence (R,): whose frames a text is about.
    """
    for r in range(len(last)):
        i, c = sentence[r], last[r]
        n, s, b, new_s, new_b = lengths[i], symbols[r], blanks[r], to_symbols[r], to_blanks[r]
        q, empty = p[i], c == begin
        old_s, old_b = 0.0, 1.0 if empty else 0.0
        start = 1.0 if before[r] == begin else 0.0
        for t in range(n):
            if empty:
                new_s[t], new_b[t] = 0.0, old_b * q[t, blank]
            else:
                begins = start
                if t:
                    begins = b[t - 1] if before[r] == c else b[t - 1] + s[t - 1]
                new_s[t] = (old_s + begins) * q[t, c]
                new_b[t] = (old_s + old_b) * q[t, blank]
            old_s, old_b = new_s[t], new_b[t]
        for k in range(found.shape[1]):
            total = q[0, k] if empty and n else 0.0
            for t in range(1, n):
                total += (new_b[t - 1] if k == c else new_b[t - 1] + new_s[t - 1]) * q[t, k]
            found[r, k] = total
        found[r, blank] = old_s + old_b
