#!/usr/bin/env python3
"""Computes what a GGUF file needs of memory, independently of strixhalo: from the file's header as the
`gguf` package reads it, by the formulas of docs/memory.md.  Prints JSON with sizes in bytes.

    plan.py model.gguf --slots 2 --tokens 40960 --type-k q8_0 --type-v q8_0

Weights, keys and values (flash attention on), recurrent states; not the compute buffers.  For the Qwen3
architectures and others without windows or compressed attention.
"""
import argparse
import json

import gguf

BLOCKS = {name: gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]]
          for name in ("f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")}


def row(values, kind):
    """Bytes of a row of `values` values."""
    per_block, size = BLOCKS[kind]
    return -(-values // per_block) * size


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("file")
    ap.add_argument("--slots", type=int, default=1)
    ap.add_argument("--tokens", type=int, required=True, help="tokens of one slot")
    ap.add_argument("--type-k", choices=BLOCKS, default="f16")
    ap.add_argument("--type-v", choices=BLOCKS, default="f16")
    args = ap.parse_args()
    reader = gguf.GGUFReader(args.file)
    arch = reader.get_field("general.architecture").contents()

    def key(suffix, default=None):
        field = reader.get_field(f"{arch}.{suffix}")
        return default if field is None else field.contents()

    layers = key("block_count") - key("nextn_predict_layers", 0)
    interval = key("full_attention_interval", 4 if key("ssm.state_size") else 1)
    attends = [(i + 1) % interval == 0 for i in range(layers)]
    heads = key("attention.head_count_kv")
    heads = heads if isinstance(heads, list) else [heads] * layers
    cells = -(-args.tokens // 256) * 256
    per_token = sum(row(n * key("attention.key_length"), args.type_k)
                    + row(n * key("attention.value_length"), args.type_v)
                    for n, here in zip(heads, attends) if here)
    state = 0
    if key("ssm.state_size"):
        inner, size = key("ssm.inner_size"), key("ssm.state_size")
        mixed = inner + 2 * key("ssm.group_count") * size
        state = (inner * size + (key("ssm.conv_kernel") - 1) * mixed) * 4
    print(json.dumps({
        "weights": int(sum(tensor.n_bytes for tensor in reader.tensors)),
        "kv": per_token * cells * args.slots,
        "recurrent": state * (layers - sum(attends)) * args.slots,
    }))


if __name__ == "__main__":
    main()
