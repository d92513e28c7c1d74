"""Files that other programs wrote: n-gram models, word vectors, similarity sets, CoNLL; as they are found, and damaged."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import unrolled
from unrolled.cli.main import app
from unrolled.data.arpa import read_arpa
from unrolled.data.fasttext import MAGIC
from unrolled.data.tagged import TaggedColumns, read_tagged
from unrolled.data.vector_files import read_vectors
from unrolled.data.word_tests import Analogies, read_word_test
from unrolled.errors import ConfigError, DataError
from unrolled.options.language_model import TransferOptions
from unrolled.options.transfer import WordVectorOptions
from unrolled.tasks.transfer import given_vectors
from unrolled.tasks.vectors import Vectors

# ---- n-gram models

ARPA = (
    "\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.0\t<unk>\t0\n0\t<s>\t-0.3\n-1.1\t</s>\t0\n-0.7\tone\t-0.2\n"
    "-0.9\ttwo\t-0.25\n\n\\2-grams:\n-0.1\t<s> one\n-0.2\tone two\n-0.3\ttwo </s>\n\n\\end\\\n"
)


def arpa(folder: Path, text: str) -> Any:
    (folder / "a.arpa").write_text(text, encoding="utf-8")
    return read_arpa(folder / "a.arpa")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("-0.2\tone two\n-0.3\ttwo </s>\n\n\\end\\\n", "", r"has 1 2-grams, but its \\data\\ promises 3"),
        (
            "\\2-grams:\n-0.1\t<s> one\n-0.2\tone two\n-0.3\ttwo </s>\n\n\\end\\\n",
            "",
            r"cut off: its \\2-grams: are missing",
        ),
        ("\n\\end\\\n", "", r"cut off: it has no \\end\\"),
        ("-0.9\ttwo\t-0.25\n", "", r"has 4 1-grams, but its \\data\\ promises 5"),
        ("-0.2\tone two", "-0.2\tone two\n-0.2\ttwo one", r"has 4 2-grams, but its \\data\\ promises 3"),
        ("-0.9\ttwo", "nan\ttwo", r"line 10: got 'nan.*expected log10 P"),
        ("-0.9\ttwo", "0.9\ttwo", r"line 10: .*expected log10 P, at most 0"),
        ("\t-0.25", "\tinf", r"line 10: .*expected log10 P"),
        ("-0.2\tone two", "-0.2\tone", r"line 14: .*2 tokens"),
        ("-0.2\tone two", "-0.2\tone two three four", r"line 14: .*2 tokens"),
        ("-0.3\ttwo </s>", "-0.2\tone two", r"line 15: the n-gram 'one two' is there twice"),
        ("-0.9\ttwo", "-0.9\tone", r"line 10: the n-gram 'one' is there twice"),
        ("\\1-grams", "\\one-grams", r"line 5: got .*one-grams:', expected \\1-grams:"),
        ("\\2-grams", "\\3-grams", r"line 12: got .*3-grams:', expected \\2-grams:"),
        ("ngram 2=3\n", "", r"line 11: got .*2-grams:', expected .* with a count 'ngram 2='"),
        ("ngram 2=3", "ngram two=3", r"line 3: got 'ngram two=3', expected a count"),
        ("\\data\\", "data", r"is no language model in the ARPA format"),
    ],
)
def test_an_arpa_file_that_is_cut_off_or_damaged_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert len(arpa(tmp_path, ARPA).grams) == 8
    with pytest.raises(DataError, match=rf"a\.arpa.*{reason}"):
        arpa(tmp_path, ARPA.replace(old, new, 1))


def test_an_arpa_file_is_read_as_kenlm_reads_it(tmp_path: Path) -> None:
    model = arpa(tmp_path, ARPA)
    for same in (
        ARPA.replace("one two\n", "one two\t\n"),
        ARPA.replace("\n", "\r\n"),
        "\ufeff" + ARPA,
        "a comment\n\n" + ARPA,
        ARPA.replace("\t", " ").replace("one two", "one   two"),
        ARPA.replace("ngram 1=5", "ngram  1 =   5"),
    ):
        assert arpa(tmp_path, same).grams == model.grams
    (tmp_path / "a.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    assert read_arpa(tmp_path / "a.arpa.gz").grams == model.grams
    for blank in "\u00a0\u3000\u2028\u0085\v\f\u200b":
        word = f"mot{blank}!"
        found = arpa(tmp_path, ARPA.replace("one", word))
        assert found.grams[word, "two"] == (-0.2, 0)
        assert found.read([((), word)])[0][0] == pytest.approx(-0.7 * math.log(10))
    unknown = arpa(tmp_path, ARPA.replace("-1.0\t<unk>\t0\n", "").replace("1=5", "1=4"))
    assert unknown.read([((), "three")])[0][0] == pytest.approx(-100 * math.log(10))
    assert unknown.read([(("one",), "three")])[0][0] == pytest.approx(-100.2 * math.log(10))


# ---- word vectors

BAD = "héé".encode()[:-1]


def bad_files(folder: Path, words: list[bytes]) -> dict[str, Path]:
    """Two words, as every format has them."""
    v = np.arange(4, dtype="<f4").tobytes()
    head = MAGIC + struct.pack("<i12id", 12, 4, 5, 5, 1, 5, 1, 2, 2, 0, 0, 0, 100, 1e-4)
    head += struct.pack("<iiiqq", len(words), len(words), 0, 10, -1)
    table = struct.pack("<?qq", False, len(words), 4) + len(words) * v
    sizes = f"{len(words)} 4\n".encode()
    rows = b"".join(word + b" 0 1 2 3\n" for word in words)
    contents = {
        "w.bin": sizes + b"".join(word + b" " + v + b"\n" for word in words),
        "w.txt": sizes + rows,
        "glove.txt": rows,
        "w.tsv": rows.replace(b" ", b"\t"),
        "f.bin": head + b"".join(word + b"\0" + struct.pack("<qb", 3, 0) for word in words) + 2 * table,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def test_words_that_are_not_utf8_are_an_error_or_mended_as_is_asked(tmp_path: Path) -> None:
    for name, path in bad_files(tmp_path, [b"ok", BAD, b"\x97"]).items():
        with pytest.raises(
            DataError, match=rf"{name}, (row|word) 2: the word .* is not UTF-8. Fix: --unicode-errors replace"
        ):
            read_vectors(path)
        assert read_vectors(path, "replace").words == ["ok", "hé\ufffd", "\ufffd"], name
        assert read_vectors(path, errors="ignore").words == ["ok", "hé", ""], name
        assert unrolled.load(path, errors="ignore").words[1] == "hé"
        assert Vectors.from_file(path, "replace")["ok"].tolist() == [0, 1, 2, 3]
        with pytest.raises(ConfigError, match=r"unknown way to treat bytes .* 'repalce'.*replace"):
            read_vectors(path, "repalce")
    same = bad_files(tmp_path, [b"a\x97", b"a\x98", b"b"])
    found = read_vectors(same["w.bin"], "ignore")
    assert (found.words, found.twice, found.vectors.shape) == (["a", "b"], ["a"], (2, 4))
    assert read_vectors(same["f.bin"], "ignore").words == ["a\\x97", "a\\x98", "b"]


def test_every_command_that_reads_vectors_has_the_option(tmp_path: Path) -> None:
    path = str(bad_files(tmp_path, [b"ok", b"fine", BAD])["w.bin"])
    (tmp_path / "pairs.tsv").write_text("ok\tfine\t1\nok\tok\t2\nfine\tfine\t2\n")
    for command in (
        ["info", path],
        ["neighbors", path, "ok", "-n", "1"],
        ["analogy", path, "ok", "fine", "ok"],
        ["evaluate", path, str(tmp_path / "pairs.tsv")],
        ["export", path, str(tmp_path / "out.txt"), "--format", "glove"],
    ):
        strict = CliRunner().invoke(app, command)
        assert isinstance(strict.exception, DataError), command
        assert "--unicode-errors" in str(strict.exception)
        mended = CliRunner().invoke(app, [*command, "--unicode-errors", "replace"])
        assert mended.exit_code == 0, mended.output
    assert read_vectors(tmp_path / "out.txt").words == ["ok", "fine", "hé\ufffd"]


def test_trainings_take_vectors_with_such_words(tmp_path: Path) -> None:
    path = bad_files(tmp_path, [b"good", b"bad", BAD])["w.txt"]
    rows = "".join(f"{'good' if n % 2 else 'bad'} film {n},{'pos' if n % 2 else 'neg'}\n" for n in range(60))
    (tmp_path / "data.csv").write_text("text,label\n" + rows)
    given = ["train", "classify", str(tmp_path / "data.csv"), "--out", str(tmp_path / "run"), "--threads", "1"]
    given += ["--average-epochs", "1"]
    refused = CliRunner().invoke(app, [*given, "--vectors", str(path)])
    assert isinstance(refused.exception, DataError), refused.output
    assert "--unicode-errors" in str(refused.exception)
    made = CliRunner().invoke(app, [*given, "--vectors", str(path), "--unicode-errors", "ignore", "--overwrite"])
    assert made.exit_code == 0, made.output
    without = CliRunner().invoke(app, [*given, "--unicode-errors", "ignore", "--overwrite"])
    assert isinstance(without.exception, ConfigError), without.output
    assert "--unicode-errors has no effect without --vectors" in str(without.exception)
    for options in (WordVectorOptions, TransferOptions):
        vectors = given_vectors(options(vectors=str(path), unicode_errors="replace"))
        assert vectors is not None
        assert vectors.words[2] == "hé\ufffd"
    with pytest.raises(ConfigError, match="no effect"):
        unrolled.load(tmp_path / "run", errors="ignore")


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n \t\r\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("head", ["", "2 2\n"])
def test_marks_and_blank_lines_around_vectors(tmp_path: Path, head: str, mark: str, end: str) -> None:
    (tmp_path / "v.txt").write_text(f"{mark}{head}the 1 2\nof 3 4{end}", encoding="utf-8")
    found = read_vectors(tmp_path / "v.txt")
    assert (found.words, found.vectors.tolist()) == (["the", "of"], [[1, 2], [3, 4]])


def test_vectors_in_utf16_and_empty_words(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("the 1 2\nof 3 4\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"v\.txt: is text in UTF-16. Fix: convert it: iconv"):
        read_vectors(tmp_path / "v.txt")
    for name, path in bad_files(tmp_path, [b"ok", b"", b"b"]).items():
        found = read_vectors(path)
        assert (found.words, found.vectors.tolist()) == (["ok", "", "b"], [[0, 1, 2, 3]] * 3), name
    (tmp_path / "short.txt").write_text("a 1 2\n1 2\nb 3 4\n")
    with pytest.raises(DataError, match="row 2 of 3"):
        read_vectors(tmp_path / "short.txt")


# ---- similarity sets


@pytest.mark.parametrize(
    ("text", "pairs", "scores"),
    [
        (
            "word1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.58\t2.72\nsmart\tdumb\tA\t0.6\t1.7\n",
            "old new smart dumb",
            [1.58, 0.6],
        ),
        ("take\tremove\tV\t6.81\tSYNONYMS\nwalk\ttrail\tV\t4.81\tNONE\n", "take remove walk trail", [6.81, 4.81]),
        (
            "squishing\tsquirt\t5.88\t5\t7\t6\nundated\tundatable\t5.83\t10\t7\n",
            "squishing squirt undated undatable",
            [5.88, 5.83],
        ),
        ("sun-n sunlight-n 50.000000\nrun-v go-v 49.0\n", "sun sunlight run go", [50, 49]),
        ("sun sunlight 50.000000\nwell-known x-ray 49.0\n", "sun sunlight well-known x-ray", [50, 49]),
        ("good bad 3,5\nking queen 8,5\n", "good bad king queen", [3.5, 8.5]),
        ("good;bad;3,5\nking;queen;8\n", "good bad king queen", [3.5, 8]),
        ('Word 1,Word 2,Human (mean)\n"love","sex",6.77\ntiger,cat,"7,35"\n', "love sex tiger cat", [6.77, 7.35]),
        ("id\tword_1\tword_2\tscore\n1\t虎\t猫\t7.5\n2\t书\t纸\t6\n", "虎 猫 书 纸", [7.5, 6]),
        ("word1 word2 POS score\nold new A 1.58\n", "old new", [1.58]),
        ("\ufeffgood\tbad\t1e-2\n", "good bad", [0.01]),
    ],
)
def test_similarity_sets_as_published(tmp_path: Path, text: str, pairs: str, scores: list[float]) -> None:
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found = read_word_test(tmp_path / "t.txt")
    assert not isinstance(found, Analogies)
    assert ([word for pair in found.pairs for word in pair], found.scores) == (pairs.split(), scores)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\tb\t1\nc\td\tnan\n", "line 2: expected two words and a number"),
        ("a\tb\tN\t1\nc\td\t2\n", "line 2: expected two words"),
        ("a,b,3,5\nc,d,8,2\n", "line 1: .* decimal commas between commas. Fix: "),
        ("a b 1\n b 2\n", "line 2: expected two words"),
        ("a b\n", "line 1: expected two words"),
        ("word1\tword2\tscore\n", "line 1: expected two words"),
    ],
)
def test_similarity_sets_that_cannot_be_read(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_word_test(tmp_path / "t.txt")


# ---- words with labels

UNIVERSAL = (
    "# sent_id = 1\n1-2\tdel\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_\n2\tle\tle\tDET\t_\t_\t3\tdet\t_\tSpaceAfter=No\n\n"
    "# newdoc\n1\tchat\tchat\tNOUN\t_\t_\t0\troot\t_\t_\n"
)


@pytest.mark.parametrize(
    ("text", "words", "labels"),
    [
        (UNIVERSAL, [["de", "le"], ["chat"]], [["ADP", "DET"], ["NOUN"]]),
        ("\ufeff" + UNIVERSAL, [["de", "le"], ["chat"]], [["ADP", "DET"], ["NOUN"]]),
        ("# id 5 domain=en\nEU _ _ B-ORG\nis _ _ O\n", [["EU", "is"]], [["B-ORG", "O"]]),
        ("# id 5\tdomain=en\nEU _ _ B-ORG\nis _ _ O\n", [["EU", "is"]], [["B-ORG", "O"]]),
        ("# a comment about what follows\nEU\tO\n\n# another\nis\tO\n", [["EU"], ["is"]], [["O"], ["O"]]),
        ("#\tO\n#nlp\tO\nis\tX\n", [["#", "#nlp", "is"]], [["O", "O", "X"]]),
        ("# O\n1 X\n", [["#", "1"]], [["O", "X"]]),
        ("word\tlabel\nEU\tB-ORG\nis\tO\n", [["EU", "is"]], [["B-ORG", "O"]]),
        ("\n# id 1\nToken POS NER\nEU NNP B-ORG\n", [["EU"]], [["B-ORG"]]),
        ("tag\ttoken\nO\tEU\n", [["EU"]], [["O"]]),
        ("1 X\n2 Y\n\n1 X\n", [["1", "2"], ["1"]], [["X", "Y"], ["X"]]),
    ],
)
def test_conll_of_other_shapes(tmp_path: Path, text: str, words: list[list[str]], labels: list[list[str]]) -> None:
    (tmp_path / "a.conll").write_text(text, encoding="utf-8")
    found = read_tagged([tmp_path / "a.conll"])
    assert (found.words, found.labels) == (words, labels)


def test_numbered_words_of_unknown_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("1\tEU\tB-ORG\n2\tis\tO\n\n1\tNo\tO\n")
    with pytest.raises(DataError, match=r"line 1: column 1 holds the numbers of the words.*--word-column"):
        read_tagged([tmp_path / "a.conll"])
    assert read_tagged([tmp_path / "a.conll"], TaggedColumns(2, 3)).words == [["EU", "is"], ["No"]]
    assert read_tagged([tmp_path / "a.conll"], TaggedColumns(1, 3)).words == [["1", "2"], ["1"]]
    (tmp_path / "u.txt").write_text(UNIVERSAL)
    assert read_tagged([tmp_path / "u.txt"], TaggedColumns(3, 8)).labels == [["case", "det"], ["root"]]
