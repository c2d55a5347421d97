#!/usr/bin/env python3
"""Writes a GGUF model with random weights: qwen3, qwen3moe, gemma3, or one with a recurrent state:
qwen3next, qwen35, lfm2 or mamba.

    make_random.py tiny-qwen3next out.gguf
    make_random.py bench-0.6b out.gguf --type Q4_0 --set n_layer=14 n_ctx=8192

The same arguments give the same file, byte for byte, with the pinned requirements.
"""
import argparse
import hashlib
import sys
import time

import numpy as np

import gguf_file
import tokenizer

DENSE = dict(arch="qwen3", vocab=2048, n_ctx=4096, n_embd=128, n_layer=4, n_head=4, n_head_kv=2,
             head_dim=64, n_ff=256, rope_base=1e6, tied=0)
MOE = dict(DENSE, arch="qwen3moe", n_expert=8, n_expert_used=2, n_ff_exp=64)
NEXT = dict(MOE, arch="qwen3next", n_layer=8, n_ff_exp=32, n_ff_shexp=32, rope_dim=16, interval=4,
            conv=4, state=64, k_heads=2, v_heads=4, mtp=0)
# 3 of 4 layers gated delta net, as in Qwen3-Next, without experts.
NEXT_DENSE = dict(DENSE, arch="qwen35", n_layer=8, rope_dim=16, interval=4, conv=4, state=64,
                  k_heads=2, v_heads=4)
# 2 of 3 layers short convolutions.
CONVOLUTIONS = dict(DENSE, arch="lfm2", n_layer=6, interval=3, conv=3)
# No attention.
MAMBA = dict(arch="mamba", vocab=2048, n_ctx=4096, n_embd=128, n_layer=4, conv=4, state=16,
             dt_rank=32, tied=0)
# 5 of 6 layers see a window only.
WINDOW = dict(DENSE, arch="gemma3", n_layer=6, window=64)

# Gated delta nets, and attention with gates.
DELTA_NETS = ("qwen3next", "qwen35")

PRESETS = {
    "tiny-qwen3": DENSE,
    "tiny-qwen3moe": MOE,
    "tiny-qwen3next": NEXT,
    "tiny-qwen35": NEXT_DENSE,
    "tiny-lfm2": CONVOLUTIONS,
    "tiny-mamba": MAMBA,
    "tiny-gemma3": WINDOW,
    # Qwen3-0.6B but for the vocabulary (151936 there: --set pad_vocab=151936)
    "bench-0.6b": dict(DENSE, vocab=32768, n_ctx=40960, n_embd=1024, n_layer=28, n_head=16,
                       n_head_kv=8, head_dim=128, n_ff=3072, tied=1),
    # 1.6 G parameters, 0.3 G active
    "bench-moe": dict(MOE, vocab=32768, n_ctx=32768, n_embd=1024, n_layer=20, n_head=16,
                      n_head_kv=4, head_dim=64, n_ff=3072, n_expert=64, n_expert_used=8,
                      n_ff_exp=384),
    # the same idea with Qwen3-Next's layers: 3 of 4 gated delta net
    "bench-next": dict(NEXT, vocab=32768, n_ctx=32768, n_embd=1024, n_layer=16, n_head=8,
                       n_head_kv=2, head_dim=128, n_ff=3072, n_expert=64, n_expert_used=8,
                       n_ff_exp=256, n_ff_shexp=256, rope_dim=32, state=128, k_heads=8,
                       v_heads=16),
}


def is_recurrent(p, i):
    """Whether layer i has a state in place of attention."""
    return i < p["n_layer"] and bool((i + 1) % p.get("interval", 1))


def delta_net(p):
    d, state, v_dim = p["n_embd"], p["state"], p["v_heads"] * p["state"]
    channels = 2 * p["k_heads"] * state + v_dim
    yield "attn_qkv.weight", (channels, d)
    yield "attn_gate.weight", (v_dim, d)
    yield "ssm_conv1d.weight", (channels, p["conv"])
    yield "ssm_dt.bias", (p["v_heads"],)
    yield "ssm_a", (p["v_heads"],)
    if p["arch"] == "qwen3next":
        yield "ssm_ba.weight", (2 * p["v_heads"], d)
    else:
        yield "ssm_beta.weight", (p["v_heads"], d)
        yield "ssm_alpha.weight", (p["v_heads"], d)
    yield "ssm_norm.weight", (state,)
    yield "ssm_out.weight", (d, v_dim)


def short_convolution(p):
    d = p["n_embd"]
    yield "shortconv.conv.weight", (d, p["conv"])
    yield "shortconv.in_proj.weight", (3 * d, d)
    yield "shortconv.out_proj.weight", (d, d)


def mamba(p):
    d, inner, state, rank = p["n_embd"], 2 * p["n_embd"], p["state"], p["dt_rank"]
    yield "attn_norm.weight", (d,)
    yield "ssm_in.weight", (2 * inner, d)
    yield "ssm_conv1d.weight", (inner, p["conv"])
    yield "ssm_conv1d.bias", (inner,)
    yield "ssm_x.weight", (rank + 2 * state, inner)
    yield "ssm_dt.weight", (inner, rank)
    yield "ssm_dt.bias", (inner,)
    yield "ssm_a", (inner, state)
    yield "ssm_d", (inner,)
    yield "ssm_out.weight", (d, inner)


def attention(p):
    d, hd = p["n_embd"], p["head_dim"]
    # Queries with their gates.
    gated = p["arch"] in DELTA_NETS
    yield "attn_q.weight", (p["n_head"] * hd * (2 if gated else 1), d)
    yield "attn_k.weight", (p["n_head_kv"] * hd, d)
    yield "attn_v.weight", (p["n_head_kv"] * hd, d)
    yield "attn_output.weight", (d, p["n_head"] * hd)
    yield "attn_q_norm.weight", (hd,)
    yield "attn_k_norm.weight", (hd,)


def layer(p, i):
    d, arch = p["n_embd"], p["arch"]
    if arch == "mamba":
        yield from mamba(p)
        return
    yield "attn_norm.weight", (d,)
    if not is_recurrent(p, i):
        yield from attention(p)
    elif arch == "lfm2":
        yield from short_convolution(p)
    else:
        yield from delta_net(p)
    yield "post_attention_norm.weight" if arch in DELTA_NETS else "ffn_norm.weight", (d,)
    if arch == "gemma3":
        yield "post_attention_norm.weight", (d,)
        yield "post_ffw_norm.weight", (d,)
    if "n_expert" not in p:
        yield "ffn_gate.weight", (p["n_ff"], d)
        yield "ffn_up.weight", (p["n_ff"], d)
        yield "ffn_down.weight", (d, p["n_ff"])
    else:
        e, f = p["n_expert"], p["n_ff_exp"]
        yield "ffn_gate_inp.weight", (e, d)
        yield "ffn_gate_exps.weight", (e, f, d)
        yield "ffn_up_exps.weight", (e, f, d)
        yield "ffn_down_exps.weight", (e, d, f)
    if arch == "qwen3next":
        s = p["n_ff_shexp"]
        yield "ffn_gate_inp_shexp.weight", (d,)
        yield "ffn_gate_shexp.weight", (s, d)
        yield "ffn_up_shexp.weight", (s, d)
        yield "ffn_down_shexp.weight", (d, s)
    if i >= p["n_layer"]:
        yield "nextn.eh_proj.weight", (d, 2 * d)
        yield "nextn.enorm.weight", (d,)
        yield "nextn.hnorm.weight", (d,)


def tensors(p):
    """(name, shape as rows x columns) of every tensor of the architecture."""
    d = p["n_embd"]
    n_vocab = max(p["vocab"], p.get("pad_vocab", 0))
    yield "token_embd.weight", (n_vocab, d)
    # LFM2's name for it.
    yield "token_embd_norm.weight" if p["arch"] == "lfm2" else "output_norm.weight", (d,)
    if not p["tied"]:
        yield "output.weight", (n_vocab, d)
    for i in range(p["n_layer"] + p.get("mtp", 0)):
        for name, shape in layer(p, i):
            yield f"blk.{i}.{name}", shape


def values(name, shape, seed, quiet, tied):
    """Random contents that keep activations near 1 and the logits peaked enough
    for greedy decoding to be the same on different kernels.  Each tensor has a
    stream of its own.  `quiet`: the tokens greedy decoding shall never choose."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint64))
    if name in ("output_norm.weight", "token_embd_norm.weight"):
        return np.full(shape, 5, np.float32)
    if name.endswith("norm.weight") or name.endswith(".ssm_d"):
        return np.ones(shape, np.float32)
    if name.endswith(".ssm_a"):         # -exp(A_log)
        return -rng.uniform(0.5, 8, shape).astype(np.float32)
    if name.endswith(".ssm_dt.bias"):   # softplus(bias) is the step: 0.001 .. 0.1
        return np.log(np.expm1(np.exp(rng.uniform(-6.9, -2.3, shape)))).astype(np.float32)
    out = rng.standard_normal(shape, np.float32)
    vocab = name in ("token_embd.weight", "output.weight")
    if name != "token_embd.weight" or tied:     # else 1, to outweigh what the layers add
        out *= (0.6 if vocab else 1) / np.sqrt(shape[-1])
    if vocab and (tied or name == "output.weight"):
        out[quiet] *= 0.05
    return out


def write(p, path, ftype, seed):
    """Writes the model of sizes `p`; the file depends on nothing but the arguments."""
    start = time.time()
    arch = p["arch"]
    w = gguf_file.create(path, arch)
    n_head_kv = p.get("n_head_kv", 0)
    if arch == "lfm2":
        n_head_kv = [0 if is_recurrent(p, i) else n_head_kv for i in range(p["n_layer"])]
    gguf_file.add_hparams(w, ftype, name=f"random {arch}", n_ctx=p["n_ctx"], n_embd=p["n_embd"],
                          n_layer=p["n_layer"] + p.get("mtp", 0), n_head=p.get("n_head", 0),
                          n_head_kv=n_head_kv, head_dim=p.get("head_dim", 0), n_ff=p.get("n_ff", 0),
                          rope_base=p.get("rope_base", 0))
    if "n_expert" in p:
        w.add_expert_count(p["n_expert"])
        w.add_expert_used_count(p["n_expert_used"])
        w.add_expert_feed_forward_length(p["n_ff_exp"])
    if arch == "gemma3":
        w.add_sliding_window(p["window"])
    if arch == "lfm2":
        w.add_shortconv_l_cache(p["conv"])
    if arch == "mamba":
        w.add_ssm_conv_kernel(p["conv"])
        w.add_ssm_state_size(p["state"])
        w.add_ssm_time_step_rank(p["dt_rank"])
        w.add_ssm_inner_size(2 * p["n_embd"])
    if arch == "qwen35":
        # How many pairs of a head tell the time, the row and the column of an image.
        w.add_rope_dimension_sections([p["rope_dim"] // 2, 0, 0, 0])
    if arch == "qwen3next":
        w.add_expert_shared_feed_forward_length(p["n_ff_shexp"])
    if arch in DELTA_NETS:
        w.add_rope_dimension_count(p["rope_dim"])
        w.add_full_attention_interval(p["interval"])
        w.add_ssm_conv_kernel(p["conv"])
        w.add_ssm_state_size(p["state"])
        w.add_ssm_group_count(p["k_heads"])
        w.add_ssm_time_step_rank(p["v_heads"])
        w.add_ssm_inner_size(p["v_heads"] * p["state"])
        if p.get("mtp"):
            w.add_nextn_predict_layers(p["mtp"])
    tok = tokenizer.for_random_weights(p["vocab"], seed)
    types = gguf_file.add_tokenizer(w, tok, max(p["vocab"], p.get("pad_vocab", 0)))
    quiet = np.array(types) != tokenizer.NORMAL
    params = 0
    for name, shape in tensors(p):
        params += int(np.prod(shape))
        gguf_file.add_tensor(w, name, values(name, shape, seed, quiet, p["tied"]), ftype)
    gguf_file.finish(w, path)
    print(f"{path}: {arch} {ftype}, {params / 1e6:.1f} M parameters, {time.time() - start:.0f} s")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("preset", choices=PRESETS)
    ap.add_argument("out")
    ap.add_argument("--type", choices=gguf_file.FTYPES, default="Q8_0")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE",
                    help="change a size of the preset: " + ", ".join(NEXT) + ", pad_vocab")
    args = ap.parse_args()
    p = dict(PRESETS[args.preset])
    for item in args.set:
        key, _, value = item.partition("=")
        if key == "arch" or (key not in p and key != "pad_vocab"):
            sys.exit(f"{args.preset} has no {key}")
        p[key] = float(value) if key == "rope_base" else int(value)
    write(p, args.out, args.type, args.seed)


if __name__ == "__main__":
    main()
