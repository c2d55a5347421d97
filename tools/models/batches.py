"""The corpus as token ids, in batches to train on."""
import random
import re

import jinja2
import torch

import corpus
import tokenizer
from qwen3 import D


def template_pieces():
    """What the chat template writes before and after the tool signatures."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    text = env.from_string(tokenizer.CHAT_TEMPLATE).render(
        messages=[{"role": "user", "content": ""}], tools=["SIGNATURE"])
    return re.match(r'<\|im_start\|>system\n(.*)\n"SIGNATURE"(.*)<\|im_end\|>\n<\|im_start\|>user',
                    text, re.S).groups()


class Data:
    """Batches of the corpus. Pieces that are not answers count with `prompt_weight`."""

    def __init__(self, tok, seed, prompt_weight):
        self.tok, self.r, self.pieces = tok, random.Random(seed), template_pieces()
        self.prompt_weight = prompt_weight

    def samples(self, n, long_text=False):
        """[(ids, weights)]"""
        out = []
        for _ in range(n):
            parts = corpus.sample(self.r, self.pieces, long_text)
            ids, weights = [], []
            for (_, learn), enc in zip(parts, self.tok.encode_batch([t for t, _ in parts])):
                ids += enc.ids
                weights += [1.0 if learn else self.prompt_weight] * len(enc.ids)
            out.append((ids[:D["n_ctx"]], weights[:D["n_ctx"]]))
        return out

    def repeats(self, tokens):
        """Random tokens, said again and again: the shortest way to learn copying."""
        n, t = self.r.randint(8, 48), self.r.randint(96, 192)
        x = torch.tensor([[self.r.randrange(D["vocab"] - len(tokenizer.SPECIALS)) for _ in range(n)]
                          for _ in range(tokens // t)]).repeat(1, t // n + 1)[:, :t]
        w = torch.ones(x.shape)
        w[:, :n + 1] = 0
        return x[:, :-1], x[:, 1:], w[:, 1:]

    def batches(self, tokens, long_share=0.0):
        """For ever (inputs, targets, weights); samples of one batch have similar length."""
        while True:
            pool = self.samples(600) + self.samples(int(600 * long_share), True)
            pool.sort(key=lambda s: len(s[0]))
            group, groups = [], []
            for s in pool:
                if group and (len(group) + 1) * len(s[0]) > tokens:
                    groups.append(group)
                    group = []
                group.append(s)
            groups.append(group)
            self.r.shuffle(groups)
            for group in groups:
                t = max(len(ids) for ids, _ in group)
                x = torch.zeros(len(group), t, dtype=torch.long)
                w = torch.zeros(len(group), t)
                for i, (ids, weights) in enumerate(group):
                    x[i, :len(ids)] = torch.tensor(ids)
                    w[i, :len(ids)] = torch.tensor(weights)
                yield x[:, :-1], x[:, 1:], w[:, 1:]
