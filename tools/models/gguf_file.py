"""What the scripts here share when they write GGUF files."""
import os

import gguf
import numpy as np

import tokenizer

# Name: (type of a matrix, general.file_type).
FTYPES = {
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "Q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
# Matrices that stay in F32.
SMALL = (".ssm_conv1d.", ".ssm_a", ".shortconv.conv.", ".ffn_gate_inp")


def create(path, arch):
    """A writer beside `path`: a server may have the old file mapped into its memory."""
    return gguf.GGUFWriter(str(path) + ".part", arch)


def finish(w, path):
    """Writes everything and gives the file its name."""
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.replace(str(path) + ".part", path)


def add_hparams(w, ftype, *, name, n_ctx, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff,
                rope_base, eps=1e-6):
    """The metadata that every Qwen3 architecture has."""
    w.add_name(name)
    w.add_context_length(n_ctx)
    w.add_embedding_length(n_embd)
    w.add_block_count(n_layer)
    w.add_head_count(n_head)
    w.add_head_count_kv(n_head_kv)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_feed_forward_length(n_ff)
    w.add_rope_freq_base(rope_base)
    w.add_layer_norm_rms_eps(eps)
    w.add_file_type(FTYPES[ftype][1])
    w.add_quantization_version(2)


def add_tokenizer(w, tok, pad_to=0):
    """The tokenizer and the chat template; returns the token types."""
    tokens, types, merges = tokenizer.token_lists(tok, pad_to)
    add_vocabulary(w, tokens, types, merges, tokenizer.CHAT_TEMPLATE)
    return types


def add_vocabulary(w, tokens, types, merges, template):
    """A vocabulary in Qwen's layout and a chat template."""
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(tokens.index("<|endoftext|>"))
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(template)


def add_tensor(w, name, data, ftype):
    """Matrices in the file's type; vectors, convolutions and routers in F32, as llama.cpp's own
    converter does."""
    qtype = FTYPES[ftype][0]
    small = data.ndim == 1 or any(part in name for part in SMALL)
    if small or qtype == gguf.GGMLQuantizationType.F32:
        w.add_tensor(name, np.ascontiguousarray(data, dtype=np.float32))
    elif qtype == gguf.GGMLQuantizationType.F16:
        w.add_tensor(name, data.astype(np.float16))
    else:
        assert data.shape[-1] % 32 == 0, (name, data.shape)
        w.add_tensor(name, gguf.quants.quantize(data, qtype), raw_dtype=qtype)
