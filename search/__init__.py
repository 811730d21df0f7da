"""The architecture search: supernet, gradient estimators, the search run."""
