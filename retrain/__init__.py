"""Training a fixed network from a genotype: train, validate, test, predict."""
