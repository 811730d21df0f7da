"""``python -m retrain --geno genotypes/searched/itm/<version>.json``."""

from common.errors import run_module

run_module("retrain.run")
