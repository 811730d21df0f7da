"""``python -m report --run a,b``."""

from common.errors import run_module

run_module("report.run")
