"""Start the page: ``python -m tools.page --ckpt logs/ckpts/<version>/best.pt``; Ctrl-C ends it"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from common.arguments import Parser, home_path
from common.errors import UserError
from engine.runtime import one_device
from engine.stops import terminated_as_interrupted
from predict.predictor import Predictor
from tools.page.answer import answer
from tools.page.asked import read_asked
from tools.page.look import parts
from tools.page.server import ADDRESS, Server

PORT = 8765
PORTS = range(1024, 65536)  # those below are the system's


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and the network, serve until Ctrl-C."""
    given = _parser().parse_args(arguments)
    if given.ckpt is None:
        raise UserError("nobody to ask without CKPT=<the best.pt of a retraining>")
    if given.port not in PORTS:
        raise UserError(f"PORT={given.port} must be {PORTS[0]} to {PORTS[-1]}")
    predictor = Predictor.load(
        given.ckpt, one_device(given.gpu), extractor=given.extractor, features=given.features, task=given.task
    )

    server = server_of(predictor, str(given.ckpt), given.port)
    with contextlib.suppress(KeyboardInterrupt), terminated_as_interrupted():
        print(f"page    http://{ADDRESS}:{server.server_port}/ (open it in a browser here; Ctrl-C ends it)", flush=True)
        server.serve()


def server_of(predictor: Predictor, called: str, port: int) -> Server:
    """A server, which does not serve yet, of a network that is called so; port 0 is any that is free.

    Raises:
        UserError: the port is taken.
    """

    def answered(content: bytes) -> dict[str, Any]:
        return answer(predictor, read_asked(content))

    return Server(port, parts(predictor, called), answered)


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.page", description=__doc__)
    add = parser.add_argument
    add("--ckpt", type=home_path, help="the trained network, the best.pt of a retraining")
    add("--port", type=int, default=PORT, help="where on this machine the page is")
    add("--extractor", help="what makes the features, if the checkpoint does not name it")
    add("--features", type=home_path, help="folder of features called like the pictures, or one npz, instead")
    add("--task", help="the task, if the checkpoint does not name it")
    add("--gpu", default="", help="number of the GPU, or cpu")
    return parser
