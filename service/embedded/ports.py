"""Ports: a listening socket that is ours from the moment it is chosen."""

import contextlib
import errno
import socket

FALLBACKS = 20
"""How many ports above the usual one are tried before any free one is taken."""


class PortTaken(Exception):
    """The port that was asked for is in use."""


def listen(host: str, port: int, *, exactly: bool) -> socket.socket:
    """A bound TCP socket on `host`.

    With `exactly` only `port` will do (raises `PortTaken`); otherwise the next free one is taken.
    The socket is handed to the API itself, so nobody else can take the port in between.
    """
    if exactly:
        try:
            return _bind(host, port)
        except OSError as error:
            raise PortTaken(_why(host, port, error)) from error
    for candidate in (*range(port, min(port + FALLBACKS, 65536)), 0):
        with contextlib.suppress(OSError):
            return _bind(host, candidate)
    raise PortTaken(f"no free port on {host}")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with _bind(host, 0) as sock:
        return int(sock.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program; leave --port out to use a free one"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs an administrator's rights; choose one above 1023"
    return f"cannot listen on {host}:{port}: {error.strerror}"
