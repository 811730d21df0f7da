"""``python -m tools.dataset``"""

from common.errors import run_module

run_module("tools.dataset.make")
