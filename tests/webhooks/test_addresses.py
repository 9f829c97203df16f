"""Server-side request forgery: addresses to which events are sent, and those to which they are not."""

from ipaddress import ip_address

from session_service.webhooks.addresses import is_private, is_public

PUBLIC = ["1.1.1.1", "203.0.114.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
PRIVATE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
]
NEITHER = [
    "0.0.0.0",  # noqa: S104 - an address that is refused
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2001:20::1",
    "3fff::1",
    "2002:7f00:1::",
    "4000::1",
]


def test_kinds_of_addresses() -> None:
    """An address is public, private, or neither, also an IPv4 address within an IPv6 address."""
    every = [*PUBLIC, *PRIVATE, *NEITHER]
    assert [text for text in every if is_public(ip_address(text))] == PUBLIC
    assert [text for text in every if is_private(ip_address(text))] == PRIVATE
