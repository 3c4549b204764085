"""Chat templates: rendered as the model's makers meant them, and refused in their own words."""

import pytest
from llmctld.engine.backend import Refusal
from llmctld.engine.messages import ChatMessage
from llmctld.engine.template import Template

CHATML = """{% for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' -}}
{% endfor %}
{% if add_generation_prompt %}
{{- '<|im_start|>assistant\n' -}}
{% endif %}"""
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}[{{ m.content }}]{% endfor %}"
)
HI = [ChatMessage("user", "hi")]
SYSTEM = [ChatMessage("system", "be brief"), *HI]


def test_chatml_renders_line_by_line_up_to_the_answer() -> None:
    expected = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert Template(CHATML).render(SYSTEM) == expected


def test_the_files_own_tokens_stand_in_the_template() -> None:
    assert Template("{{ bos_token }}|{{ eos_token }}", "<s>", "</s>").render(HI) == "<s>|</s>"


def test_a_template_without_room_for_a_system_message_says_what_to_do() -> None:
    with pytest.raises(Refusal, match="System role not supported") as refusal:
        Template(NO_SYSTEM, "<s>").render(SYSTEM)
    assert refusal.value.code == "invalid_request"
    assert "into the prompt" in refusal.value.hint
    assert Template(NO_SYSTEM, "<s>").render(HI) == "<s>[hi]"


def test_a_template_that_raises_on_any_message_points_to_raw() -> None:
    with pytest.raises(Refusal, match="never") as refusal:
        Template("{{ raise_exception('never') }}").render(SYSTEM)
    assert "--raw" in refusal.value.hint


@pytest.mark.parametrize("source", ["{% for %}", "{{ unclosed", "{% endif %}"])
def test_a_template_that_cannot_be_read_is_refused_when_asked_with(source: str) -> None:
    with pytest.raises(Refusal, match="broken"):
        Template(source).render(HI)


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ messages[7].content.upper() }}", "{{ none.x.y }}"])
def test_a_template_that_fails_is_refused(source: str) -> None:
    with pytest.raises(Refusal, match="refuses"):
        Template(source).render(HI)


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    with pytest.raises(Refusal):
        Template("{{ messages.__class__.__mro__[1].__subclasses__() }}").render(HI)


def test_tojson_writes_what_models_read_not_what_browsers_do() -> None:
    asked = [ChatMessage("user", "<é> & 'x'")]
    assert Template("{{ messages[0].content | tojson }}").render(asked) == "\"<é> & 'x'\""


def test_loop_controls_generation_marks_and_the_date_are_there() -> None:
    source = (
        "{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}"
        "{% generation %}x{% endgeneration %}{{ strftime_now('%Y') | length }}"
    )
    assert Template(source).render(HI) == "01x4"
