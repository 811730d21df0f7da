"""Answers about pictures: a trained network with all it takes to use it on pictures and texts, and no data set."""
