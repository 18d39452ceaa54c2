"""`validate` tells every problem at once: what it is, where it stands, and the way out."""

import json
from pathlib import Path
from typing import Any

import pytest
from affordable import affordable
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from workflow_engine.engine.validation import Limits, Validation, validate
from workflow_engine.engine.validation.json_schema import schema_problems
from workflow_engine.models.document import parse_document
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.services.input_schema import input_checker

BROKEN = Path(__file__).parent.parent / "data" / "broken"


def validate_yaml(text: str) -> Validation:
    return validate(parse_document(text.encode(), kind="yaml"))


def told(validation: Validation) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in validation.problems]


def with_nodes(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "example",
        "nodes": [{"type": "set", "id": f"n{index}", **node} for index, node in enumerate(nodes)],
        **fields,
    }


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_problem_of_a_broken_definition_is_told_at_once(path: Path) -> None:
    found = validate(parse_document(path.read_bytes(), kind="yaml"))
    expected = json.loads(path.with_suffix(".problems.json").read_text(encoding="utf-8"))
    assert [
        {key: value for key, value in problem.to_dict().items() if key != "message"} for problem in found.problems
    ] == expected
    assert all(problem.message for problem in found.problems)
    assert found.valid is all(problem["severity"] == "warning" for problem in expected)
    assert (found.definition is None) is not found.valid


def test_the_documentation_lists_every_code_that_the_broken_definitions_meet() -> None:
    reference = (BROKEN.parents[2] / "docs" / "definition-language.md").read_text(encoding="utf-8")
    table = reference.partition("## Problems")[2]
    found = {row["code"] for path in BROKEN.glob("*.json") for row in json.loads(path.read_text(encoding="utf-8"))}
    assert len(found) > 25
    assert [code for code in sorted(found) if f"`{code}`" not in table] == []


def test_a_sound_definition_has_no_problems() -> None:
    found = validate_yaml("""
id: order
variables: {limit: 500, tries: 0}
input: {type: object, properties: {amount: {type: number}, lines: {type: array}}}
timeout: "${ input.deadline }"
output: "${ {'paid': steps.pay.output.status, 'by': steps.ask.output.?name} }"
nodes:
  - {id: policy, type: decision}
  - {id: ask, type: human, with: {title: "Pay ${ input.amount }?", form: {type: object}, due: 2d}, timeout: 2d}
  - id: pay
    type: http
    with: {method: POST, url: "https://bank.example/${ input.bank }", json: {amount: "${ input.amount }"}}
    output: "${ output.body }"
    assign: {receipt: "${ output.body.id }", tries: "${ vars.tries + 1 }"}
    retry: {max_attempts: 5}
  - id: each
    type: function
    foreach: {items: "${ input.lines }", as: line}
    with: {name: ship, arguments: {line: "${ line }", at: "${ index }"}}
  - {id: shipped, type: wait, with: {signal: shipped, when: signal.payload.order == execution.id}, timeout: 30d}
  - {id: nap, type: wait, with: {for: "${ vars.tries > 2 ? '1h' : '1m' }"}}
  - {id: gather, type: join, join: {count: 2}}
  - {id: told, type: emit, with: {event: failed, data: "${ error.message + string(steps.pay.error) }"}}
  - {id: sum, type: set, output: "${ steps.each.output.map(x, x.weight).filter(weight, weight > 1).size() }"}
  - {id: stop, type: fail, with: {type: refused, message: "${ now }"}}
  - {id: done, type: end, with: {status: completed, terminate: true}}
connections:
  - {from: policy, to: ask, when: input.amount > vars.limit}
  - {from: policy, to: pay, otherwise: true}
  - {from: ask, to: pay, when: steps.ask.output.approved}
  - {from: ask, to: stop, otherwise: true}
  - {from: ask, to: stop, on: error, when: error.type == 'timeout'}
  - {from: pay, to: each}
  - {from: pay, to: told, on: error, label: refused}
  - {from: each, to: shipped}
  - {from: shipped, to: gather}
  - {from: nap, to: gather}
  - {from: each, to: nap}
  - {from: gather, to: sum}
  - {from: sum, to: done}
""")
    assert told(found) == []
    assert found.definition is not None
    assert len(found.definition.nodes) == 11


def test_warnings_do_not_forbid_publishing() -> None:
    found = validate(with_nodes({}, {}, start=["n0"]))
    assert told(found) == [("unreachable_node", "/nodes/1")]
    assert found.valid


def test_errors_come_before_warnings() -> None:
    severities = [
        problem.severity for problem in validate(with_nodes({}, {"output": "${ 1 + }"}, start=["n0"])).problems
    ]
    assert severities == ["error", "warning"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ([], "wrong_type"),
        (None, "wrong_type"),
        ("id: x", "wrong_type"),
        ({"id": "x", "nodes": [{"id": "a", "type": "set", "output": float("nan")}]}, "not_finite"),
        ({"id": "x", "nodes": (1, 2)}, "invalid_type"),
        ({"id": "x", 1: 2}, "invalid_key"),
        ({"id": "x", "description": "x" * (1 << 20), "nodes": []}, "definition_too_large"),
    ],
    ids=["list", "null", "text", "nan", "tuple", "key", "large"],
)
def test_what_is_no_definition_at_all_is_told_and_not_raised(document: Any, code: str) -> None:
    found = validate(document)
    assert [problem.code for problem in found.problems] == [code]
    assert not found.valid


def test_limits_are_told_before_any_work_and_can_be_set() -> None:
    many = {"id": "x", "nodes": [{}] * 5_001, "connections": [{}] * 20_001}
    assert told(validate(many)) == [("too_many_nodes", "/nodes"), ("too_many_connections", "/connections")]
    nested = {"id": "x", "nodes": [{"id": "g", "type": "group", "nodes": [{}] * 3}]}
    assert told(validate(nested, limits=Limits(nodes_max=3))) == [("too_many_nodes", "/nodes")]


@pytest.mark.parametrize(
    "fields",
    [
        {"output": "+".join(["1"] * 3000)},
        {"output": "text ${ " + "+".join(["1"] * 3000) + " }"},
    ],
)
def test_an_expression_has_at_most_4_kib_and_other_text_has_not(fields: dict[str, Any]) -> None:
    found = told(validate(with_nodes(fields)))
    assert found == ([("expression_too_long", "/nodes/0/output")] if "${" in fields["output"] else [])


def test_a_bare_expression_has_at_most_4_kib() -> None:
    connection = {"from": "n0", "to": "n1", "when": "+".join(["1"] * 3000) + " > 1"}
    found = told(validate(with_nodes({}, {}, connections=[connection])))
    assert found == [("expression_too_long", "/connections/0/when")]
    short = {**connection, "when": "1 + 1 > 1"}
    tight = validate(with_nodes({}, {}, connections=[short]), limits=Limits(expression_bytes_max=5))
    assert told(tight) == [("expression_too_long", "/connections/0/when")]


def test_a_hostile_number_of_problems_is_cut_and_says_so() -> None:
    found = validate({"id": "x", "labels": {f"l{n}": n for n in range(5_000)}, "nodes": [{"id": "a", "type": "set"}]})
    assert len(found.problems) == 501
    assert found.problems[-1].code == "too_many_problems"


def test_an_unknown_node_type_does_not_hide_the_nodes_other_problems() -> None:
    found = validate(with_nodes({"type": "htp", "priority": 10, "output": "${ itm }", "with": {"url": 1}}))
    assert told(found) == [
        ("unknown_node_type", "/nodes/0/type"),
        ("out_of_range", "/nodes/0/priority"),
        ("unknown_name", "/nodes/0/output"),
    ]


def test_a_misspelt_field_does_not_hide_what_is_wrong_with_the_graph() -> None:
    found = validate(with_nodes({"nmae": "x"}, connections=[{"from": "n0", "to": "n9"}]))
    assert told(found) == [("unknown_field", "/nodes/0/nmae"), ("unknown_node", "/connections/0/to")]


def test_names_with_slashes_are_escaped_in_pointers() -> None:
    assert pointer("a/b", "c~d", 0) == "/a~1b/c~0d/0"
    found = validate(with_nodes({"output": {"a/b": "${ 1 + }"}}))
    assert told(found) == [("invalid_expression", "/nodes/0/output/a~1b")]


class TestScopes:
    """What an expression may name in groups, items, iterations and compensating nodes."""

    def test_a_group_sees_what_is_around_it_and_hides_what_is_inside(self) -> None:
        found = validate_yaml("""
id: groups
nodes:
  - {id: before, type: set}
  - id: each
    type: group
    foreach: {items: [1, 2], as: order}
    variables: {n: 0}
    nodes:
      - {id: inner, type: set, output: "${ [steps.before.output, order, vars.n] }"}
    output: "${ steps.inner.output }"
    assign: {first: "${ output[0] + steps.inner.output }"}
  - {id: after, type: set, output: "${ [steps.each.output, steps.inner.output, order] }"}
connections:
  - {from: before, to: each}
  - {from: each, to: after}
""")
        assert told(found) == [
            ("step_out_of_scope", "/nodes/1/assign/first"),
            ("unknown_name", "/nodes/2/output"),
            ("step_out_of_scope", "/nodes/2/output"),
        ]

    def test_a_secret_stands_alone_in_the_input_of_an_io_node(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workflow_engine.engine.validation.names.LATER_NAMES", set())
        auth = {"bearer": "x${ secrets.token }"}
        call = {"type": "http", "with": {"url": "https://example.org", "auth": auth}}
        assert told(validate(with_nodes(call))) == []
        auth["bearer"] = "${ secrets.token + 'x' }"
        assert told(validate(with_nodes(call))) == [("secret_in_expression", "/nodes/0/with/auth/bearer")]
        found = validate(with_nodes({"output": "${ secrets.token }"}))
        assert told(found) == [("unknown_name", "/nodes/0/output")]

    def test_an_iteration_and_a_condition_know_their_names(self) -> None:
        found = validate(
            with_nodes(
                {"repeat": {"until": "iteration > 2"}, "output": "${ iteration }"},
                {
                    "type": "wait",
                    "with": {"any": [{"condition": "steps.n0.count > 1"}, {"signal": "s", "when": "signal.x"}]},
                },
                {
                    "foreach": {"items": [1], "complete_when": "completed > 1 && vars.x"},
                    "compensate": "n0",
                    "cancel": ["n9"],
                },
                variables={"x": 1},
            )
        )
        assert told(found) == [("unknown_node", "/nodes/2/cancel/0")]

    def test_an_undoing_node_is_neither_a_start_nor_unreachable(self) -> None:
        assert told(validate(with_nodes({"compensate": "n1"}, {}))) == []
        assert told(validate(with_nodes({"compensate": "n1"}, {}, start=["n0"]))) == []

    def test_a_compensating_node_sees_what_the_step_that_it_undoes_had(self) -> None:
        undone = {"foreach": {"items": [1], "as": "order", "index_as": "at"}, "repeat": {"max": 2}, "compensate": "n1"}
        arguments = {"made": "${ output }", "of": "${ order + at + iteration }"}
        undoing = {"type": "function", "with": {"name": "undo", "arguments": arguments}}
        assert told(validate(with_nodes(undone, undoing))) == []
        assert told(validate(with_nodes({**undone, "compensate": "n2"}, undoing, {}))) == [
            ("unknown_name", "/nodes/1/with/arguments/made"),
            *[("unknown_name", "/nodes/1/with/arguments/of")] * 3,
        ]

    def test_a_compensating_node_of_several_steps_sees_the_names_of_each(self) -> None:
        undoing = {"output": "${ [output, item, iteration] }"}
        several = [{"foreach": {"items": [1]}, "compensate": "n2"}, {"repeat": {"max": 2}, "compensate": "n2"}]
        assert told(validate(with_nodes(*several, undoing))) == []
        assert told(validate(with_nodes(several[0], {"compensate": "n2"}, undoing))) == [
            ("unknown_name", "/nodes/2/output")
        ]

    def test_the_undone_node_s_output_is_not_known_to_its_neighbours(self) -> None:
        neighbour = {"type": "emit", "with": {"event": "e", "data": "${ output }"}}
        found = validate(with_nodes({"compensate": "n1"}, {}, neighbour))
        assert told(found) == [("unknown_name", "/nodes/2/with/data")]

    @pytest.mark.parametrize("word", ["compensate", "cancel"])
    def test_what_is_named_stands_in_the_same_scope(self, word: str) -> None:
        group = {"id": "g", "type": "group", "nodes": [{"id": "inner", "type": "set"}]}
        named = "inner" if word == "compensate" else ["inner"]
        found = validate({"id": "x", "nodes": [group, {"id": "a", "type": "set", word: named}]})
        path = "/nodes/1/compensate" if word == "compensate" else "/nodes/1/cancel/0"
        assert told(found) == [("connection_across_scopes", path)]

    def test_while_and_until_exclude_each_other(self) -> None:
        found = validate(with_nodes({"repeat": {"while": "true", "until": "true"}}))
        assert told(found) == [("contradiction", "/nodes/0/repeat")]


def connected(count: int) -> dict[str, Any]:
    nodes = [
        {
            "id": f"n{index}",
            "type": "http",
            "with": {
                "url": "https://example.org",
                "json": {"a": "${ input.a }", "b": f"${{ steps.n{max(index - 1, 0)}.output }}"},
            },
            "retry": {"max_attempts": 5},
            "timeout": "30s",
        }
        for index in range(count)
    ]
    connections = [{"from": f"n{index}", "to": f"n{index + 1}", "when": "input.a > 1"} for index in range(count - 1)]
    return {"id": "large", "nodes": nodes, "connections": connections}


def test_a_thousand_nodes_have_no_problems() -> None:
    assert told(validate(connected(1000))) == []


def test_misspelt_words_by_the_thousand_cost_no_suggestions_by_the_thousand() -> None:
    connections = [{"from": f"m{index}", "to": f"k{index}"} for index in range(15_000)]
    nodes = [{"id": f"n{index}", "type": "set"} for index in range(5_000)]
    for _ in affordable(cpu_s=5):  # meant to cost half a second
        assert not validate({"id": "x", "nodes": nodes, "connections": connections}).valid


GOOD_SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": ["string", "null"], "pattern": "^a+$", "enum": ["a", None], "const": "a", "default": {"$ref": "nothing"}},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"a": {"$anchor": "x"}}, "$ref": "#x"},
    {"properties": {"type": {"$ref": "#/properties/pattern"}, "pattern": {"minimum": 0.5, "multipleOf": 2}}},
    {"properties": {"children": {"items": {"$ref": "#"}}}, "unevaluatedProperties": False},
    {"allOf": [{"if": True, "then": {"required": ["a", "b"]}}], "dependentRequired": {"a": ["b"]}, "maxLength": 2.0},
    {"prefixItems": [True, {"not": {}}], "patternProperties": {"^x": {}}, "x-own": {"type": 5}},
]
BAD_SCHEMAS: list[dict[str, Any]] = [
    {"type": "objct"},
    {"type": []},
    {"type": ["string", "string"]},
    {"properties": {"a": 5}},
    {"properties": []},
    {"minLength": -1},
    {"maxItems": 1.5},
    {"minimum": "1"},
    {"multipleOf": 0},
    {"required": ["a", "a"]},
    {"required": "a"},
    {"allOf": []},
    {"anyOf": {}},
    {"enum": 5},
    {"uniqueItems": 1},
    {"dependentRequired": {"a": "b"}},
    {"$defs": {"a": {"items": [{}]}}},
    {"pattern": 5},
    {"if": "x"},
]


class TestJsonSchemas:
    @pytest.mark.parametrize("schema", GOOD_SCHEMAS + BAD_SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
    def test_a_schema_is_right_exactly_when_the_metaschema_says_so(self, schema: dict[str, Any]) -> None:
        is_right = not list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
        assert (schema_problems(schema) == []) is is_right is (schema in GOOD_SCHEMAS)

    def test_every_keyword_of_the_metaschema_is_known(self) -> None:
        schemas = st.sampled_from(
            [*GOOD_SCHEMAS, *BAD_SCHEMAS, 1, "x", True, None, [], [1], -1, 0.5, ["a"], {"a": ["a"]}]
        )
        keywords = [
            "type",
            "items",
            "allOf",
            "properties",
            "minLength",
            "minimum",
            "multipleOf",
            "required",
            "uniqueItems",
        ]
        keywords += [
            "dependentRequired",
            "enum",
            "title",
            "contains",
            "prefixItems",
            "maxContains",
            "examples",
            "format",
        ]
        meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)

        @given(st.dictionaries(st.sampled_from(keywords), schemas, max_size=2))
        def agrees(schema: dict[str, Any]) -> None:
            assume("$ref" not in json.dumps(schema))
            assert (schema_problems(schema) == []) is meta.is_valid(schema)

        agrees()

    @pytest.mark.parametrize(
        ("schema", "path"),
        [
            ({"$ref": "https://example.org/x"}, "/$ref"),
            ({"properties": {"a": {"$ref": "other.json#/a"}}}, "/properties/a/$ref"),
            ({"$ref": "#/$defs/x"}, "/$ref"),
            ({"$ref": "#nowhere"}, "/$ref"),
            ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
            ({"pattern": "("}, "/pattern"),
            ({"patternProperties": {"[": {}}}, "/patternProperties/["),
            ({"items": {"$id": "https://example.org/x"}}, "/items/$id"),
            ({"$ref": "#"}, ""),
            ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}, ""),
        ],
    )
    def test_a_schema_is_complete_in_itself_and_comes_to_an_end(self, schema: dict[str, Any], path: str) -> None:
        assert [problem[0] for problem in schema_problems(schema)] == [path]

    @pytest.mark.parametrize(
        "pattern",
        [
            r"^\p{L}+\d$",
            r"\u00e4",
            r"\\u00e4",
            "(?i)a",
            r"(?=a)",
            r"(?<!a)b",
            r"(a)\1",
            r"(?P<n>a)(?P=n)",
            "(a+",
            "(?:a?){500}b",
            "(?:a{100}){100}",
            r"(?:\pL{50}){20}",
            "\ud800",
            "x" * 1_024,
            "x" * 1_025,
        ],
    )
    def test_a_pattern_that_a_start_could_not_use_is_refused_at_its_place(self, pattern: str) -> None:
        for schema, value, path in (
            ({"items": {"pattern": pattern}}, ["x"], "/items/pattern"),
            ({"patternProperties": {pattern: {}}}, {"x": 1}, "/patternProperties/" + pattern.replace("/", "~1")),
        ):
            is_usable = "schema_unusable" not in [problem.code for problem in input_checker(schema)(value)]
            assert [problem[0] for problem in schema_problems(schema)] == ([] if is_usable else [path])

    def test_a_schema_with_more_patterns_than_are_taken_is_refused(self) -> None:
        many = {f"p{number}": {"pattern": f"^{number}$"} for number in range(201)}
        (problem,) = schema_problems({"properties": many})
        assert (problem[0], problem[1]) == ("/properties/p200", "the schema has more than 200 different patterns")
        assert schema_problems({"properties": {**many, "p200": {"pattern": "^0$"}}}) == []

    def test_the_definition_s_problem_names_the_pattern_and_the_syntax(self) -> None:
        (problem,) = validate(
            {"id": "x", "input": {"properties": {"a": {"pattern": "(?=a)"}}}, "nodes": [{"id": "a", "type": "set"}]}
        ).problems
        assert (problem.path, problem.severity) == ("/input/properties/a/pattern", "error")
        assert "(?=" in problem.message
        assert "no look-around" in (problem.hint or "")

    def test_a_schema_that_doubles_at_every_level_is_refused(self) -> None:
        definitions: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
        schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, "d30": {}}}
        assert "subschemas" in schema_problems(schema)[0][1]

    def test_templates_in_a_form_are_left_for_run_time(self) -> None:
        assert (
            schema_problems(
                {"type": "${ vars.kind }", "properties": {"a": {"pattern": "${ vars.p }", "default": "${ 1 }"}}}
            )
            == []
        )


SCALARS = st.none() | st.booleans() | st.integers(-5, 5)
WORDS = st.sampled_from(["a", "set", "wait", "http", "decision", "group", "${ 1 }", "${ x }", "1s", "#"])
FIELDS = st.sampled_from(
    [
        "id",
        "type",
        "nodes",
        "connections",
        "with",
        "from",
        "to",
        "when",
        "start",
        "foreach",
        "assign",
        "retry",
        "any",
        "variables",
        "input",
        "as",
        "$ref",
        "form",
        "url",
        "cancel",
        "compensate",
        "items",
        "on",
        "not_on",
        "repeat",
    ]
)
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=40,
)


@given(JSON, JSON)
def test_whatever_the_document_is_validation_answers_and_never_raises(document: Any, nodes: Any) -> None:
    for candidate in (document, {"id": "x", "nodes": nodes, "connections": document}):
        found = validate(candidate)
        assert all(isinstance(problem, Problem) for problem in found.problems)
        assert found.valid is (not any(problem.severity == "error" for problem in found.problems))
