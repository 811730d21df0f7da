"""Leaf commands nobody imports but tests: prepare, pack, demo data, draw, import."""
