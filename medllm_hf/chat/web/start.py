"""The verb `web`: a page on which several visitors talk to one model."""

import asyncio
import gc
import logging
import signal
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

from medllm_hf.chat.session import ChatSession
from medllm_hf.chat.settings import HOST, PORT, SessionFields
from medllm_hf.chat.web.request_queue import Line
from medllm_hf.endpoints.address import is_loopback
from medllm_hf.errors import UserError

SCRIPT = str(Path(__file__).with_name("script.py"))
OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "error",
    "runner.magicEnabled": False,
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 5,  # megabytes; a conversation has a few thousand characters
}
# What the script of every visitor finds: the line, and the model's name.
_served: list[tuple[Line, str]] = []


def served() -> tuple[Line, str]:
    """The line of questions of this process, and the model's name."""
    return _served[-1]


def web(
    model: str,
    host: str = HOST,
    port: int = PORT,
    seed: int | None = None,
    system: str | None = None,
    **options: Unpack[SessionFields],
) -> None:
    """Serves the page until Ctrl-C. `options` are those of `ChatSession.from_pretrained`.

    Raises:
        UserError: no Streamlit; the address cannot be had; the model cannot be had or gives no answer; a setting is
            out of range.
    """
    if find_spec("streamlit") is None:
        raise UserError("no package streamlit", "the extra `web`", "pip install 'medllm_hf[web]'")
    _check_address(host, port)
    session = ChatSession.from_pretrained(model, seed=seed, **options)
    session.check()
    line = Line(session, system, seed)
    # An endpoint's address may be nobody's business.
    _served.append((line, model.rpartition("#")[2] if "#" in model else Path(model).resolve().name))
    try:
        asyncio.run(_serve(host, port))
    finally:
        line.close()


def _check_address(host: str, port: int) -> None:
    """Check that the address is free.

    Raises:
        UserError: it is in use, or is none of this machine's.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        do = "choose another with --port or --host, or end the program that uses it"
        raise UserError(f"{host}:{port} ({reason})", "a free address of this machine", do) from error


async def _serve(host: str, port: int) -> None:
    """Returns when the server has ended, by Ctrl-C or a signal to end."""
    # Here, so that the verb can say when it is missing.
    from streamlit import config, net_util
    from streamlit.web.bootstrap import load_config_options, prepare_streamlit_environment
    from streamlit.web.server import Server

    load_config_options({**OPTIONS, "server.address": host, "server.port": port, "browser.serverAddress": host})
    if is_loopback(host) and not config.is_manually_set("server.allowedHosts"):
        # A page elsewhere whose name is made to point here would pass for this one.
        config.set_option("server.allowedHosts", ["localhost", "127.0.0.1", "::1", host])
    # To judge where a request comes from, Streamlit would ask a service on the internet for this machine's address.
    net_util.get_external_ip = lambda: None
    logging.getLogger("uvicorn").setLevel(logging.ERROR)

    server = Server(SCRIPT, is_hello=False)
    await server.start()
    # After every look at an answer Streamlit has all objects searched for garbage. Those of the libraries and the model are
    # so many that it takes a quarter of a second, in which no token is written; frozen, they are left out.
    gc.freeze()
    prepare_streamlit_environment(SCRIPT)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{config.get_option('server.port')}  (Ctrl-C ends it)", flush=True)
    await server.stopped
