"""Torchrun for a run of several processes on one machine: they say themselves what stops them, so it adds no page."""

from __future__ import annotations

import logging

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from common.errors import UserError, run

TOLD = (2, 130)  # how a process ends that has said why


def main() -> int:
    """Run torchrun with its own command line.

    Returns:
        The exit code of the process that failed first, of a run that was stopped 130.

    Raises:
        UserError: a process ended without a word that a user could have been told.
    """
    logging.disable(logging.ERROR)
    try:
        torchrun.main()
    except SignalException:
        return 130
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in TOLD:
            return failure.exitcode
        how = f"by {failure.signal_name()}" if failure.exitcode < 0 else f"with exit code {failure.exitcode}"
        raise UserError(
            f"process {rank} of the run ended {how}, and the others with it; see above for what it said, if anything, "
            "and go on with the same command, RESUME=1 and the VERSION of the run"
        ) from error
    return 0


if __name__ == "__main__":
    run(main)
