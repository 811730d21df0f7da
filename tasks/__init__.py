"""One file per task: reads its data, makes its batches, has its head, loss and metrics."""
