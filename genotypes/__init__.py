"""The artefact of a search: which operation stands in each block. Read, written, drawn; imports no torch."""
