#!/usr/bin/env python3
"""Makes split and broken versions of a GGUF file.

    make_variants.py split model.gguf OUT_DIR 3     # OUT_DIR/model-00001-of-00003.gguf ...
    make_variants.py broken model.gguf OUT_DIR      # model: a small one, F16 or Q8_0
"""
import argparse
import struct
from pathlib import Path

import gguf

import gguf_file

SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


def copy_fields(reader, w, skip=()):
    """Copies the metadata, less the keys that begin with one of `skip`."""
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture" or field.name.startswith(skip):
            continue
        sub = field.types[1] if len(field.types) > 1 else None
        w.add_key_value(field.name, field.contents(), field.types[0], sub)


def arch_of(reader):
    return reader.fields["general.architecture"].contents()


def split(path, out_dir, count):
    """As gguf-split does: all metadata in the first part, an equal share of tensors in each."""
    reader = gguf.GGUFReader(path)
    total = len(reader.tensors)
    for no in range(count):
        target = Path(out_dir) / f"{Path(path).stem}-{no + 1:05d}-of-{count:05d}.gguf"
        w = gguf_file.create(target, arch_of(reader))
        if no == 0:
            copy_fields(reader, w)
        for key, value in zip(SPLIT_KEYS, (no, count, total)):
            (w.add_int32 if key == SPLIT_KEYS[2] else w.add_uint16)(key, value)
        for t in reader.tensors[total * no // count:total * (no + 1) // count]:
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
        gguf_file.finish(w, target)
        print(target)


def rewrite(path, target, skip=(), tensors=lambda name: True, arch=None):
    """A copy of a model without some of its metadata or tensors, or under another name."""
    reader = gguf.GGUFReader(path)
    w = gguf_file.create(target, arch or arch_of(reader))
    copy_fields(reader, w, skip)
    for t in reader.tensors:
        if tensors(t.name):
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    gguf_file.finish(w, target)


def broken(path, out_dir):
    """One file per way in which a model file can be bad."""
    out = Path(out_dir)
    good = Path(path).read_bytes()
    reader = gguf.GGUFReader(path)
    last = max(reader.tensors, key=lambda t: t.data_offset)
    header_end = min(t.data_offset for t in reader.tensors)

    def put(name, data):
        (out / name).write_bytes(data)

    put("zero-length.gguf", b"")
    put("only-magic.gguf", good[:4])
    put("text-file.gguf", b"This is a text file that someone has renamed to .gguf.\n" * 40)
    put("wrong-magic.gguf", b"GGML" + good[4:])
    put("wrong-version.gguf", good[:4] + struct.pack("<I", 99) + good[8:])
    put("big-endian-version.gguf", good[:4] + struct.pack(">I", 3) + good[8:])
    put("truncated-header.gguf", good[:header_end // 2])
    put("truncated-data.gguf", good[:(header_end + len(good)) // 2])
    put("truncated-last-byte.gguf", good[:last.data_offset + last.n_bytes - 1])
    put("huge-tensor-count.gguf", good[:8] + struct.pack("<Q", 1 << 62) + good[16:])
    put("huge-kv-count.gguf", good[:16] + struct.pack("<Q", 1 << 62) + good[24:])
    # the first key is "general.architecture": its length comes right after the counts
    put("huge-string.gguf", good[:24] + struct.pack("<Q", 1 << 62) + good[32:])
    rewrite(path, out / "missing-tokenizer.gguf", skip=("tokenizer.",))
    rewrite(path, out / "missing-merges.gguf", skip=("tokenizer.ggml.merges",))
    rewrite(path, out / "missing-template.gguf", skip=("tokenizer.chat_template",))
    rewrite(path, out / "missing-hparam.gguf", skip=(arch_of(reader) + ".block_count",))
    rewrite(path, out / "missing-tensor.gguf", tensors=lambda n: n != "blk.1.attn_k.weight")
    rewrite(path, out / "unknown-arch.gguf", arch="nosucharch")
    wrong_shape = bytearray(good)
    at = good.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 8
    rows, = struct.unpack_from("<Q", good, at)
    struct.pack_into("<Q", wrong_shape, at, rows // 2)
    put("wrong-shape.gguf", wrong_shape)
    nan = bytearray(good)
    norm = next(t for t in reader.tensors if t.name == "output_norm.weight")
    nan[norm.data_offset:norm.data_offset + 4 * 8] = struct.pack("<8f", *[float("nan")] * 8)
    put("nan-weights.gguf", nan)
    split(path, out, 3)
    stem = Path(path).stem
    (out / f"{stem}-00002-of-00003.gguf").unlink()      # the part that is missing
    (out / "a-directory.gguf").mkdir(exist_ok=True)
    link = out / "dangling-link.gguf"
    link.unlink(missing_ok=True)
    link.symlink_to("no-such-file.gguf")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["split", "broken"])
    ap.add_argument("model")
    ap.add_argument("out_dir", type=Path)
    ap.add_argument("parts", type=int, nargs="?", default=3)
    args = ap.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    if args.what == "split":
        split(args.model, args.out_dir, args.parts)
    else:
        broken(args.model, args.out_dir)


if __name__ == "__main__":
    main()
