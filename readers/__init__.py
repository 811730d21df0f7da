"""Users' files, read and checked: features, captions, questions, expressions, boxes. Knows no model and no task."""
