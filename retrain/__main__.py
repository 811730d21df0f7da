"""``python -m retrain --geno genotypes/searched/itm/<version>.json``."""

from common.errors import run
from retrain.run import main

run(main)
