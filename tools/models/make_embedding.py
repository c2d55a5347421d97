#!/usr/bin/env python3
"""Writes a small GGUF model of random weights that embeds texts, or ranks them.

    make_embedding.py tiny-bert out.gguf
    make_embedding.py tiny-qwen3-embedding out.gguf
    make_embedding.py tiny-reranker out.gguf

Weights are F32, so that values of different builds of llama.cpp differ by less than 1e-4. The same
arguments give the same file, byte for byte, with the pinned requirements.
"""
import argparse

import gguf
import numpy as np

import gguf_file
import make_random
import tokenizer

BERT = dict(arch="bert", pooling="MEAN", n_ctx=512, n_embd=32, n_layer=2, n_head=2, n_ff=64)
PRESETS = {
    "tiny-bert": BERT,
    # A classifier of two layers and one output, as BGE's rerankers have.
    "tiny-reranker": dict(BERT, pooling="RANK"),
    # A context of more than a ubatch: a text can be computed in parts.
    "tiny-qwen3-embedding": dict(arch="qwen3", pooling="LAST", vocab=512, n_ctx=2048, n_embd=32,
                                 n_layer=2, n_head=2, n_head_kv=1, head_dim=32, n_ff=64,
                                 rope_base=1e6, tied=1),
}
SEED = 1
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in is that for it as was with be by on not he his but at are this have from or
an they which one you were all her she there would their we him been has when who will no more if out so
what up said about its than into them can only other new some could time these two may then do first any
my now such like our over man me even most made after also did many before must through""".split()
# Greek and Cyrillic words have tokens, others become [UNK].
LETTERS = "abcdefghijklmnopqrstuvwxyzαβγδεζηθικλμνξοπρσςτυφχψωабвгдеёжзийклмнопрстуфхцчшщъыьэюяß"
ALONE = "0123456789!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~世界中国人日本語"
ENDINGS = ["ing", "ed", "er", "est", "ly", "tion", "s", "al", "en", "on", "re", "th", "ou"]


def word_pieces():
    """WordPiece as GGUF has it: the start of a word has llama.cpp's mark of a space."""
    begin = [f"▁{t}" for t in [*LETTERS, *ALONE, *WORDS] if t not in SPECIALS]
    inside = [*LETTERS, *"0123456789", *ENDINGS]
    tokens = list(dict.fromkeys([*SPECIALS, *begin, *inside]))
    return tokens, [tokenizer.CONTROL] * len(SPECIALS) + [tokenizer.NORMAL] * (len(tokens) - len(SPECIALS))


def bert_tensors(p, n_vocab):
    """(name, shape as rows x columns) of every tensor."""
    d = p["n_embd"]
    yield "token_embd.weight", (n_vocab, d)
    yield "token_types.weight", (2, d)
    yield "position_embd.weight", (p["n_ctx"], d)
    yield "token_embd_norm.weight", (d,)
    yield "token_embd_norm.bias", (d,)
    for i in range(p["n_layer"]):
        b = f"blk.{i}."
        shapes = {"attn_q": (d, d), "attn_k": (d, d), "attn_v": (d, d), "attn_output": (d, d),
                  "attn_output_norm": (d,), "ffn_up": (p["n_ff"], d), "ffn_down": (d, p["n_ff"]),
                  "layer_output_norm": (d,)}
        for name, shape in shapes.items():
            yield b + name + ".weight", shape
            yield b + name + ".bias", shape[:1]
    if p["pooling"] == "RANK":
        yield "cls.weight", (d, d)
        yield "cls.bias", (d,)
        yield "cls.output.weight", (1, d)
        yield "cls.output.bias", (1,)


def write_bert(w, p):
    w.add_name(f"random {p['arch']} {p['pooling'].lower()}")
    w.add_context_length(p["n_ctx"])
    w.add_embedding_length(p["n_embd"])
    w.add_block_count(p["n_layer"])
    w.add_head_count(p["n_head"])
    w.add_feed_forward_length(p["n_ff"])
    w.add_layer_norm_eps(1e-12)
    w.add_causal_attention(False)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_quantization_version(2)
    tokens, types = word_pieces()
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_type_count(2)
    w.add_pad_token_id(0)
    w.add_unk_token_id(1)
    w.add_bos_token_id(2)
    w.add_eos_token_id(3)
    w.add_sep_token_id(3)
    w.add_add_bos_token(True)
    w.add_add_eos_token(True)
    w.add_add_sep_token(False)
    w.add_mask_token_id(4)
    for name, shape in bert_tensors(p, len(tokens)):
        gguf_file.add_tensor(w, name, make_random.values(name, shape, SEED, [], tied=0), "F32")


def write_qwen3(w, p):
    gguf_file.add_hparams(w, "F32", name="random qwen3 embedding",
                          **{k: p[k] for k in ("n_ctx", "n_embd", "n_layer", "n_head", "n_head_kv",
                                               "head_dim", "n_ff", "rope_base")})
    tok = tokenizer.for_random_weights(p["vocab"], SEED)
    gguf_file.add_tokenizer(w, tok, p["vocab"])
    w.add_add_eos_token(True)
    for name, shape in make_random.tensors(p):
        gguf_file.add_tensor(w, name, make_random.values(name, shape, SEED, [], p["tied"]), "F32")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("preset", choices=PRESETS)
    ap.add_argument("out")
    args = ap.parse_args()
    p = PRESETS[args.preset]
    w = gguf_file.create(args.out, p["arch"])
    {"bert": write_bert, "qwen3": write_qwen3}[p["arch"]](w, p)
    w.add_pooling_type(gguf.PoolingType[p["pooling"]])
    gguf_file.finish(w, args.out)


if __name__ == "__main__":
    main()
