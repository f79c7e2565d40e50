"""Looks every name of its command line up as c-ares does and prints its addresses, a name a line."""

import select
import socket
import sys

import pycares


def wait(channel):
    """Until nothing is under way."""
    while True:
        reads, writes = channel.getsock()
        if not reads and not writes:
            return
        timeout = channel.timeout()
        ready = select.select(reads, writes, [], 1 if timeout is None else timeout)
        if not ready[0] and not ready[1]:
            channel.process_fd(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)
        for fd in ready[0]:
            channel.process_fd(fd, pycares.ARES_SOCKET_BAD)
        for fd in ready[1]:
            channel.process_fd(pycares.ARES_SOCKET_BAD, fd)


def main():
    channel, failed = pycares.Channel(), []
    for name in sys.argv[1:]:

        def found(result, error, name=name):
            if error is not None:
                print(f"{name}: {pycares.errno.strerror(error)}")
                failed.append(name)
                return
            addresses = (node.addr[0] for node in result.nodes)
            print(f"{name}:", *(a.decode() if isinstance(a, bytes) else a for a in addresses))

        channel.getaddrinfo(name, None, found, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
    wait(channel)
    return bool(failed)


sys.exit(main())
