"""The synthetic corpus of train_tiny.py: short chats whose answer follows from the prompt, so
that greedy decoding of the trained model is sensible and repeatable.

A sample is a list of (text, learn) pieces; `learn` marks what the model shall write. Every
function takes the random generator `r` first and draws from nothing else.
"""
from corpus.conversations import sample

__all__ = ["sample"]
