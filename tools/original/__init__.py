"""Checkpoints of the original implementation (MILVLG/mmnas), imported: its names, its order of words and answers."""
