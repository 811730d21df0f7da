"""``python -m evidence --task itm``."""

from common.errors import run_module

run_module("evidence.run")
