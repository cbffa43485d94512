"""Where a notification may be sent: addresses of the public internet, and private ones only if the rule allows it.

A rule's host may be a name that somebody else controls, and its address may be that of a service in the user's own
network which trusts whoever reaches it. `ipaddress.is_global` alone is not enough: it is true for several forms that
contain a private IPv4 address, for multicast, and for addresses of protocols.
"""

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is assigned for use between networks (RFC 4291, IANA)."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as an IPv6-only network reaches them (RFC 6052)."""

_EXCLUDED_6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)  # protocols (Teredo among them), documentation, 6to4, documentation
_EXCLUDED_4 = tuple(
    map(IPv4Network, ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4"))
)  # this network, protocols, 6to4 relays, multicast, reserved and broadcast

_LOCAL_4 = tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_LOCAL_6 = tuple(map(IPv6Network, ("::1/128", "fc00::/7")))
"""What `allow_private` allows: this machine and private networks, but not link-local addresses, as those of the
metadata services of clouds, which give credentials to whoever asks."""


def parse_address(text: str) -> Address:
    """The address that the system has resolved; a scope such as `%eth0` is left out. Raises ValueError."""
    return ipaddress.ip_address(text.partition("%")[0])


def is_allowed(address: Address, *, private: bool) -> bool:
    """Whether a notification may be sent to `address`; with `private`, also in networks of the user's own."""
    if isinstance(address, IPv4Address):
        if private and _is_in(address, _LOCAL_4):
            return True
        return address.is_global and not _is_in(address, _EXCLUDED_4)
    if (mapped := address.ipv4_mapped) is not None:
        return is_allowed(mapped, private=private)
    if address in _NAT64:
        return is_allowed(IPv4Address(int(address) & 0xFFFFFFFF), private=private)
    if private and _is_in(address, _LOCAL_6):
        return True
    return address.is_global and address in _GLOBAL_UNICAST and not _is_in(address, _EXCLUDED_6)


def _is_in(address: Address, networks: tuple[IPv4Network, ...] | tuple[IPv6Network, ...]) -> bool:
    return any(address in network for network in networks)
