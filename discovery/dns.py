"""Target groups from DNS: the addresses, or the servers, that a name stands for.

From: `dns_sd_configs`; the system's resolv.conf.   To: `combine.py`.
Source: Prometheus documentation, `dns_sd_config`; resolv.conf(5).
Invariant: an answer, an empty one too, replaces a name's targets; no answer keeps them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from discovery.dns_settings import DnsStats
from discovery.groups import TargetGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dns.rdata import Rdata

    from discovery.dns_settings import DnsSettings

_log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")

_META = "__meta_dns_"
_PAYLOAD_BYTES = 4096
"""What a server may send by UDP; longer answers are cut, and asked for again by TCP."""


class LookupFailedError(Exception):
    """No server gave a usable answer."""


@dataclass(slots=True)
class _State:
    lookups: int = 0
    failures: int = 0
    last_errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DnsDiscovery:
    """Asks for some names again and again. Equal configurations make equal discoverers.

    `dns_port` is for tests.
    """

    settings: DnsSettings
    resolv_conf: Path = field(default=RESOLV_CONF, compare=False)
    dns_port: int = field(default=53, compare=False)
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield the groups of all names that were answered, after each refresh."""
        while True:
            found = await asyncio.gather(*(self._refresh(name) for name in self.settings.names))
            groups = [group for group in found if group is not None]
            if groups:
                yield groups
            await asyncio.sleep(self.settings.refresh_interval_s)

    def stats(self) -> DnsStats:
        """Return the counts so far."""
        state = self._state
        return DnsStats(state.lookups, state.failures, next(iter(state.last_errors.values()), ""))

    async def _refresh(self, name: str) -> TargetGroup | None:
        """Return the group of a name, None if nobody answered."""
        state = self._state
        state.lookups += 1
        try:
            records = await self._lookup(name)
        except LookupFailedError as e:
            state.failures += 1
            if str(e) != state.last_errors.get(name):
                _log.error("Error refreshing DNS targets: name=%s %s", name, e)
            state.last_errors[name] = str(e)
            return None
        state.last_errors.pop(name, None)
        targets = tuple(_target(name, record, self.settings.port) for record in records)
        return TargetGroup(name, targets)

    async def _lookup(self, name: str) -> list[Rdata]:
        """Return the records of the first name of the search list that exists.

        If all of them are said not to exist, there are none. Raises LookupFailedError.
        """
        try:
            resolver = await asyncio.to_thread(dns.resolver.Resolver, str(self.resolv_conf))
            candidates = _candidates(name, resolver)
        except dns.exception.DNSException as e:
            raise LookupFailedError(f"could not load {self.resolv_conf}, or bad name: {e}") from e
        reason = ""
        for candidate in candidates:
            try:
                response = await self._ask(candidate, resolver)
            except LookupFailedError as e:
                reason = str(e)
                continue
            if response.rcode() == dns.rcode.NOERROR:
                wanted = dns.rdatatype.from_text(self.settings.type)
                # Answers for addresses hold the aliases on the way there as well.
                return [item for rows in response.answer if rows.rdtype == wanted for item in rows]
        if reason:
            raise LookupFailedError(reason)
        return []

    async def _ask(
        self, name: dns.name.Name, resolver: dns.resolver.Resolver
    ) -> dns.message.Message:
        """Return the answer of the first server that has one: the name exists, or it does not."""
        reason = "resolv.conf names no server"
        for server in resolver.nameservers:
            query = dns.message.make_query(
                name, self.settings.type, use_edns=0, payload=_PAYLOAD_BYTES
            )
            try:
                response, _ = await dns.asyncquery.udp_with_fallback(
                    query, str(server), timeout=resolver.timeout, port=self.dns_port
                )
            except (dns.exception.DNSException, OSError, EOFError) as e:
                reason = f"{server}: {str(e) or type(e).__name__}"
                continue
            if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return response
            reason = f"{server}: {dns.rcode.to_text(response.rcode())}"
        raise LookupFailedError(
            f'could not resolve "{name}": no servers returned a viable answer, the last: {reason}'
        )


def _candidates(name: str, resolver: dns.resolver.Resolver) -> list[dns.name.Name]:
    """Return the full names that a name may mean, in the order of asking."""
    plain = dns.name.from_text(name)
    if name.endswith("."):
        return [plain]
    suffixes = resolver.search or ([] if len(resolver.domain) <= 1 else [resolver.domain])
    searched = [dns.name.from_text(name, origin=suffix) for suffix in suffixes]
    ndots = 1 if resolver.ndots is None else resolver.ndots
    return [plain, *searched] if name.count(".") >= ndots else [*searched, plain]


def _target(name: str, record: Rdata, port: int) -> dict[str, str]:
    labels = {_META + "name": name}
    kind = dns.rdatatype.to_text(record.rdtype)
    if kind == "SRV":
        host, port = str(record.target), record.port  # type: ignore[attr-defined]  # Rdata is open
        labels[_META + "srv_record_target"] = host
        labels[_META + "srv_record_port"] = str(port)
    elif kind == "MX":
        host = labels[_META + "mx_record_target"] = str(record.exchange)  # type: ignore[attr-defined]
    elif kind == "NS":
        host = labels[_META + "ns_record_target"] = str(record.target)  # type: ignore[attr-defined]
    else:
        host = record.address  # type: ignore[attr-defined]
    host = host.removesuffix(".")
    labels["__address__"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return labels
