"""``python -m tools.page --ckpt .../best.pt``"""

from common.errors import run_module

run_module("tools.page.serve")
