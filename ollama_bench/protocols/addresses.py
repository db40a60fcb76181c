"""Turns what --host and OLLAMA_HOST may hold into a base URL."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

OLLAMA_PORT = 11434
# used where the scheme is written out
DEFAULT_PORTS = {"http": 80, "https": 443}
FORBIDDEN_IN_URL = re.compile(r"[\s@<>\"'`\\?#\x00-\x1f\x7f]")
API_VERSION_SUFFIX = re.compile(r"/v1/?$")


def host_url(text: str) -> str:
    """Return the base URL of a server, without a trailing slash.

    Accepts host, host:port, :port, [::1]:port, a bare IPv6 address and
    scheme://host[:port][/path]. The port defaults to 11434, or to 80 and 443 where http:// and
    https:// are written out. An address that means every interface becomes the loopback address.
    Raises ValueError.
    """
    text = text.strip().strip("\"'").strip()
    scheme, separator, rest = text.rpartition("://")
    scheme = scheme.lower() if separator else "http"
    if scheme not in DEFAULT_PORTS:
        raise ValueError(
            f"invalid host {text!r}: expected http:// or https://"
        )
    authority, slash, path = rest.partition("/")
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    host, port = split_authority(authority, text)
    if port is None:
        port = DEFAULT_PORTS[scheme] if separator else OLLAMA_PORT
    if FORBIDDEN_IN_URL.search(authority + path):
        raise ValueError(f"invalid host {text!r}: expected host:port")
    path = API_VERSION_SUFFIX.sub("", slash + path).rstrip("/")
    return f"{scheme}://{connectable_host(host)}:{port}{path}"


def split_authority(authority: str, text: str) -> tuple[str, int | None]:
    """Split host:port; ``text`` is what an error quotes. Raises ValueError."""
    try:
        parts = urlsplit(f"//{authority}")
    except ValueError:
        raise ValueError(
            f"invalid host {text!r}: expected host:port"
        ) from None
    try:
        port = parts.port
    except ValueError:
        raise ValueError(
            f"invalid host {text!r}: expected a port from 0 to 65535"
        ) from None
    return parts.hostname or "127.0.0.1", port


def connectable_host(host: str) -> str:
    """Return a host that can be connected to, in brackets if it is an IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        loopback = "127.0.0.1" if address.version == 4 else "::1"
        address = ipaddress.ip_address(loopback)
    return f"[{address}]" if address.version == 6 else str(address)
