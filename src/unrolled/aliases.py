"""Names that other tools use for our options and tasks. They are not accepted; error messages name ours.

option_advice("lr", {"learning_rate", "batch_size"})          # " It is called learning-rate here."
option_advice("num_workers", {...})                           # " Data are read in the training process: ..."
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

__all__ = ["nearest", "option_advice", "task_advice", "value_advice"]

#: Our option, or several of which a task has one, by the names in other tools. Hyphens are underscores here.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "accumulate": ("accumulate_batches", "accumulation_steps", "grad_accum", "gradient_accumulation_steps", "update_freq"),
    "adversarial": ("adv_epsilon",),
    "alpha": ("length_penalty", "lenpen"),
    "attention": ("attn", "attention_type"),
    "audio": ("audio_dir", "audio_folder", "clips", "wavs"),
    "average_decay": ("ema", "ema_decay"),
    "batch_size": ("bs", "batch", "per_device_train_batch_size", "train_batch_size", "minibatch", "max_sentences"),
    "beam": ("beam_size", "beam_width", "num_beams", "n_beams"),
    "bidirectional": ("bi", "bidir", "brnn", "bi_lstm", "bilstm"),
    "buckets": ("bucket",),
    "cell": ("rnn_type", "rnn", "rnn_cell", "cell_type", "arch", "architecture"),
    "clip": ("grad_clip", "max_grad_norm", "clip_norm", "gradient_clip_val", "clip_grad", "clip_grad_norm", "max_norm"),
    "config": ("config_file", "cfg", "conf"),
    "device": ("gpu", "gpus", "cuda", "use_cuda", "use_gpu", "no_cuda", "accelerator"),
    "dropout_input": ("input_dropout", "dropouti", "embedding_dropout", "emb_dropout"),
    "embedding_size": ("emb_size", "embedding_dim", "embed_dim", "emsize", "word_vec_size", "emb_dim", "dim_emb"),
    "encoder": ("pretrained_model", "pretrained", "base_model", "model_name_or_path"),
    "encoder_layers": ("enc_layers",),
    "decoder_layers": ("dec_layers",),
    "encoding": ("charset",),
    "epochs": ("num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "nepochs", "epoch"),
    "evaluations": (
        "eval_steps",
        "eval_every",
        "val_check_interval",
        "validate_every",
        "evaluation_strategy",
        "valid_steps",
    ),
    "hidden_size": ("hidden_dim", "hidden", "n_hidden", "nhid", "rnn_size", "hid_dim", "num_hidden", "d_model", "units"),
    "images": ("image_dir", "image_folder", "img_dir", "photos"),
    "label": ("label_column", "label_col", "target_column", "labels_column"),
    "labels": ("problem_type", "multilabel", "multi_label"),
    "learning_rate": ("lr", "rate", "learnrate", "alpha_lr", "init_lr", "max_lr", "base_lr", "step_size"),
    "letter_size": ("char_embedding_size", "char_dim", "char_emb_dim"),
    "longest": ("max_length", "max_len", "max_seq_length", "max_seq_len", "maxlen", "max_duration", "max_tokens"),
    "min_count": ("min_freq", "mincount", "min_word_count", "min_frequency"),
    "min_ngram": ("minn", "min_n"),
    "max_ngram": ("maxn", "max_n"),
    "minutes": ("max_time", "time_budget", "time_limit", "hours", "max_minutes", "time"),
    "n_layers": ("num_layers", "layers", "nlayers", "n_layer", "num_hidden_layers", "rnn_layers"),
    "n_mels": ("num_mel_bins", "mel_bins", "num_mels"),
    "negatives": ("negative", "neg", "negative_samples", "num_negatives", "ns"),
    "ngrams": ("word_ngrams", "wordngrams", "ngram", "ngram_range"),
    "objective": ("loss",),
    "optimiser": ("optimizer", "optim", "opt", "trainer"),
    "patience": ("early_stopping", "early_stopping_patience", "early_stop"),
    "precision": ("fp16", "bf16", "amp", "mixed_precision", "half", "dtype"),
    "rate_hz": ("sample_rate", "sampling_rate", "sr"),
    "schedule": ("lr_scheduler", "scheduler", "lr_schedule", "lr_scheduler_type", "lr_decay"),
    "seed": ("random_seed", "random_state", "manual_seed"),
    "smoothing": ("label_smoothing", "label_smoothing_factor"),
    "softmax": ("adaptive_softmax",),
    "subsample": ("sample",),
    "text": ("text_column", "text_col", "sentence_column", "content_column"),
    "threads": ("num_threads", "n_threads", "workers_threads", "thread", "cpus", "n_jobs", "jobs"),
    "tied": ("tie_weights", "tie_embeddings", "share_embeddings", "weight_tying", "tie"),
    "tokens": ("tokenizer", "tokenization", "level", "tok"),
    "valid_fraction": ("val_split", "test_size", "validation_split", "val_fraction", "valid_size", "val_size", "dev_ratio"),
    "vectors": ("pretrained_vectors", "pretrained_embeddings", "embeddings", "word_vectors", "glove", "embedding_file"),
    "vector_size": ("dim", "dims", "size", "vec_size", "vector_dim", "dimensions"),
    "vocabulary_size": ("vocab_size", "max_vocab_size", "max_vocab", "vocab", "max_features"),
    "warmup_steps": ("warmup", "num_warmup_steps", "warmup_updates", "warmup_ratio"),
    "weight_decay": ("wd", "l2", "decay"),
    "window": ("bptt", "seq_len", "seq_length", "sequence_length", "block_size", "context_length", "context_size"),
    "word_window": ("ws", "window_size"),
    # flags of commands
    "out": ("output_dir", "output", "save_dir", "save", "model_dir", "save_model", "outdir", "checkpoint_dir", "out_dir"),
    "overwrite": ("overwrite_output_dir", "force", "exist_ok"),
    "valid": ("validation", "val", "dev", "eval_file", "validation_file", "valid_data", "val_data", "dev_file"),
    "preset": ("recipe",),
    "resume": ("resume_from", "resume_from_checkpoint", "restore_from", "continue"),
    "allow_changes": ("ignore_changes",),
    "json": ("as_json", "output_format"),
    "quiet": ("silent", "no_progress", "disable_tqdm"),
    "input": ("file", "files", "input_file", "test_file", "in_file", "infile", "src", "source"),
    "n_best": ("nbest", "num_return_sequences", "k", "topk", "top"),
    "threshold": ("cutoff", "min_probability", "confidence"),
    "require": ("force_words", "constraints", "force_words_ids"),
    "rounded": ("int8", "quantize", "quantized", "quantise"),
    "language_model": ("lm", "lm_path", "kenlm", "lm_file"),
    "hotwords": ("hot_words", "bias_phrases", "keywords", "boost"),
    "length": ("max_new_tokens", "n_tokens", "num_tokens", "max_length", "max_tokens", "n_predict", "max_len"),
    "prompt": ("start", "prime", "prefix_text", "context"),
    "temperature": ("temp", "t"),
    "n": ("num_samples", "n_samples", "num_return_sequences", "topn", "k", "top_k", "topk"),
    "port": ("p",),
    "host": ("bind", "address", "ip"),
    "certificate": ("cert", "ssl_certfile", "ssl_cert", "tls_cert"),
    "key": ("ssl_keyfile", "private_key", "tls_key"),
    "workers": ("num_processes",),
}

#: Options of other tools that have no counterpart, and what is done instead.
_ABSENT: dict[str, str] = {
    "num_workers": "Data are read by the training process itself: leave it out. For arithmetic there is threads.",
    "dataloader_num_workers": "Data are read by the training process itself: leave it out.",
    "log_dir": "A run folder keeps its own metrics.jsonl and report.html: leave it out.",
    "logging_steps": "Every run writes metrics.jsonl: leave it out.",
    "save_steps": "The best and the last model are always saved: leave it out.",
    "save_total_limit": "Only the best and the last model are kept: leave it out.",
    "shuffle": "Training data are shuffled by the seed: leave it out.",
    "max_grad_value": "Gradients are clipped by their norm: see clip.",
    "momentum": "The optimizers are adamw and sgd without momentum: leave it out.",
    "nesterov": "The optimizers are adamw and sgd without momentum: leave it out.",
    "dropout": "Dropout has one option for each place.",
    "lowercase": "See lower, where a task has it; other models keep the case of the text.",
    "verbose": "Progress is shown unless --quiet is given; --debug, before the verb, shows tracebacks.",
    "probabilities": "Probabilities are part of the answers: see --json.",
    "return_all_scores": "Probabilities are part of the answers: see --json.",
    "max_tokens": "Texts are not cut: leave it out.",
    "top_k": "It belongs to `unrolled sample` and, with predict --sample, to -s top_k=K.",
    "top_p": "It belongs to `unrolled sample` and, with predict --sample, to -s top_p=P.",
    "do_sample": "See --sample of translators, and `unrolled sample` of language models.",
}

#: Our tasks by other names.
_TASKS: dict[str, tuple[str, ...]] = {
    "language-model": ("lm", "language-modeling", "languagemodel", "char-rnn", "generate", "generation", "text-generation"),
    "word-vectors": ("word2vec", "w2v", "fasttext", "embeddings", "embedding", "vectors", "skipgram", "cbow", "glove"),
    "classify": (
        "classification", "classifier", "sentiment", "sentiment-analysis", "text-classification", "supervised", "textcat",
    ),
    "tag": (
        "ner", "pos", "tagger", "tagging", "token-classification", "sequence-labeling", "sequence-labelling", "chunking",
        "punctuate", "punctuation", "truecase", "restore",
    ),
    "translate": ("mt", "nmt", "translation", "translator", "seq2seq", "machine-translation"),
    "caption": ("captioning", "captions", "captioner", "image-captioning", "image-to-text", "im2txt"),
    "transcribe": (
        "asr", "stt", "speech", "speech-to-text", "speech-recognition", "automatic-speech-recognition", "recognize",
        "recognizer", "recogniser", "transcription", "ctc", "whisper",
    ),
}  # fmt: skip

#: Values that other tools spell otherwise, by our spelling.
_VALUES: dict[str, tuple[str, ...]] = {
    "cuda": ("gpu", "cuda:0", "0"),
    "adamw": ("adam", "adamax", "nadam"),
    "many": ("multi", "multilabel", "multi-label"),
    "one": ("single", "multiclass", "binary"),
    "ordered": ("ordinal",),
    "elman": ("rnn", "vanilla", "simple"),
    "bfloat16": ("bf16", "fp16", "float16", "half"),
    "float32": ("fp32", "float", "full"),
    "words": ("word",),
    "char": ("chars", "character", "characters", "letters"),
}


def _normalized(name: str) -> str:
    return name.lstrip("-").lower().replace("-", "_").rpartition(".")[2]


def option_advice(name: str, known: Collection[str], *, flags: bool = False) -> str:
    """Return what an unknown option is called here, with a space before it; else the nearest of `known`, or "".

    known: the names of options that exist, as in Python (learning_rate) or as flags (--learning-rate). flags: whether the
    answer is written as a flag.
    """
    wanted = _normalized(name)
    names = {_normalized(option): option for option in known}
    written = (lambda option: f"--{option.replace('_', '-')}") if flags else (lambda option: option)
    if wanted in names:
        return f" Did you mean '{written(wanted)}'?"
    ours = [option for option, others in _OPTIONS.items() if wanted in others and option in names]
    if ours:
        return f" Here it is called {' or '.join(map(written, ours))}."
    if wanted == "dropout":
        places = sorted(option for option in names if option.startswith("dropout_"))
        return f" Dropout has an option for each place: {', '.join(map(written, places))}." if places else ""
    if wanted in _ABSENT:
        return f" {_ABSENT[wanted]}"
    return nearest(written(wanted), [written(option) for option in names])


def task_advice(name: str, tasks: Collection[str]) -> str:
    """Return what a task with another tool's name is called here, with a space before it; else the nearest, or ""."""
    wanted = name.lower().replace("_", "-")
    ours = next((task for task, others in _TASKS.items() if wanted in others and task in tasks), None)
    return f" Did you mean '{ours}'?" if ours else nearest(wanted, tasks)


def value_advice(value: object, known: Collection[str]) -> str:
    """Return our spelling of a value such as 'GRU' or 'gpu', with a space before it; else the nearest, or ""."""
    wanted = str(value).lower()
    ours = next((name for name in known if name.lower() == wanted), None)
    ours = ours or next((name for name, others in _VALUES.items() if wanted in others and name in known), None)
    return f" Did you mean '{ours}'?" if ours else nearest(wanted, known)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'X'?" for the closest of `known`, or the empty string."""
    forms = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(forms), n=1, cutoff=0.5)
    return f" Did you mean '{forms[close[0]]}'?" if close else ""
