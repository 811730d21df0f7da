"""``python -m search --task itm``."""

from common.errors import run
from search.run import main

run(main)
