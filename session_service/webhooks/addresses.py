"""Server-side request forgery: judges the resolved addresses of endpoints; resolves names in own threads.

`socket.getaddrinfo` blocks for as long as a name server does not answer. The event loop's executor has few
threads, which other endpoints would wait for: a resolver has at most one, and its callers share a look-up.
"""

import asyncio
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread

Address = IPv4Address | IPv6Address

# Addresses within a site or a machine (RFC 1122, 1918, 4193, 4291, 6598).
_PRIVATE = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "::1/128",
            "fc00::/7",
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: others are not routed on the Internet
# Special purposes (IANA) that not every version of `ipaddress` knows; 6to4 addresses have an IPv4 address.
_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))


def is_public(address: Address) -> bool:
    """Return whether the address is one of the Internet: of one host, and not of a special purpose."""
    address = _embedded(address)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_private(address: Address) -> bool:
    """Return whether the address is one within a site: not link-local, where cloud metadata is served."""
    address = _embedded(address)
    return any(address in network for network in _PRIVATE)


def _embedded(address: Address) -> Address:
    """Return the IPv4 address within an IPv6 address of it, or else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class Resolver:
    """Resolves the name of one host, one look-up at a time, in a thread that a process may end with."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._pending: asyncio.Future[list[str]] | None = None

    async def resolve(self) -> list[Address]:
        """Return the addresses of the host, none if it has none; the caller bounds the wait."""
        if self._pending is None or self._pending.done():
            loop = asyncio.get_running_loop()
            self._pending = loop.create_future()
            Thread(target=self._look_up, args=(loop, self._pending), name="resolver", daemon=True).start()
        # A caller that gives up does not end the look-up, which the next one waits for.
        return [ip_address(text) for text in await asyncio.shield(self._pending)]

    def _look_up(self, loop: asyncio.AbstractEventLoop, pending: "asyncio.Future[list[str]]") -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in found]
        except (OSError, UnicodeError):
            addresses = []
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_set, pending, addresses)


def _set(pending: "asyncio.Future[list[str]]", addresses: list[str]) -> None:
    if not pending.done():
        pending.set_result(addresses)
