#!/usr/bin/env python3
"""Trains the built-in model, a tiny Qwen3, on the corpus and writes it as GGUF.

    train_tiny.py --out tiny-chat        # tiny-chat-q8_0.gguf, tiny-chat-f16.gguf, tiny-chat.pt
    train_tiny.py --out tiny-chat --start assets/tiny-chat-q8_0.gguf --lr 0.012 --minutes 20

The first form trains from nothing (5,200 steps of 2,048 tokens take about 18 minutes on two idle
cores), the second goes on from a file. README.md says what the committed file was made with.
Retraining gives another file, not the same bytes: sums in PyTorch depend on the CPU and on the
number of threads. The hash in src/model/builtin.rs pins the file that is committed; whoever
replaces the file replaces the hash and looks again at the answers that tests expect.
"""
import argparse
import time

import gguf
import numpy as np
import torch
import torch.nn.functional as F

import gguf_file
import tokenizer
from batches import Data, template_pieces
from qwen3 import D, EPS, Model


def train(model, tok, args):
    """Muon for the matrices, AdamW for the rest; every other, later every eighth step is copying.

    A model that goes on from a file knows how prompts look and most of each answer, so that prompts
    hardly count there and a token counts by how unsure the model is of it."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n != "token_embd"]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or n == "token_embd"]
    opts = [torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.01, momentum=0.95),
            torch.optim.AdamW(others, lr=args.lr / 4, betas=(0.9, 0.98), weight_decay=0.0)]
    for o in opts:
        for g in o.param_groups:
            g["base"] = g["lr"]
    data = Data(tok, args.seed, 0.005 if args.start else 0.1)
    batches = data.batches(args.batch, args.long)
    start, seen, log, step, done = time.time(), 0, [], 0, 0.0
    saved = start
    while done < 1:
        rate = min(1, (step + 1) / 30) * min(1, 1.02 - done)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = g["base"] * rate
        copying = step % (2 if done < .125 and not args.start else 8) == 0
        x, y, w = data.repeats(args.batch) if copying else next(batches)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none")
        answer = (w == 1).flatten()
        hard = 1 - (-loss.detach()).exp() if args.start else 1
        total = (loss * w.flatten() * hard).sum() / w.sum()
        for o in opts:
            o.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for o in opts:
            o.step()
        seen += x.numel()
        if not copying:
            log.append(loss[answer].mean().item())
        step += 1
        minutes = (time.time() - start) / 60
        done = max(step / args.steps, minutes / args.minutes)
        if step % 50 == 0 or done >= 1:
            print(f"step {step}: answer loss {np.mean(log[-50:]):.4f}, "
                  f"{seen / 1e6:.2f} M tokens, {seen / (time.time() - start):.0f} tok/s, "
                  f"{time.time() - start:.0f} s", flush=True)
        if time.time() - saved > 120:
            torch.save(model.state_dict(), args.out + ".pt")
            saved = time.time()


@torch.no_grad()
def exact(model, tok, n, seed=99):
    """How many held-out answers would be written without a fault, and the mean loss."""
    losses, right, wrong = [], 0, []
    for ids, weights in Data(tok, seed, 0.0).samples(n):
        x = torch.tensor(ids)[None]
        logits = model(x[:, :-1])[0]
        learn = torch.tensor(weights[1:]) == 1
        target = x[0, 1:][learn]
        losses.append(F.cross_entropy(logits[learn], target).item())
        best = logits[learn].argmax(-1)
        if (best == target).all():
            right += 1
        elif len(wrong) < 8:
            at = int((best != target).nonzero()[0])
            wrong.append((tok.decode(ids, skip_special_tokens=False)[-160:],
                          tok.decode(target[:at + 1].tolist()), tok.decode([int(best[at])])))
    return right / n, float(np.mean(losses)), wrong


def load(model, path):
    """Takes the weights of a file that `save` wrote."""
    found = {t.name.removesuffix(".weight"): torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type))
             for t in gguf.GGUFReader(path).tensors}
    model.load_state_dict({k: found[k].reshape(p.shape) for k, p in model.state_dict().items()})


def save(model, tok, path, ftype, name):
    """Writes the model as GGUF."""
    w = gguf_file.create(path, "qwen3")
    gguf_file.add_hparams(w, ftype, name=name, n_ctx=D["n_ctx"], n_embd=D["n_embd"], n_layer=D["n_layer"],
                          n_head=D["n_head"], n_head_kv=D["n_head_kv"], head_dim=D["head_dim"],
                          n_ff=D["n_ff"], rope_base=D["rope_base"], eps=EPS)
    gguf_file.add_tokenizer(w, tok)
    for key, p in model.named_parameters():
        gguf_file.add_tensor(w, key + ".weight", p.detach().float().numpy(), ftype)
    gguf_file.finish(w, path)
    print(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True, help="path without -q8_0.gguf")
    ap.add_argument("--steps", type=int, default=5200)
    ap.add_argument("--minutes", type=float, default=1e9, help="stop after so many, with the rate down at zero by then")
    ap.add_argument("--start", help="a GGUF file of the same sizes whose tokenizer and weights to start from")
    ap.add_argument("--batch", type=int, default=2048, help="tokens a step")
    ap.add_argument("--long", type=float, default=0.01, help="share of long conversations")
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--held-out", type=int, default=600, help="samples to judge the model by")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = Model()
    if args.start:
        tok = tokenizer.from_gguf(args.start)
        load(model, args.start)
    else:
        tok = tokenizer.for_corpus(args.seed, D["vocab"], template_pieces())
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    train(model, tok, args)
    torch.save(model.state_dict(), args.out + ".pt")
    for ftype in ("F16", "Q8_0"):
        save(model, tok, f"{args.out}-{ftype.lower()}.gguf", ftype, "tiny chat")
    share, loss, wrong = exact(model, tok, args.held_out)
    print(f"held out: {share:.1%} of the answers exact, answer loss {loss:.4f}")
    for context, target, got in wrong:
        print(f"  wrong: {context!r}\n    wanted {target!r}, got {got!r} at the end")


if __name__ == "__main__":
    main()
