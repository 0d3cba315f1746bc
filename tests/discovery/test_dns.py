"""DNS discovery against a server of our own, on UDP and TCP, that answers what a test sets."""

import asyncio
import errno
import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from discovery.dns import DnsDiscovery
from discovery.dns_settings import DnsSettings


class DnsServer(asyncio.DatagramProtocol):
    """`records`: (name, type) -> texts. Names that are nowhere do not exist."""

    def __init__(self):
        self.records, self.rcodes, self.silent, self.cut = {}, {}, False, False
        self.asked = []

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, address):
        answer = self.answer(data, by_tcp=False)
        if answer is not None:
            self._transport.sendto(answer, address)

    def answer(self, data, *, by_tcp):
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, "tcp" if by_tcp else "udp", query.edns))
        if self.silent:
            return None
        response = dns.message.make_response(query)
        texts = self.records.get((name, kind))
        if name in self.rcodes:
            response.set_rcode(self.rcodes[name])
        elif texts is None and not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif self.cut and not by_tcp:
            response.flags |= dns.flags.TC
        else:
            for text in texts or ():
                kind_of, _, value = text.rpartition("|")
                owner = name if not kind_of else kind_of.split("|")[0]
                row_kind = kind if not kind_of else kind_of.split("|")[1]
                response.answer.append(dns.rrset.from_text(owner, 60, "IN", row_kind, value))
        return response.to_wire()

    async def serve_tcp(self, reader, writer):
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(size), by_tcp=True)
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        writer.close()


async def listen(server):
    """Bind UDP and TCP to one port; one that is free for UDP may be taken for TCP."""
    loop = asyncio.get_running_loop()
    while True:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: server, local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        try:
            return transport, await asyncio.start_server(server.serve_tcp, "127.0.0.1", port), port
        except OSError as error:
            transport.close()
            if error.errno != errno.EADDRINUSE:
                raise


def run(tmp_path, body, *names, conf="nameserver 127.0.0.1\n", **settings):
    async def main():
        server = DnsServer()
        transport, tcp, port = await listen(server)
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text(conf + "options timeout:1\n")
        asked = DnsSettings(names, refresh_interval_s=0.05, **settings)
        discovery = DnsDiscovery(asked, resolv_conf=resolv_conf, dns_port=port)
        changes = discovery.changes()
        try:
            await body(server, discovery, lambda: asyncio.wait_for(anext(changes), 10))
        finally:
            await changes.aclose()
            transport.close()
            tcp.close()
            await tcp.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "record", "expected"),
    [
        (
            "SRV",
            "1 2 9100 host.example.",
            {
                "__address__": "host.example:9100",
                "__meta_dns_srv_record_target": "host.example.",
                "__meta_dns_srv_record_port": "9100",
            },
        ),
        ("A", "10.0.0.1", {"__address__": "10.0.0.1:80"}),
        ("AAAA", "fd00::1", {"__address__": "[fd00::1]:80"}),
        (
            "MX",
            "10 mail.example.",
            {"__address__": "mail.example:80", "__meta_dns_mx_record_target": "mail.example."},
        ),
        (
            "NS",
            "ns.example.",
            {"__address__": "ns.example:80", "__meta_dns_ns_record_target": "ns.example."},
        ),
    ],
)
def test_each_type_of_record(tmp_path, kind, record, expected):
    async def body(server, _, following):
        server.records["x.example.", kind] = [record]
        (group,) = await following()
        assert group.source == "x.example"
        assert group.targets == ({"__meta_dns_name": "x.example", **expected},)
        assert server.asked[0] == ("x.example.", "udp", 0)

    run(tmp_path, body, "x.example", type=kind, port=80)


def test_aliases_on_the_way_are_no_targets(tmp_path):
    async def body(server, _, following):
        server.records["x.example.", "A"] = ["x.example.|CNAME|y.example.", "y.example.|A|10.0.0.1"]
        (group,) = await following()
        assert [target["__address__"] for target in group.targets] == ["10.0.0.1:80"]

    run(tmp_path, body, "x.example", type="A", port=80)


def test_a_long_answer_is_asked_for_by_tcp(tmp_path):
    async def body(server, _, following):
        server.cut = True
        server.records["x.example.", "A"] = ["10.0.0.1", "10.0.0.2"]
        (group,) = await following()
        assert len(group.targets) == 2
        assert [how for _, how, _ in server.asked] == ["udp", "tcp"]

    run(tmp_path, body, "x.example", type="A", port=80)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        pytest.param(
            "x", ["x.a.example.", "x.b.example.", "x."], id="a short name: suffixes first"
        ),
        pytest.param("x.y", ["x.y.", "x.y.a.example.", "x.y.b.example."], id="a name with a dot"),
        pytest.param("x.", ["x."], id="a full name"),
    ],
)
def test_the_search_list(tmp_path, name, asked):
    async def body(server, discovery, following):
        (group,) = await following()
        # All of them are said not to exist: that is an answer.
        assert group.targets == ()
        assert [each for each, _, _ in server.asked] == asked
        assert discovery.stats().failures == 0
        server.records[asked[-1], "A"] = ["10.0.0.1"]
        (group,) = await following()
        assert group.targets[0]["__meta_dns_name"] == name

    conf = "nameserver 127.0.0.1\nsearch a.example b.example\n"
    run(tmp_path, body, name, type="A", port=80, conf=conf)


def test_no_answer_keeps_the_targets_of_that_name_alone(tmp_path, caplog):
    async def body(server, discovery, following):
        server.records["x.example.", "A"] = ["10.0.0.1"]
        server.records["y.example.", "A"] = ["10.0.0.2"]
        assert [group.source for group in await following()] == ["x.example", "y.example"]
        server.rcodes["x.example."] = dns.rcode.SERVFAIL
        while len(found := await following()) == 2:
            pass
        assert [group.source for group in found] == ["y.example"]
        assert "SERVFAIL" in discovery.stats().last_error
        await following()
        server.rcodes.clear()
        while len(found := await following()) == 1:
            pass
        assert discovery.stats().last_error == ""
        assert discovery.stats().lookups > discovery.stats().failures > 1

    run(tmp_path, body, "x.example", "y.example", type="A", port=80)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1


def test_a_silent_server_is_passed_over(tmp_path):
    async def body(server, discovery, following):
        server.records["x.example.", "A"] = ["10.0.0.1"]
        (group,) = await following()
        assert len(group.targets) == 1

    # Nothing listens at the first.
    conf = "nameserver 127.0.0.9\nnameserver 127.0.0.1\n"
    run(tmp_path, body, "x.example", type="A", port=80, conf=conf)


def test_equal_configurations_are_equal():
    assert DnsDiscovery(DnsSettings(("a",))) == DnsDiscovery(DnsSettings(("a",)))
    assert DnsDiscovery(DnsSettings(("a",))) != DnsDiscovery(DnsSettings(("b",)))
