"""``python -m tools.export``"""

from common.errors import run_module

run_module("tools.export.make")
