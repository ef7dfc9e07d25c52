"""Free ports on this machine."""

import contextlib
import errno
import socket


def is_free(port: int) -> bool:
    """Whether nothing listens on the port, on IPv4 and IPv6: browsers try both for localhost."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(socket.socket(family))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
            except OSError as error:
                # A machine without IPv6 can't have anything listening there.
                if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                    return False
    return True


def any_free() -> int:
    """A port that nothing listens on now."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if is_free(port):
            return port


def preferred(port: int) -> int:
    """The port itself when it is free, otherwise another one."""
    return port if is_free(port) else any_free()
