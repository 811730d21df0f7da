"""How well texts and images match: scores of pairs, which of them to score, negatives. Knows no task."""
