"""A byte-level BPE tokenizer in Qwen's layout, and the chat template that goes with it."""
import json
import random
from pathlib import Path

import corpus

# Token types of GGUF's tokenizer.ggml.token_type.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

# Qwen3's added tokens, in Qwen3's order. Those that a model writes as part of its answer are
# USER_DEFINED (llama.cpp prints them), the others are CONTROL.
SPECIALS = (
    [(t, CONTROL) for t in (
        "<|endoftext|>", "<|im_start|>", "<|im_end|>",
        "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
        "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
        "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")]
    + [(t, USER_DEFINED) for t in ("<tool_call>", "</tool_call>")]
    + [(t, CONTROL) for t in (
        "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
        "<|repo_name|>", "<|file_sep|>")]
    + [(t, USER_DEFINED) for t in (
        "<tool_response>", "</tool_response>", "<think>", "</think>")]
)

# The split that llama.cpp applies for tokenizer.ggml.pre = "qwen2".
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# ChatML with tools and optional thinking. The tags are Qwen3's, the wording is ours.
# Variables: messages, tools, add_generation_prompt, enable_thinking.
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


# GPT-2's printable stand-in for each byte.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [b for b in range(256) if b not in _PRINTABLE]
_STAND_INS = {b: chr(b) for b in _PRINTABLE} | {b: chr(256 + n) for n, b in enumerate(_OTHERS)}


def spell(data):
    """Bytes as the text of a token spells them."""
    return "".join(_STAND_INS[b] for b in data)


def corpus_texts(r, count, template_pieces=("", "")):
    """The texts of `count` samples of the corpus."""
    for _ in range(count):
        yield "".join(text for text, _ in corpus.sample(r, template_pieces))


def split():
    """The pre-tokenizer: the pieces of QWEN2_SPLIT as bytes."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def train(texts, vocab_size):
    """A tokenizers.Tokenizer of at most vocab_size tokens, SPECIALS last."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = split()
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.add_tokens([AddedToken(t, normalized=False, special=k == CONTROL) for t, k in SPECIALS])
    return tok


def for_corpus(seed, vocab_size, template_pieces):
    """The tokenizer of the built-in model."""
    return train(corpus_texts(random.Random(seed), 20000, template_pieces), vocab_size)


def from_gguf(path):
    """The tokenizer that a file made by `token_lists` holds."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models

    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    special = {t for t, _ in SPECIALS}
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens) if t not in special}, merges=merges))
    tok.pre_tokenizer, tok.decoder = split(), decoders.ByteLevel()
    tok.add_tokens([AddedToken(t, normalized=False, special=k == CONTROL) for t, k in SPECIALS])
    assert all(tok.token_to_id(t) == i for i, t in enumerate(tokens))
    return tok


def for_random_weights(vocab_size, seed):
    """A tokenizer of at most vocab_size tokens that depends on nothing but its arguments."""
    return train(corpus_texts(random.Random(seed), max(4000, 2 * vocab_size)), vocab_size)


def token_lists(tok, pad_to=0):
    """(tokens, token types, merges) as GGUF stores them, padded with unused tokens."""
    state = json.loads(tok.to_str())
    vocab = dict(state["model"]["vocab"])
    kinds = dict(SPECIALS)
    for t in kinds:
        vocab[t] = tok.token_to_id(t)
    tokens = [t for t, _ in sorted(vocab.items(), key=lambda kv: kv[1])]
    assert [vocab[t] for t in tokens] == list(range(len(tokens)))
    types = [kinds.get(t, NORMAL) for t in tokens]
    for i in range(len(tokens), pad_to):
        tokens.append(f"[PAD{i}]")
        types.append(UNUSED)
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["model"]["merges"]]
    return tokens, types, merges
