"""Which proxy a URL is asked through: from the configuration, or from the environment, but for hosts that need none.

Source: Go's `golang.org/x/net/http/httpproxy`, whose rules Prometheus has for `no_proxy`.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from kobs.collectors.scraping.client_configuration import Connecting

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str, client: Connecting, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for a URL, with its password if it has one; None: ask directly."""
    configured = client.proxy_url.get_secret_value()
    if configured and not client.no_proxy:
        return configured
    scheme = urlsplit(url).scheme
    if client.proxy_from_environment:
        configured = _variable(environment, f"{scheme}_proxy")
        exempt = _variable(environment, "no_proxy")
    else:
        exempt = client.no_proxy
    if not configured or not _needs_proxy(url, exempt):
        return None
    return configured if "://" in configured else f"http://{configured}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name, "")


def _needs_proxy(url: str, exempt: str) -> bool:
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return False
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(
        _is_exempt(host, port, address, entry.strip().lower()) for entry in exempt.split(",") if entry.strip()
    )


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _is_exempt(host: str, port: int | None, address: Address | None, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, _, wanted = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    if _address(entry) is not None:
        name, wanted = entry, ""
    if wanted and int(wanted) != port:
        return False
    name = name.strip("[]")
    if (exempt_address := _address(name)) is not None:
        return exempt_address == address
    if name.startswith("*."):
        name = name[1:]
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
