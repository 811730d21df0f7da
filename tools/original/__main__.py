"""``python -m tools.original FILE.pkl --geno mmnas_vqa``."""

from common.errors import run_module

run_module("tools.original.convert")
