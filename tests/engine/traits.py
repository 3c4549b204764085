"""Short hand-written chat templates, one for each trait of current families' templates."""

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
THOUGHT = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|end|>{% endfor %}"
    + ASK
)
CHANNELS = (
    "{%- if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif -%}"
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort }}<|end|>"
    "{%- for m in messages %}{% if m.role == 'assistant' %}"
    "{%- if m.thinking is defined %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif -%}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>"
    "{%- else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor -%}"
    "{%- if add_generation_prompt %}<|start|>assistant{% endif -%}"
)

TRAITS = {
    "plain": TURNS + ASK,
    "begins with the model's own token": "{{ bos_token }}" + TURNS + ASK,
    "takes no system message": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS + ASK
    ),
    "passes a system message over": "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}" + ASK,
    "wants a list of tools": "{% for t in tools %}{{ t.name }}{% endfor %}" + TURNS + ASK,
    "tests tools for none": "{% if tools is not none %}no{% endif %}" + TURNS + ASK,
    "wants functions": "{% for f in functions %}{{ f }}{% endfor %}{{ functions | length }}" + TURNS + ASK,
    "wants functions as text, and a date": "{{ 'Functions: ' + functions + ' Today is ' + datetime[:0] }}" + TURNS + ASK,
    "a switch, and the tag in the prompt": (
        TURNS + ASK + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
        "{% else %}<think>\n{% endif %}"
    ),
    "a switch that closes the tag": TURNS + ASK + "{% if thinking | default(false) %}<think>{% else %}</think>{% endif %}",
    "modes by name": (
        TURNS + ASK + "{% if thinking_mode is defined and thinking_mode == 'disabled' %}</mm:think>"
        "{% elif thinking_mode is defined and thinking_mode == 'enabled' %}<mm:think>{% endif %}"
    ),
    "an effort that is written down": CHANNELS,
    "efforts of its own": (
        "{% if effort is not defined %}{% set effort = reasoning_effort | default('no_think') %}{% endif %}"
        "{% if effort not in ['no_think', 'low', 'high'] %}{{ raise_exception('no such effort') }}{% endif %}"
        + TURNS + ASK + "{% if effort == 'no_think' %}<think></think>{% else %}({{ effort }})<think>{% endif %}"
    ),
    "a budget": (
        "{% if thinking_budget is not defined %}{% set thinking_budget = -1 %}{% endif %}"
        "{% if thinking_budget >= 0 %}Think in {{ thinking_budget }} tokens.{% endif %}" + TURNS + ASK
        + "{% if thinking_budget == 0 %}<seed:think></seed:think>{% endif %}"
    ),
    "a line of the system message": (
        "{% set ns = namespace(on=true) %}{% for m in messages %}{% if '/no_think' in m.content %}{% set ns.on = false %}"
        "{% endif %}<|{{ m.role }}|>{{ m.content | replace('/no_think', '') | replace('/think', '') }}{% endfor %}"
        "<|assistant|>{% if ns.on %}<think>\n{% else %}<think></think>{% endif %}"
    ),
    "a sentence of the system message": (
        "{% if messages[0].role != 'system' %}<|system|>detailed thinking off<|end|>{% endif %}" + TURNS + ASK
    ),
    "always thinks": TURNS + ASK + "<think>\n",
    "writes thoughts": THOUGHT,
    "writes thoughts between tags of its own": THOUGHT.replace("<think>", "<ponder>").replace("</think>", "</ponder>"),
    "words begin every thought": (
        "{% for m in messages %}<|{{ m.role }}|>\n"
        "{% if m.reasoning_content %}{{ m.reasoning_content }}\n[BEGIN ANSWER]\n{% endif %}{{ m.content }}"
        "{% endfor %}\n{% if add_generation_prompt %}<|assistant|>\nI think as follows:\n{% endif %}"
    ),
    "generation marks and loop controls": (
        "{% for m in messages %}{% if loop.index > 9 %}{% break %}{% endif %}{{ m.role }}:"
        "{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}"
    ),
}  # fmt: skip
