"""Qwen3 in PyTorch, in the size of the built-in model."""
import math

import torch
import torch.nn.functional as F

# Sizes, by GGUF's meaning of the words; 1.4 million parameters.
D = dict(vocab=1536, n_embd=128, n_layer=5, n_head=4, n_head_kv=2, head_dim=64, n_ff=384,
         rope_base=1e6, n_ctx=4096)
EPS = 1e-6


class Layer(torch.nn.Module):
    """Attention with grouped heads, then a gated feed-forward part."""

    def __init__(self):
        super().__init__()
        d, q, kv = D["n_embd"], D["n_head"] * D["head_dim"], D["n_head_kv"] * D["head_dim"]

        def mat(rows, cols, scale=1.0):
            return torch.nn.Parameter(torch.randn(rows, cols) * scale / math.sqrt(cols))

        def ones(n):
            return torch.nn.Parameter(torch.ones(n))

        out = 1 / math.sqrt(2 * D["n_layer"])
        self.attn_norm, self.ffn_norm = ones(d), ones(d)
        self.attn_q, self.attn_k, self.attn_v = mat(q, d), mat(kv, d), mat(kv, d)
        self.attn_output = mat(d, q, out)
        self.attn_q_norm, self.attn_k_norm = ones(D["head_dim"]), ones(D["head_dim"])
        self.ffn_gate, self.ffn_up = mat(D["n_ff"], d), mat(D["n_ff"], d)
        self.ffn_down = mat(d, D["n_ff"], out)

    def forward(self, x, rope):
        b, t, _ = x.shape
        h = norm(x, self.attn_norm)

        def heads(w):
            return F.linear(h, w).view(b, t, -1, D["head_dim"]).transpose(1, 2)

        q = rotate(norm(heads(self.attn_q), self.attn_q_norm), rope)
        k = rotate(norm(heads(self.attn_k), self.attn_k_norm), rope)
        a = F.scaled_dot_product_attention(q, k, heads(self.attn_v), is_causal=True, enable_gqa=True)
        x = x + F.linear(a.transpose(1, 2).reshape(b, t, -1), self.attn_output)
        h = norm(x, self.ffn_norm)
        return x + F.linear(F.silu(F.linear(h, self.ffn_gate)) * F.linear(h, self.ffn_up), self.ffn_down)


class Model(torch.nn.Module):
    """Qwen3 with tied embeddings; parameter names are the GGUF tensor names."""

    def __init__(self):
        super().__init__()
        self.token_embd = torch.nn.Parameter(torch.randn(D["vocab"], D["n_embd"]) * 0.02)
        self.blk = torch.nn.ModuleList(Layer() for _ in range(D["n_layer"]))
        self.output_norm = torch.nn.Parameter(torch.ones(D["n_embd"]))

    def forward(self, ids):
        x = self.token_embd[ids]
        rope = angles(ids.shape[1])
        for layer in self.blk:
            x = layer(x, rope)
        return F.linear(norm(x, self.output_norm), self.token_embd)


def norm(x, w):
    """RMS norm over the last dimension."""
    return F.rms_norm(x, (x.shape[-1],), w, EPS)


def angles(t):
    """(cos, sin) of the rotary angles of positions 0..t."""
    half = D["head_dim"] // 2
    freq = D["rope_base"] ** (-torch.arange(half) / half)
    a = torch.arange(t)[:, None] * freq
    return a.cos(), a.sin()


def rotate(x, rope):
    """NEOX layout: the pairs are (i, i + head_dim / 2)."""
    cos, sin = rope
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
