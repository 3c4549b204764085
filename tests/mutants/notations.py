"""The notations of the files that people write: their tokens, odd ones, and good examples that use every key.

It knows nothing of how llmctl reads them.
"""

import re

from tests.mutants.mutate import Notation

WORDS = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\w.+-]+|[\[\]{}:=,]')
NUMBERS = (
    "0",
    "-1",
    "1.5",
    "9" * 400,
    "9" * 5000,
    "-" + "9" * 400,
    "1e999",
    "-1e999",
    "1e-999",
    str(2**63),
    str(2**64),
    "0x" + "f" * 300,
)
TEXTS = (
    '""',
    '"x"',
    '"\\u0000"',
    '"\\ud800"',
    '"~LONG~"',
    '"\\u202e"',
    '"-"',
    '"/dev/zero"',
    '"/proc/self/mem"',
    '"none"',
    '"echo"',
)
BOTH = (*NUMBERS, *TEXTS, "true", "false", "[]", "{}", "[~DEEP~]", '["a", 1]', "x~LONG~", ".", "\x00")

TOML = Notation(
    WORDS,
    (
        *BOTH, "nan", "inf", "-inf", "2026-01-01", "2026-13-45", "07:32:00", "1979-05-27T07:32:00Z", "'''x", '"""',
        "{a = ~DEEP~}",
        "{a = 1}", "[[a]]", "0o777", "1_000", "a.b.c", "'~LONG~'", "[a]\n" "a=1\n", "\n[models.x]\n", "\n[cache]\n", '"90s"',
        '"4G"', '"-1"',
        '"' + "9" * 400 + 'G"', '"' + "9" * 400 + 'd"', '"redis://u:p@h/0"', '"redis://[::1"', '"http://\\u0000"',
    ),
)  # fmt: skip
YAML = Notation(
    re.compile(r"'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|[\w./+-]+|[\[\]{}:,|>-]"),
    (
        *BOTH, "null", "~", ".nan", ".inf", "2026-01-01", "2026-13-45", "2026-01-01T00:00:00+99:99",
        "!!python/object/apply:os.system [id]",
        "!!bool x", '!!int ""', "!!int 1:60:x", "!!timestamp x", "!!binary x", "!!float x", "!!omap x", "!!set [a]",
        "!!pairs [1]", "!!null x",
        "!!str [a]", "!!map x", "!!seq x", "!!merge x", "!x y", "!<tag:x> y", "&a [*a]", "&a {*a : *a}", "*unknown", "&a x",
        "<<: *a", "<<: x",
        "<<: [1]", "{<<: {a: b}}", "? [a]\n: b", "? {a: b}\n: c", "|", ">", "|9", ">-\n", "@", "`", "%YAML 9.9", "--- x", "...",
        "{a: ~DEEP~}",
        "'~LONG~'", "1:60:60:60:60", "190:20:30", "0o7", "0b2", "1_0", "yes", "on", "=", "<<", "- - - - -", "[[*a]]", "\t", "# x",
        "[" + ", ".join(["x"] * 3000) + "]", "&" + "b" * 2000 + " x",
    ),
)  # fmt: skip
JSON = Notation(
    WORDS,
    (
        *BOTH, "null", "NaN", "Infinity", "-Infinity", "-0", "1E400", "01", "+1", ".5", '{"a": ~DEEP~}', '{"": ""}',
        '{"a": 1, "a": 2}',
        '{"a": [{"b": null}]}', "'x'", "//x", "/*", '"\\x"', '"\\ud800\\ud800"', '"\\udc00"',
    ),
)  # fmt: skip
SCHEMA = Notation(
    WORDS,
    (
        *JSON.odd, '"#"', '"#/$defs/none"', '"https://example.com/s.json"', '"(a+)+$"', '"["', '"^' + "a?" * 60 + '$"',
        '"\\\\p{L}{1000}"',
        '{"$ref": "#"}', '{"not": {}}', '{"enum": []}', '{"const": null}', '{"type": "nothing"}',
        '{"type": []}', '{"minLength": 1e9}', '"string"',
        '"object"', '"array"', '"integer"', '"date-time"', "1000000000", "0.1", '{"oneOf": [{}, {}]}', '"(?<a>b)\\\\k<a>"',
        '"(?=a)b"',
    ),
)  # fmt: skip
GBNF = Notation(
    re.compile(r'"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\]|\{[^}\n]*\}|[\w-]+|::=|[(){}|*+?.]'),
    (
        "(~DEEP~)", "[~DEEP~]", "{0,99999999}", "{99999999}", "{5,2}", "{,3}", "{-1}", "{", "{1000}{1000}{1000}", "[^]",
        "[z-a]", "[]", "[-]",
        "[a-", r'"\x"', r'"\uD800"', r'"\U00110000"', r'"\q"', '"', '"~LONG~"', "x~LONG~", "root", "::=", "| | |", "|", "()",
        "(", ")", "*", "**",
        "?*+", ".", "<think>", "<[1000]>", "!<[1]>", "# x", r"\n", "root ::= root", "\nroot ::= root\n", "\na ::= b\nb ::= a\n",
        '""',
        "[\\U00000000-\\U0010FFFF]", "(" + " | ".join(f'"{number}"' for number in range(5000)) + ")", "(a | b" * 70, "\x00",
        "é", "_", "-",
        "9" * 400, "(root)?", "((root)*)*",
    ),
)  # fmt: skip

TEMPLATES = (
    """prompt: "Summarise {stdin} in {language}, {n} lines."
system: You are brief.
params:
  language: English
  n: 3
  strict: true
  ratio: 0.5
  name: null
model: echo
max_tokens: 20
temperature: 0.2
top_p: 0.9
top_k: 40
min_p: 0.05
repeat_penalty: 1.1
presence_penalty: 0.1
frequency_penalty: 0.1
seed: 7
stop: ["x", "END"]
logit_bias: {"12": -1.5}
tag: [a, b]
user: ana
timeout: 90s
keep_alive: 5m
max_age: 2h
priority: high
reasoning: hide
overflow: middle
""",
    """# a comment
prompt: |
  Line one: {topic}

  Line two
params: [topic]
param: {topic: birds}
schema: {type: object, properties: {name: {type: string}}, required: [name], additionalProperties: false}
n: 2
think: off
cache: true
raw: false
semantic: false
explain: true
conversation: talk
""",
    """base: &base {max_tokens: 5, model: echo}
""".replace("base: &base ", "param: &base ")
    + """prompt: >-
  folded
  text {max_tokens}
params: *base
file: [note.txt]
grammar: note.gbnf
continue: false
extract: true
repro: true
logprobs: 2
""",
)

ROWS = (
    '{"prompt": "why?", "model": "echo", "max_tokens": 5, "temperature": 0, "id": "1", "tag": ["a"], "user": "ana"}\n'
    '{"prompt": "how {x}?", "param": {"x": "so"}, "system": "brief", "stop": ["."], "seed": 3, "id": 2}\n'
    '{"prompt": "given", "text": "an answer", "model": "echo", "logit_bias": {"3": -1.0}, "timeout": "9s"}\n'
    '{"prompt": "two", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, "top-k": 3}\n'
    '{"tokens": [1, 2, 3], "model": "echo", "n": 1, "keep_alive": "5m", "priority": "high", "file": ["note.txt"]}\n',
    '{"prompt": "one"}\n',
)
TRACE = (
    '{"key": "a", "bytes": 900, "seconds": 2.5, "cost": 0.1, "at": 1700000000.5, "user": "ana", "conversation": "c",'
    ' "template": "t"}\n'
    '{"prompt": "why?", "bytes": 70, "seconds": 1, "cost": 0, "at": 1700000001}\n'
    '{"key": "a", "bytes": 900, "seconds": 2.5, "cost": 0.1, "at": 1700000002}\n',
    '{"key": "b"}\n{"prompt": "b"}\n\n{"key": "b"}\n',
)
SCHEMAS = (
    """{"$defs": {"item": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 9},
 "kind": {"enum": ["a", "b", 3, null, true]}, "next": {"anyOf": [{"$ref": "#/$defs/item"}, {"type": "null"}]}},
 "required": ["name", "kind"], "additionalProperties": false}},
 "type": "object", "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 0, "maxItems": 3},
 "score": {"type": "number", "minimum": 0, "maximum": 10, "exclusiveMinimum": -1, "multipleOf": 0.5},
 "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"}, "when": {"type": "string", "format": "date-time"},
 "fixed": {"const": {"a": [1]}}, "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}},
 "required": ["items", "code"], "additionalProperties": false, "title": "T", "description": "D",
 "$schema": "http://json-schema.org/draft-07/schema#"}
""",
    '{"type": ["object", "null"], "properties": {"a": {"type": "integer", "minimum": -5, "maximum": 5}}, "required": ["a"]}\n',
    '{"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}],'
    ' "additionalProperties": true}\n',
)
GRAMMARS = (
    r"""# a list of names
root  ::= "- " name ("\n- " name){0,4} "\n"?
name  ::= [A-Z] [a-z_'-]{1,8} (space [^\n\x00-\x1F"]+)?
space ::= " " | "\t" # a comment
num   ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]{2,})? | "é" | "\u00e9" [\u4e00-\u9fff]
any   ::= . | num*
""",
    """root ::= object
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}"
value ::= object | array | string | "true" | "null"
array ::= "[" ws ( value ("," ws value)* )? "]"
string ::= "\\"" [^"\\\\]* "\\"" ws
ws ::= | " " | "\\n" [ \\t]{0,20}
""",
)
MODELS = (
    '{"name":"mutant","target":"echo","backend":"echo","kind":"text","aliases":["x","y"],"settings":{"slots":2,"keep_alive":60.0,'
    '"tags":["a"],"price_in":"0.5","token_ms":0.0,"first_ms":1.0,"takes":1000,"temperature":0.5},"added":1700000000.5,"pulled":"","origin":""}\n',
    """{
  "name": "mutant",
  "target": "http://127.0.0.1:9/v1",
  "backend": "remote",
  "settings": {"remote_model": "m", "api_key_env": "KEY", "retries": 0, "idle_s": 1.0}
}
""",
    '{"name":"mutant","target":"/nowhere/x.gguf","backend":"llama.cpp","settings":{"adapters":{"a":"/x.gguf"},"draft":"/d.gguf",'
    '"template":"/t.jinja","template_options":{"a":1},"context":64},"added":1.0,"pulled":"OWNER/NAME","origin":"ollama:x"}\n',
)


def settings_file() -> str:
    """Every setting of the configuration, as the example file lists them."""
    from llmctl import example

    lines = [
        line.removeprefix("# ") if re.match(r"# (\w+ = |\[)", line) else line for line in example.text().splitlines()
    ]
    return "\n".join(line for line in lines if not line.startswith("search")) + "\n"
