"""`start --batch`: many executions on a server, from a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli_command import Ran

Cli = Callable[..., Ran]


def publish(remote: Cli, id_: str) -> None:
    definition = {
        "id": id_,
        "input": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        "nodes": [{"id": "wait", "type": "wait", "with": {"signal": "go"}}],
    }
    Path(f"{id_}.json").write_text(json.dumps(definition))
    assert remote("publish", f"{id_}.json").code == 0


def lines(name: str, starts: list[Any]) -> str:
    Path(name).write_text("\n".join(json.dumps(start) for start in starts) + "\n\n")
    return name


def test_json_lines_start_in_order_more_than_one_request_takes(remote: Cli) -> None:
    publish(remote, "batch-lines")
    ids = [f"bl-{number}" for number in range(1_500)]
    name = lines("s.jsonl", [{"input": {"n": n}, "execution_id": one} for n, one in enumerate(ids)])
    ran = remote("start", "batch-lines", "--batch", name)
    assert (ran.code, ran.out.split()) == (0, ids)
    assert "started 1500 of 1500 executions of batch-lines" in ran.err
    assert remote("executions", "show", "bl-1499", "--json").json["input"] == {"n": 1_499}


def test_those_refused_are_told_and_the_others_start(remote: Cli) -> None:
    publish(remote, "batch-mixed")
    Path("s.json").write_text(json.dumps([{"input": {"n": 1}}, {"input": {"n": "x"}}, {"inputs": 1}]))
    ran = remote("start", "batch-mixed", "--batch", "s.json")
    assert (ran.code, len(ran.out.split())) == (2, 1)
    assert "start 2: invalid_input: " in ran.err
    assert "start 3: invalid_body: " in ran.err
    ran = remote("start", "batch-mixed", "--batch", "s.json", "--json")
    assert (ran.code, ran.json["accepted"], ran.json["refused"]) == (2, 1, 2)
    assert [(item["index"], item["status"]) for item in ran.json["items"]] == [(0, 202), (1, 422), (2, 422)]


def test_a_request_in_which_none_is_accepted_does_not_stop_the_next(remote: Cli) -> None:
    publish(remote, "batch-none")
    starts: list[dict[str, Any]] = [{"input": {"n": "x"}}] * 1_000 + [{"input": {"n": 1}}]
    ran = remote("start", "batch-none", "--batch", lines("s.jsonl", starts), "--json")
    assert (ran.code, ran.json["accepted"], ran.json["refused"]) == (2, 1, 1_000)
    assert ran.json["items"][0]["problem"]["code"] == "invalid_input"
    assert [item["index"] for item in ran.json["items"]] == list(range(1_001))


def test_a_file_that_can_not_be_used_names_the_place(remote: Cli) -> None:
    Path("bad.jsonl").write_text('{"input": 1}\n{"input": }\n')
    Path("empty.json").write_text("[]")
    for name, text in (("bad.jsonl", "bad.jsonl line 2"), ("empty.json", "lists nothing"), ("none", "can't be read")):
        ran = remote("start", "whatever", "--batch", name)
        assert (ran.code, ran.out) == (2, "")
        assert text in ran.err
    assert "leave the other options out" in remote("start", "w", "--batch", "empty.json", "--input", "1").err
    Path("one.json").write_text("[{}]")
    ran = remote("start", "no-such-workflow", "--batch", "one.json", "--json")
    assert (ran.code, ran.json["error"]["code"], ran.json["accepted"]) == (2, "not_found", 0)
