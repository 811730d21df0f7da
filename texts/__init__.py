"""Texts as a network reads them: words, their ids, how else they are spelt, and their vectors."""
