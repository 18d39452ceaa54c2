"""Which addresses an outgoing call may reach: public ones, and private ones that HTTP_ALLOW names.

A definition is a tenant's text, so an `http` node is a tenant's hand inside our network. The rule is applied to the
address that is connected to, not to a name: names are resolved here, and the connection goes to the very addresses that
passed.
"""

import ipaddress
import re
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        # From the IANA special-purpose address registries, and the two multicast ranges.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's host agent: a public address that only its virtual machines can reach
        "::/96",  # unspecified, loopback and the IPv4-compatible addresses
        "64:ff9b::/96",  # NAT64: the gateway would turn it into any IPv4 address
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds an IPv4 address
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)

PORTS_REFUSED = frozenset(
    # Services that are not HTTP and could take a request for commands: after the port list of the WHATWG Fetch
    # standard, with the databases, caches and brokers of a usual installation.
    (
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514),
        *(515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1433, 1521, 1719, 1720),
        *(1723, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672, 6000, 6379, 6432, 6566, 6665, 6666, 6667),
        *(6668, 6669, 6679, 6697, 9042, 10080, 11211, 26379, 27017),
    )
)

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})?(\.[a-z0-9_]([a-z0-9_-]{0,62})?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressForbidden(Exception):
    """The call would reach what it may not reach. The message is for the tenant and names no resolved address."""

    def __init__(self, message: str, *, addresses: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.addresses = list(addresses)
        """What the name resolved to: for the log only, since it tells about the network inside."""


class AddressRules:
    """Who may be called.

    Args:
        allow: hosts (`internal.example`: whatever it resolves to) and addresses or CIDRs (`10.1.0.0/16`: by whatever
            name).

    Raises:
        ValueError: an entry is neither.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in allow:
            if entry.strip():
                self._add(entry.strip())

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            return
        except ValueError:
            pass
        host = entry.rstrip(".").lower()
        if not _HOST_NAME.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise ValueError(
                f"HTTP_ALLOW: {entry!r} is neither a host name nor a CIDR;"
                " write for example internal.example or 10.1.0.0/16"
            )
        self._hosts.add(host)

    def permits(self, address: str) -> bool:
        """Whether a connection to this address (canonical text) is allowed by what the address is."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address):
            if parsed.scope_id is not None:
                return False
            parsed = parsed.ipv4_mapped or parsed  # the kernel connects to the IPv4 address inside
        if any(parsed in network for network in self._networks):
            return True
        return parsed.is_global and not any(parsed in network for network in NOT_PUBLIC)

    def check_port(self, port: int) -> None:
        """Refuse ports of services that are not HTTP."""
        if port in PORTS_REFUSED:
            raise AddressForbidden(
                f"port {port} is not called: it belongs to a service that is not HTTP. HTTP_ALLOW does not change that;"
                " offer the service on another port"
            )

    def check_host(self, host: str) -> None:
        """Refuse a URL's host that is a forbidden address or an odd way to write one; names are looked at by `vetted`.

        `host` is what the HTTP client will use: lower case, IDNA encoded, IPv6 without brackets.
        """
        bare = host.rstrip(".")
        if ":" in bare or _NUMBER.fullmatch(bare.rpartition(".")[2]):
            self._check_literal(host)
        elif not _HOST_NAME.fullmatch(bare) or len(bare) > 253:
            raise AddressForbidden(f"{host[:253]!r} is not a host name that can be called; HTTP_ALLOW can't name it")

    def _check_literal(self, host: str) -> None:
        try:
            canonical = str(ipaddress.ip_address(host))
        except ValueError:
            raise AddressForbidden(
                f"{host[:253]!r} is an unusual way to write an address, which is not called, whatever HTTP_ALLOW says;"
                " write it plainly, such as 203.0.113.7 or [2001:db8::7]"
            ) from None
        if not self.permits(canonical):
            raise AddressForbidden(_refusal(host))

    def vetted(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Keep the addresses of a host name that may be connected to.

        Raises:
            AddressForbidden: none is left.
        """
        if host.rstrip(".").lower() in self._hosts:
            return list(addresses)
        kept = [address for address in addresses if self.permits(address)]
        if not kept:
            raise AddressForbidden(_refusal(host), addresses=addresses)
        return kept


def _refusal(host: str) -> str:
    return (
        f"{host!r} is, or resolves to, a private or reserved address, which may not be called."
        " The operator can allow it: HTTP_ALLOW takes hosts and CIDRs"
    )
