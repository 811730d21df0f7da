"""The search space as code: operations, backbone, network. Knows no data set and no training loop."""
