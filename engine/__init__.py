"""What search and retrain share: configuration, devices, optimiser, loop, checkpoints, log. Never asks which task."""
