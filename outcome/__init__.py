"""What came of scoring a network: how it did on every sample, and the numbers that follow from that."""
