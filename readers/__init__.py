"""Users' files, read and checked: region features, texts, boxes, word vectors. Knows no model and no task."""
