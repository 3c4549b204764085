"""Which chat templates accept a system message after other turns: short versions of current families' templates."""

import pytest
from llmctld.engine.prompt.systems import takes_later
from llmctld.engine.prompt.template import ChatTemplate

EACH = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
KINDS = {
    "in its place": (EACH, True),
    "dropped": ("{% for m in messages if m.role != 'system' or loop.first %}[{{ m.content }}]{% endfor %}", False),
    "refused": (
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('no') }}{% endif %}"
        "[{{ m.content }}]{% endfor %}",
        False,
    ),
    "refused without a first": (
        "{% if messages[0].role != 'system' %}{% for m in messages if m.role == 'system' %}{{ raise_exception('no') }}"
        "{% endfor %}{% endif %}" + EACH,
        False,
    ),
    "all at the beginning": (
        "{{ messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | join }}"
        "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}",
        False,
    ),
    "there and at the beginning": (
        "{{ (messages | selectattr('role', 'equalto', 'system') | list)[-1].content }}" + EACH,
        False,
    ),
    "the beginning tells how many there are": ("{{ messages | length }}" + EACH, False),
    "none at all": ("{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}" + EACH, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_which_templates_accept_a_later_system_message(kind: str) -> None:
    source, taken = KINDS[kind]
    assert takes_later(ChatTemplate(source).render) is taken
