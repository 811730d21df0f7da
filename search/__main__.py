"""``python -m search --task itm``."""

from common.errors import run_module

run_module("search.run")
