"""``python -m tools.demo --out data/demo --scenes 3600 --seed 0``."""

from common.errors import run_module

run_module("tools.demo.make")
