"""Which addresses a call may reach: the literal, name and port tricks, each checked against a server that listens."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from http_target import Target

from workflow_engine.models.step import Completed, Failed, StepCall
from workflow_engine.steps.addresses import AddressForbidden, AddressRules
from workflow_engine.steps.http import HttpHandler
from workflow_engine.steps.http_names import Resolve, VettingResolver

Build = Callable[..., StepCall]

LITERALS = [
    *("127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "0x7f000001", "0x7f.1", "2130706433", "017700000001"),
    *("0177.0.0.1", "0177.0.0.0x1", "127.0.0.1.", "127.0.0.1。", "127.0.0.1", "①②⑦.0.0.1", "127.255.255.254"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *(
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%25lo]",
    ),
    *("[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "169.254.169.254", "100.64.0.1", "100.100.100.200"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.0.0.192", "198.18.0.1", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16", "0.1.2.3", "192.0.2.1", "127%2e0.0.1", "localhost%00.example"),
    *("1.2.3", "256.1.1.1", "1.1.1.1.1", "0x", "a.0x1"),
]


@pytest.fixture
async def strict() -> AsyncIterator[HttpHandler]:
    handler = HttpHandler()
    yield handler
    await handler.close()


def names(**table: Sequence[str]) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return table[host.split(".")[0]]

    return resolve


@pytest.mark.parametrize("host", LITERALS)
async def test_a_forbidden_literal_is_refused_before_any_connection(
    target: Target, strict: HttpHandler, step_call: Build, host: str
) -> None:
    outcome = await strict(step_call({"url": f"http://{host}:{target.port}/"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden", outcome.error
    assert "HTTP_ALLOW" in outcome.error.message
    assert outcome.error.no_effect
    assert target.connections == 0


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "data:,x", "unix:/run/s"]
)
async def test_other_schemes_are_forbidden(strict: HttpHandler, step_call: Build, url: str) -> None:
    outcome = await strict(step_call({"url": url}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    assert "HTTP_ALLOW" in outcome.error.message


@pytest.mark.parametrize("port", [0, 22, 25, 5432, 6379])
async def test_ports_of_other_services_are_forbidden_even_on_allowed_hosts(
    handler: HttpHandler, step_call: Build, port: int
) -> None:
    outcome = await handler(step_call({"url": f"http://127.0.0.1:{port}/"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    assert str(port) in outcome.error.message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost."])
async def test_a_name_of_this_machine_is_refused_before_any_connection(
    target: Target, step_call: Build, host: str
) -> None:
    strict = HttpHandler(resolve=names(localhost=["127.0.0.1"]))
    outcome = await strict(step_call({"url": f"http://{host}:{target.port}/"}))
    await strict.close()
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    assert target.connections == 0


async def test_a_name_that_resolves_to_a_private_address_is_refused_without_telling_the_address(
    target: Target, step_call: Build
) -> None:
    handler = HttpHandler(resolve=names(inside=["127.0.0.1", "10.9.8.7"]))
    outcome = await handler(step_call({"url": f"http://inside.example:{target.port}/"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    assert "10.9.8.7" not in outcome.error.message
    assert target.connections == 0
    await handler.close()


async def test_a_mixed_answer_keeps_only_the_public_addresses() -> None:
    answer = ["10.0.0.1", "93.184.215.14", "::1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:127.0.0.1"]
    resolver = VettingResolver(AddressRules(), names(mixed=answer), timeout_s=1)
    kept = [one["host"] for one in await resolver.resolve("mixed.example", 80)]
    assert kept == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]


async def test_a_name_that_changes_its_address_is_asked_once_per_connection_and_its_answer_is_what_is_connected_to(
    target: Target, step_call: Build
) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    handler = HttpHandler(["127.0.0.1/32"], resolve=rebinding)
    target.replies()
    outcome = await handler(step_call({"url": f"http://rebind.example:{target.port}/"}))
    assert isinstance(outcome, Completed)
    assert (len(asked), target.connections) == (1, 1)
    assert target.peers == ["127.0.0.1"]
    await handler.close()

    again = HttpHandler(["127.0.0.1/32"], resolve=rebinding)
    outcome = await again(step_call({"url": f"http://rebind.example:{target.port}/"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    assert target.connections == 1
    await again.close()


async def test_an_allowed_host_may_resolve_to_a_private_address_and_another_name_of_it_may_not(
    target: Target, step_call: Build
) -> None:
    handler = HttpHandler(["Internal.Example."], resolve=names(internal=["127.0.0.1"], other=["127.0.0.1"]))
    target.replies()
    first = await handler(step_call({"url": f"http://internal.example:{target.port}/"}))
    other = await handler(step_call({"url": f"http://other.example:{target.port}/"}))
    literal = await handler(step_call({"url": target.url}))
    assert isinstance(first, Completed)
    assert isinstance(other, Failed)
    assert isinstance(literal, Failed)
    assert target.connections == 1
    await handler.close()


async def test_an_allowed_cidr_permits_its_addresses_by_whatever_name(target: Target, step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.0/8"], resolve=names(any=["127.0.0.1"]))
    target.replies()
    for host in ("any.example", "127.0.0.1", "[::ffff:127.0.0.1]"):
        outcome = await handler(step_call({"url": f"http://{host}:{target.port}/"}))
        if host.startswith("["):  # a machine without IPv6 can't connect, but the address is not refused
            assert isinstance(outcome, Completed) or outcome.error.type == "unavailable"
        else:
            assert isinstance(outcome, Completed), outcome
    await handler.close()


async def test_an_allowed_address_is_not_allowed_in_an_odd_spelling(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    for host in ("127.1", "2130706433", "0x7f000001", "127.0.0.1."):
        outcome = await handler(step_call({"url": f"http://{host}:{target.port}/"}))
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "forbidden"
    assert target.connections == 0


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "localhost:8080", "*.example", "http://a.example", "127.1", "a b"])
def test_an_entry_that_is_neither_host_nor_cidr_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="HTTP_ALLOW"):
        AddressRules([entry])


def test_empty_entries_are_passed_over() -> None:
    assert not AddressRules(["", " "]).permits("127.0.0.1")


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert AddressRules().permits(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "fe80::1%eth0", "not-an-address", "2606:4700::1%eth0"])
def test_what_is_not_public_or_not_an_address_is_not_permitted(address: str) -> None:
    assert not AddressRules().permits(address)


@pytest.mark.parametrize("host", ["api.example", "a_b.example", "xn--bcher-kva.example", "api.example.", "1.example"])
def test_host_names_are_left_to_the_resolver(host: str) -> None:
    AddressRules().check_host(host)


@pytest.mark.parametrize("host", ["a..b", "a b", "-a.example", "a" * 300, "a%2eb", "ä.example"])
def test_what_is_no_host_name_is_refused(host: str) -> None:
    with pytest.raises(AddressForbidden):
        AddressRules().check_host(host)


async def test_the_system_resolver_is_vetted_too(step_call: Build) -> None:
    handler = HttpHandler()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0)
        outcome = await handler(step_call({"url": f"http://localhost:{listening.getsockname()[1]}/"}))
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "forbidden"
    await handler.close()
