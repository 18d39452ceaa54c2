"""How fast expressions are, and how long the worst of them hold out: `python -m bench.expressions`.

Prints microseconds for the everyday ones and, with `--long`, the time of hostile ones at the default budget.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workflow_engine.engine.expressions import (
    ExpressionFailed,
    Meter,
    Timestamp,
    compile_expression,
    compile_template,
)

ROUNDS = 5
# A loop too long for the budget is refused before it starts; the worst is one that just fits, so several are tried.
LOOP_ROUNDS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 20_000, 30_000, 40_000, 60_000, 100_000)


def context_of_10_kb() -> dict[str, Any]:
    """What an execution with some finished steps offers its expressions."""
    steps = {
        f"step_{number}": {
            "output": {"b": number, "rows": [{"id": row, "name": f"row {row}"} for row in range(20)]},
            "status": "completed",
            "error": None,
            "attempt": 1,
            "count": 1,
        }
        for number in range(12)
    }
    return {"input": {"kind": "x", "n": 5}, "vars": {"n": 4, "over": True, "name": "Ada"}, "steps": steps}


def best_of(run: Callable[[], Any], number: int) -> float:
    """Microseconds per call, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(number):
            run()
        best = min(best, (time.perf_counter() - start) / number)
    return best * 1e6


def everyday() -> dict[str, float]:
    """Microseconds by name."""
    context = context_of_10_kb()
    path = compile_expression("steps.step_7.output.b")
    condition = compile_expression("vars.n > 3 && input.kind == 'x'")
    fields = {f"field_{number}": f"${{ steps.step_{number}.output.b }}" for number in range(9)}
    template = compile_template({**fields, "text": "Hello ${ vars.name }, you have ${ vars.n } items"})
    mapping = compile_expression("input.map(x, x * 2 + 1)")
    thousand = {"input": list(range(1000))}
    source = (
        "steps.step_7.output.rows.filter(r, r.id > 3 && r.name.startsWith('row')).map(r, {'id': r.id, 'n': vars.n})"
    )
    return {
        "path in a context of 10 KB": best_of(lambda: path.evaluate(context, Meter()), 20_000),
        "simple condition": best_of(lambda: condition.evaluate(context, Meter()), 20_000),
        "template of 10 fields": best_of(lambda: template.evaluate(context, Meter()), 2_000),
        "map over 1,000 elements": best_of(lambda: mapping.evaluate(thousand, Meter()), 50),
        "compile 113 characters": best_of(lambda: compile_expression(source), 200),
    }


def hostile(rounds: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Expressions that try to run long or to grow large, with the context that helps them."""
    words = [f"word {number}" for number in range(1000)]
    numbers = list(range(1000))
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    nested = "true"
    for letter in "abcdefgh":
        nested = f"input.all({letter}, {nested})"
    doubled = "size(a30)"
    for number in range(30, 0, -1):
        doubled = f"cel.bind(a{number}, a{number - 1} + a{number - 1}, {doubled})"
    shared = "json(a30)"
    for number in range(30, 0, -1):
        shared = f"cel.bind(a{number}, [a{number - 1}, a{number - 1}], {shared})"
    compared = "a30 == b30"
    for letter in "ab":
        for number in range(30, 0, -1):
            compared = f"cel.bind({letter}{number}, [{letter}{number - 1}, {letter}{number - 1}], {compared})"
    loop = f"lists.range({rounds})"
    ten = {"input": list(range(10))}
    thousand = {"input": numbers, "words": words}
    text = {"t": "a" * 50_000, "s": "a" * 2_400, "u": "é" * 20_000}
    table = {"m": {word: position for position, word in enumerate(words)}, "input": numbers}
    stamps = {"t": Timestamp.parse("2026-01-31T12:00:00.5Z"), "input": numbers}
    return {
        "8 nested all": (nested, ten),
        "map in map in map": ("input.map(a, input.map(b, input.map(c, a + b + c)))", thousand),
        "filter in filter": ("input.filter(a, input.exists(b, a + b == -1))", thousand),
        "mixed arithmetic": ("input.all(a, input.all(b, a * 1.5 - b / 2.5 + 1 > -1e9))", thousand),
        "division": ("input.all(a, input.all(b, (a + 7) / (b + 1) % 9 < 99))", thousand),
        "errors absorbed": (f"{loop}.exists(x, x / 0 == 1)", {}),
        "missing keys absorbed": (f"{loop}.exists(x, m.nothing == 1)", table),
        "missing names absorbed": (f"{loop}.exists(x, nothing || false)", {}),
        "doubled text": (doubled, {"a0": "x" * 1000}),
        "doubled list": (doubled, {"a0": [1]}),
        "shared lists as JSON": (shared, {"a0": [1, 1]}),
        "shared lists compared": (compared, {"a0": [1], "b0": [1]}),
        "shared lists distinct": (shared.replace("json(a30)", "[a30].distinct()"), {"a0": [1]}),
        "shared lists flattened": (shared.replace("json(a30)", "a30.flatten(100)"), {"a0": [1]}),
        "shared lists formatted": (shared.replace("json(a30)", "'%s'.format([a30])"), {"a0": [1]}),
        "replace grows": (f"{loop}.map(x, s.replace('', s))", text),
        "join grows": (f"{loop}.map(x, [t, t, t, t].join(t))", text),
        "format grows": (f"{loop}.map(x, '%.100f %s'.format([1e300, t]))", text),
        "format numbers": (f"{loop}.map(x, '%d %s %x %e'.format([x, x, x, x]))", {}),
        "range": ("lists.range(1000000000)", {}),
        "ranges": (f"{loop}.map(x, lists.range(1000))", {}),
        "lists": (f"{loop}.map(x, [x, x, x, x, x, x, x, x])", {}),
        "maps": (f"{loop}.map(x, {{'a': x, 'b': x, 'c': x}})", {}),
        "maps with odd keys": (f"{loop}.map(x, {{1: x, true: x, 2u: x}})", {}),
        "lists put together": ("input.map(a, input + input)", thousand),
        "in a list of texts": (f"{loop}.filter(x, 'nothing' in words)", thousand),
        "in a list of numbers": (f"{loop}.filter(x, -1.0 in input)", thousand),
        "in a list of lists": (f"{loop}.filter(x, [[1]] in input)", {"input": [[[2]]] * 1000}),
        "equal maps": (f"{loop}.all(x, m == m)", table),
        "equal lists": (f"{loop}.all(x, input == input)", thousand),
        "equal texts": (f"{loop}.all(x, t == u)", {"t": "x" * 100_000, "u": "x" * 99_999 + "y"}),
        "texts in order": (f"{loop}.all(x, t < u)", {"t": "x" * 100_000, "u": "x" * 99_999 + "y"}),
        "sort": (f"{loop}.map(x, input.sort())", {"input": [(7919 * number) % 1009 for number in range(1000)]}),
        "sort of one long list": ("lists.range(50000).sortBy(x, (x * 7919) % 100003)", {}),
        "sort of texts": (
            f"{loop}.map(x, words.sort())",
            {"words": ["x" * 500 + str(n * 7919 % 997) for n in numbers]},
        ),
        "sort of timestamps": (f"{loop}.map(x, input.map(y, timestamp(y)).sort())", thousand),
        "distinct": (f"{loop}.map(x, words.distinct())", thousand),
        "distinct maps": (f"{loop}.map(x, w.distinct())", {"w": [{"a": word} for word in words]}),
        "sets": (f"{loop}.map(x, sets.equivalent(words, words))", thousand),
        "flatten": (f"{loop}.map(x, w.flatten())", {"w": [[word] for word in words]}),
        "slice and reverse": (f"{loop}.map(x, input.slice(1, 900).reverse())", thousand),
        "deep values": (f"{loop}.all(x, d == d)", {"d": deep}),
        "evil pattern": (f"{loop}.all(x, t.matches('(a+)+b'))", text),
        "large pattern": ("t.matches('a{1000}b')", text),
        "medium pattern": (f"{loop}.all(x, !s.matches('(x|a)*a(x|a){{100}}c'))", text),
        "small patterns": (f"{loop}.all(x, 'abc'.matches('b'))", {}),
        "new patterns": (f"{loop}.all(x, 'abc'.matches('b' + string(x)) || true)", {}),
        "slow patterns": (f"{loop}.all(x, 'abc'.matches('\\\\PL{{50}}' + string(x)) || true)", {}),
        "find, quadratic": (f"{loop}.all(x, !s.contains(p))", text | {"p": "a" * 1200 + "b"}),
        "find, quadratic in 30 KB": (f"{loop}.all(x, !s.contains(p))", {"s": "a" * 29_000, "p": "a" * 98 + "b"}),
        "find, two-way": (f"{loop}.all(x, !t.contains(p))", text | {"p": "a" * 1200 + "b"}),
        "find backwards": (f"{loop}.all(x, t.lastIndexOf(p) < 0)", text | {"p": "b" + "a" * 1200}),
        "split": (f"{loop}.map(x, t.split(''))", text),
        "split by a text": (f"{loop}.map(x, t.split('aa'))", text),
        "casing": (f"{loop}.map(x, u.upperAscii())", text),
        "trim": (f"{loop}.map(x, u.trim())", {"u": " " * 20_000}),
        "quote": (f"{loop}.map(x, strings.quote(u))", {"u": '"' * 20_000}),
        "reverse text": (f"{loop}.map(x, u.reverse())", text),
        "substring": (f"{loop}.map(x, u.substring(1))", text),
        "char": (f"{loop}.map(x, u.charAt(100))", text),
        "bytes": (f"{loop}.map(x, base64.encode(bytes(u)))", text),
        "base64": (f"{loop}.map(x, base64.decode(u))", {"u": "AAAA" * 5000}),
        "texts of numbers": (f"{loop}.map(x, string(x * 1.1) + string(x))", {}),
        "numbers of texts": (f"{loop}.map(x, double('1.5e10') + double(int('123')))", {}),
        "long numbers": (f"{loop}.map(x, double(d))", {"d": "1" * 400}),
        "timestamps": (f"{loop}.map(x, timestamp('2026-01-31T12:00:00.5Z'))", {}),
        "bad timestamps": (f"{loop}.exists(x, timestamp('2026-13-31T12:00:00.5Z') == x)", {}),
        "texts of timestamps": (f"{loop}.map(x, string(t))", stamps),
        "timestamp arithmetic": (f"{loop}.map(x, t + duration('1h') - t)", stamps),
        "durations": (f"{loop}.map(x, duration('1h2m3s4ms5us6ns'))", {}),
        "long durations": (f"{loop}.map(x, duration(d))", {"d": "1s" * 128}),
        "time zones": (f"{loop}.map(x, t.getDayOfYear('Europe/Berlin'))", stamps),
        "unknown time zones": (f"{loop}.exists(x, t.getHours('X' + string(x)) == 1)", stamps),
        "offsets": (f"{loop}.map(x, t.getHours('+02:' + string(x % 50 + 10)))", stamps),
        "JSON of a map": (f"{loop}.map(x, json(m))", table),
        "JSON of doubles": (f"{loop}.map(x, json(d))", {"d": [1.1 * number for number in numbers]}),
        "JSON of small things": (f"{loop}.map(x, json(x))", {}),
        "parsing numbers": (f"{loop}.map(x, parse_json(j))", {"j": json.dumps(numbers)}),
        "parsing objects": (f"{loop}.map(x, parse_json(j))", {"j": json.dumps([{}] * 1000)}),
        "parsing fields": (f"{loop}.map(x, parse_json(j))", {"j": json.dumps([{"a": 1, "b": 2.5}] * 1000)}),
        "parsing lists": (f"{loop}.map(x, parse_json(j))", {"j": json.dumps([[]] * 1000)}),
        "parsing one large text": ("parse_json(j)", {"j": "[" + "1," * 250_000 + "1]"}),
        "parsing deep brackets": ("parse_json(j)", {"j": "[" * 100_000}),
        "sum": (f"{loop}.map(x, sum(d))", {"d": [1.5, 2] * 500}),
        "greatest": (f"{loop}.map(x, math.greatest(d))", {"d": [1.5, 2] * 500}),
        "math": (f"{loop}.map(x, math.round(x * 1.5) + math.sqrt(x) + math.abs(x))", {}),
        "bits": (f"{loop}.map(x, math.bitOr(math.bitShiftLeft(x, 3), 1))", {}),
        "keys of a map": (f"{loop}.map(x, m.map(k, k))", table),
        "pairs of a map": (f"{loop}.map(x, m.transformMap(k, v, v))", table),
        "entries": (f"{loop}.map(x, m.transformMapEntry(k, v, {{k: v}}))", table),
        "pairs of a list": (f"{loop}.map(x, input.transformList(i, v, v))", thousand),
        "optionals": (f"{loop}.map(x, m.?a.?b.or(m.?c).orValue(x))", table),
        "optional chains": (f"{loop}.map(x, optional.of(x).optMap(y, y + 1).orValue(0))", {}),
        "conversions of types": (f"{loop}.map(x, type(x) == type(1.0))", {}),
        "comparing mixed": (f"{loop}.all(x, x > -1.5 && x != 7.5 && 1u + 1 == 2)", {}),
        "coalesce": (f"{loop}.map(x, coalesce(null, null, x))", {}),
        "has": (f"{loop}.map(x, has(m.a) || has(m.b))", table),
        "indices": (f"{loop}.map(x, input[x % 1000] + input[1.0])", thousand),
        "long chains": (f"{loop}.map(x, {' + '.join(['x'] * 100)})", {}),
        "long paths": (f"{loop}.map(x, {'.'.join(['m'] + ['a'] * 5)})", {"m": {"a": {"a": {"a": {"a": {"a": 1}}}}}}),
    }


class Measured(NamedTuple):
    """One evaluation at the default budget; `cpu_ms` is what it costs, `wall_ms` what a busy machine makes of it."""

    cpu_ms: float
    wall_ms: float
    units: int
    name: str
    outcome: str


def measure_hostile() -> list[Measured]:
    """The worst evaluation of each hostile expression, the slowest first."""
    worst: dict[str, Measured] = {}
    for rounds in LOOP_ROUNDS:
        for name, (source, context) in hostile(rounds).items():
            measured = measure(name, source, context)
            worst[name] = max(measured, worst.get(name, measured))
    return sorted(worst.values(), reverse=True)


def measure(name: str, source: str, context: dict[str, Any]) -> Measured:
    """Evaluate once at the default budget."""
    expression = compile_expression(source)
    meter = Meter()
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        expression.evaluate(context, meter)
        outcome = "done"
    except ExpressionFailed as failed:
        outcome = failed.type
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    return Measured(cpu * 1e3, wall * 1e3, meter.spent, name, outcome)


def main() -> None:
    """Print the figures."""
    for name, microseconds in everyday().items():
        print(f"{name:<70} {microseconds:.2f} microseconds")
    if "--long" not in sys.argv:
        return
    slowest = measure_hostile()
    wall_ms = max(measured.wall_ms for measured in slowest)
    title = f"hostile, the slowest of {len(slowest)}"
    print(f"{title:38} {slowest[0].cpu_ms:8.1f} ms of CPU, {wall_ms:.1f} ms by the clock")
    for measured in slowest[:10]:
        print(
            f"    {measured.name:30} {measured.cpu_ms:10.1f} ms of CPU {measured.wall_ms:8.1f} ms"
            f" {measured.units:12,} units  {measured.outcome}"
        )


if __name__ == "__main__":
    main()
