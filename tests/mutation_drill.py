"""A drill for the tests themselves: break the code in small ways and see whether some test fails.

    python tests/mutation_drill.py            # every mutant, about ten minutes
    python tests/mutation_drill.py gru        # mutants of files with gru in the path

Each mutant changes one place in a copy of the package; the tests named beside it run against the copy. A mutant that
survives is a test that is missing. Not part of the suite: run it after touching what the mutants touch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CELLS, KERNELS, LM = "tests/test_cells.py", "tests/test_kernels.py", "tests/test_language_model.py"
PARALLEL, OUTPUT, CORPUS = "tests/test_parallel.py", "tests/test_output.py", "tests/test_corpus.py"
MUTANTS = [
    ("cells/elman.py", 'a = z.tanh_() if self.nonlinearity == "tanh" else z.relu_()', "a = z.tanh_()", CELLS),
    ("cells/gru.py", "c = n + z * (state - n)", "c = state + z * (n - state)", CELLS),
    ("cells/gru.py", "r, z = torch.sigmoid(gates).chunk(2, dim=1)", "z, r = torch.sigmoid(gates).chunk(2, dim=1)", CELLS),
    ("cells/gru.py", "n = torch.tanh(torch.addcmul(projected[:, 2 * size :], r, inner))",
     "n = torch.tanh(projected[:, 2 * size :] + r * (inner - recurrent[-1]) + recurrent[-1])", CELLS),
    ("cells/gru.py", "(0, self.hidden_size))", "(0, self.hidden_size)) + w.bias_hh * 0.5", CELLS),
    ("cells/gru.py", "sigmoid_backward(dn * inner, r, grad_input=dr)", "sigmoid_backward(dn * inner, z, grad_input=dr)", CELLS),
    ("cells/gru.py", "kept = g * z", "kept = g * (1 - z)", CELLS),
    ("cells/lstm.py", "c = torch.addcmul(f * state.cell, i, g)", "c = torch.addcmul(i * state.cell, f, g)", CELLS),
    ("cells/lstm.py", "dc_i, dc_f = dc * i, dc * f", "dc_i, dc_f = dc * f, dc * i", CELLS),
    ("cells/lstm.py", "dc = torch.addcmul(grad_state.cell, da * o", "dc = torch.addcmul(grad_state.cell * 0, da * o", CELLS),
    ("cells/lstm.py", "torch.mul(da * shown, 1 - o, out=do)", "torch.mul(da * squashed, 1 - o, out=do)", CELLS),
    ("layers/layout.py", "backwards = (by_length - 1 - t)", "backwards = (steps - 1 - t + 0 * by_length)", CELLS),
    ("layers/layout.py", "running = t < by_length", "running = t <= by_length - 1 + (by_length == 3)", CELLS),
    ("layers/layout.py", "return map_state(lambda s: s.index_select(0, inverse), state)", "return state", CELLS),
    ("layers/unroll.py", "_concatenate([state, *reversed(ended)])", "_concatenate([state, *ended])", CELLS),
    ("layers/unroll.py", "joining = map_state(lambda s, a=active, n=n: s[a:n], grad_final)",
     "joining = map_state(lambda s, a=active, n=n: 0 * s[a:n], grad_final)", CELLS),
    ("kernels/lstm.py", "c = f * c0 + i * g", "c = i * c0 + f * g", KERNELS),
    ("kernels/lstm.py", "da.constant(0), dc * f", "da.constant(0), dc * i", KERNELS),
    ("kernels/gru.py", "dn * r, g * z", "dn, g * z", KERNELS),
    ("kernels/gru.py", "return r, r * old", "return r, old", KERNELS),
    ("kernels/attend.py", "dv[k] += de[p] * u", "dv[k] += de[p]", "tests/test_translator.py"),
    ("kernels/attend.py", "near += (before[r, p] - near) / ", "near += before[r, p] / ", "tests/test_translator.py"),
    ("layers/compiled_attending.py", "state[0][:] += dasked", "pass", "tests/test_translator.py"),
    ("layers/compiled_attending.py", "self.op.of[rows], asked", "np.arange(first, first + n), asked", "tests/test_translator.py"),
    ("kernels/ctc.py", "1 if u and not twice else 0", "1 if u else 0", "tests/test_ctc.py"),
    ("kernels/ctc.py", "1 + before[n + 1] - before[u + 2]", "before[n + 1] - before[u + 1]", "tests/test_ctc.py"),
    ("kernels/ctc_search.py", "(blanks[i] if k == last else both)", "both", "tests/test_ctc.py"),
    ("kernels/ctc_prefix.py", "b[t - 1] if before[r] == c else b", "b", "tests/test_recognizer.py"),
    ("kernels/ctc.py", "-d[:, 1:], loss", "-d[:, :-1], loss", "tests/test_recognizer.py"),
    ("layers/reduction.py", "(n - 1) * self.factor + self.window", "n * self.factor + self.window", "tests/test_recognizer.py"),
    ("decoding/scorers.py", "self._depth[n] if self._whole[n] else counted", "counted", "tests/test_recognizer.py"),
    ("features/sound.py", "0.97 * before", "0.9 * before", "tests/test_sound.py"),
    ("features/segments.py", "keep = max(0, cut - around)", "keep = cut", "tests/test_sound.py"),
    ("kernels/choose.py", "if not total > best[k - 1]", "if total < best[k - 1]", "tests/test_beam.py"),
    ("kernels/scan.py", "min(n, max(0, following - first))", "min(n, max(0, following))", KERNELS),
    ("kernels/workspace.py", "and sys.getrefcount(buffer) == _FREE", "", KERNELS),
    ("kernels/product.py", "if rows == 1:", "if rows <= 2:", KERNELS),
    ("kernels/elementwise.py", "-_LIMIT, -_LIMIT, x)", "-_LIMIT, x, -_LIMIT)", KERNELS),
    ("kernels/threads.py", "if process != _PARENT or", "if", KERNELS),
    ("layers/compiled.py", "sums[0] if len(sums) == 1 else torch.cat(sums)", "torch.cat(sums[:1] * len(sums))", KERNELS),
    ("layers/layout.py", "return len(rows) - n, first, 0, rows[n:]", "return 0, first, n, rows[:-n]", KERNELS),
    ("layers/recurrent.py", "reverse=direction == 1", "reverse=False", "tests/test_dropin.py"),
    ("layers/recurrent.py", "k = layer * self.n_directions + direction", "k = layer + direction * self.n_layers", "tests/test_dropin.py"),
    ("layers/dropin.py", "h, c = (s.transpose(0, 1) for s in state)", "c, h = (s.transpose(0, 1) for s in state)", "tests/test_dropin.py"),
    ("layers/dropout.py", "x.new_ones(1, *x.shape[1:])", "torch.ones_like(x)", "tests/test_dropin.py"),
    ("layers/recurrent.py", "weight_hh=weight_drop(w.weight_hh, self.dropouts.weight, self.training)",
     "weight_hh=w.weight_hh", "tests/test_dropin.py"),
    ("layers/embedding.py", "(ids < self.n_symbols).unsqueeze(-1) * self.scale", "self.scale", LM),
    ("models/language_model.py", "x.flatten(0, 1) if inside is None else x[inside]", "x.flatten(0, 1)", LM),
    ("models/language_model.py", "torch.where(rows, n, s)", "torch.where(~rows, n, s)", LM),
    ("features/batching.py", "np.arange(-1, steps)", "np.arange(0, steps + 1)", "tests/test_features.py"),
    ("features/batching.py", "texts[i][start - 1]", "texts[i][start]", "tests/test_features.py"),
    ("features/vocabulary.py", "kept[: max(0, max_size - 2)]", "kept[:max_size]", "tests/test_features.py"),
    ("features/tokenizers.py", 'or (kind | last) & _CJK:', ':', "tests/test_features.py"),
    ("features/spelling.py", "return end + sum", "return sum", "tests/test_features.py"),
    ("decoding/sampling.py", "before < options.top_p", "before + ranked < options.top_p", "tests/test_sampling.py"),
    ("decoding/sampling.py", "default_rng([options.seed, row])", "default_rng([options.seed, 0])", "tests/test_sampling.py"),
    ("decoding/sampling.py", "logits / options.repetition_penalty,", "logits * options.repetition_penalty,", "tests/test_sampling.py"),
    ("tasks/language_model.py", "state = map_state(lambda s, n=alive: s[: len(n)], state)", "state = None", LM),
    ("tasks/text_codec.py", "return symbol == UNKNOWN and", "return False and", LM),
    ("training/loop.py", "map_state(Tensor.detach, found.state)", "None", "tests/test_training.py"),
    ("training/loop.py", "best = watched is None or not run.best", "best = True or not run.best", "tests/test_training.py"),
    ("training/loop.py", "file.truncate(run.metrics_bytes)", "file.truncate()", "tests/test_resume.py"),
    ("training/loop.py", "run.row, run.window_loss, run.window_tokens = found.row, 0.0, 0", "run.row = found.row", "tests/test_training.py"),
    ("training/checkpoint.py", 'torch.set_rng_state(parts["random"][str(rank)])', "pass", "tests/test_resume.py"),
    ("training/checkpoint.py", "s[rank::size].contiguous()", "s.contiguous()", PARALLEL),
    ("training/checkpoint.py", "whole[rank :: len(parts)] = part", "whole[len(part) * rank :][: len(part)] = part", PARALLEL),
    ("training/loop.py", "clip_and_scale(gradients, 1 / n_tokens", "clip_and_scale(gradients, run.ranks.size / n_tokens", PARALLEL),
    ("training/loop.py", "run.step * run.options.accumulate + i", "run.step + i", "tests/test_training.py"),
    ("training/loop.py", "run.average.n = run.averaged", "pass", "tests/test_resume.py"),
    ("training/loop.py", "run.average.add()\n    run.step += 1", "pass\n    run.step += 1", "tests/test_training.py"),
    ("training/parallel.py", "1_000_003 * self.rank", "0 * self.rank", PARALLEL),
    ("training/parallel.py", "distributed.PrefixStore(f", "(lambda _, store: store)(f", PARALLEL),
    ("training/optimisation.py", "history[-1] > min(history[:-patience])", "history[-1] > min(history)", "tests/test_training.py"),
    ("layers/output.py", "error[here] -= 1", "error[here] -= 0.99", OUTPUT),
    ("layers/output.py", "others.masked_fill(targets.unsqueeze(1) == drawn, -torch.inf)", "others", OUTPUT),
    ("layers/output.py", "self.bias[drawn] - log_q", "self.bias[drawn]", OUTPUT),
    ("layers/output.py", "short[inside] = self.bounds[0] + i", "short[inside] = self.bounds[0]", OUTPUT),
    ("models/language_model.py", "inside[1:] & inside[:-1]", "inside[:-1]", OUTPUT),
    ("data/text.py", "if not text[at - 1].isspace() and not text[at + 1].isspace():", "if True:", CORPUS),
    ("data/text.py", "at - len(pending)", "at", CORPUS),
    ("data/text.py", "newlines.decode(decoder.decode(block, final=False))", "decoder.decode(block, final=False)", CORPUS),
    ("features/numbering.py", "if self._counts[number] == 1]", "]", CORPUS),
    ("features/batching.py", 'side="right"', 'side="left"', "tests/test_features.py"),
    ("tasks/corpus.py", "_checksum(folder / name) == known", "(folder / name).exists()", CORPUS),
    ("tasks/corpus.py", "self.document.chunks()", "self.document.pieces()", CORPUS),
    ("metrics/bootstrap.py", "drawn[:, j] - drawn[:, i]", "drawn[:, j] - drawn[::-1, i]", "tests/test_compare.py"),
    ("training/checkpoint.py", "moments[int(i)][rest] = tensor", "moments[int(i)][rest] = tensor * 0", "tests/test_resume.py"),
    ("record.py", 'if document.facts().sha256 != entry["sha256"]:', "if False:", "tests/test_resume.py"),
    ("tasks/adaptive.py", "(position < now)", "(position <= now)", "tests/test_adaptive.py"),
    ("tasks/adaptive.py", "state = map_state(Tensor.detach, after)", "state = None", "tests/test_adaptive.py"),
    ("tasks/adaptive.py", "weight.lerp_(origin, self.pull)", "pass", "tests/test_adaptive.py"),
    ("training/weights.py", "if first[id(tensor)] == name", "if True", "tests/test_training.py"),
    ("folders.py", "temporary.replace(path)", "path.write_bytes(data)", "tests/test_training.py"),
]  # fmt: skip


def survives(file: str, old: str, new: str, tests: str) -> bool:
    """Whether all tests pass although the code is broken."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy)
        path = copy / "unrolled" / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r} any more: mend the drill"
        path.write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(ROOT / tests)]
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        check = "import unrolled, sys; sys.exit('src' not in unrolled.__file__ or not unrolled.__file__.startswith(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", check, str(copy)], check=True, env=environment, cwd=folder)
        try:
            return subprocess.run(command, capture_output=True, env=environment, cwd=ROOT, timeout=900).returncode == 0
        except subprocess.TimeoutExpired:  # a deadlock is noticed too
            return False


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [m for m in MUTANTS if wanted in m[0]]
    alive = 0
    for file, old, new, tests in chosen:
        lived = survives(file, old, new, tests)
        alive += lived
        print(f"{'SURVIVED' if lived else 'caught  '}  {file}: {old[:60]} -> {new[:60]}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    sys.exit(alive > 0)


if __name__ == "__main__":
    main()
