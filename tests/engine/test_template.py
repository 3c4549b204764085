"""Chat templates: rendered as their authors intended, and refused with the template's own error message."""

import os
import signal
from functools import partial
from queue import SimpleQueue

import pytest
from llmctld.engine.aside import Aside
from llmctld.engine.errors import Refusal
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import ChatMessage
from llmctld.engine.prompt.template import ChatTemplate
from llmctld.engine.sandbox.process import PROCESSES, REST_S, STRIKES, TemplateProcess

from tests.engine.driver import Driver, llama
from tests.tiny_gguf import write

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
    assert ChatTemplate(CHATML).render(SYSTEM) == expected


def test_template_can_use_the_files_token_names() -> None:
    template = ChatTemplate("{{ bos_token }}|{{ eos_token }}", {"bos_token": "<s>", "eos_token": "</s>"})
    assert template.render(HI) == "<s>|</s>"


SILENT = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"


@pytest.mark.parametrize("source", [NO_SYSTEM, SILENT])
def test_system_prompt_moves_into_the_first_message_if_unsupported(source: str) -> None:
    """Also with a template that silently drops it."""
    template = ChatTemplate(source)
    more = [*SYSTEM, ChatMessage("assistant", "hello"), ChatMessage("user", "and?")]
    assert template.render(more) == "[be brief\n\nhi][hello][and?]"
    assert template.render(SYSTEM[:1]) == "[be brief]"
    assert template.render(HI) == "[hi]"
    assert "does not accept a system message" in template.remarks(SYSTEM)[0]
    assert template.remarks(HI) == []


def test_template_that_always_raises_is_refused_with_a_hint_to_raw() -> None:
    with pytest.raises(Refusal, match="never") as refusal:
        ChatTemplate("{{ raise_exception('never') }}").render(SYSTEM)
    assert "--raw" in refusal.value.hint


@pytest.mark.parametrize("source", ["{% for %}", "{{ unclosed", "{% endif %}"])
def test_invalid_template_is_refused_at_rendering(source: str) -> None:
    with pytest.raises(Refusal, match="broken"):
        ChatTemplate(source).render(HI)


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ messages[7].content.upper() }}", "{{ none.x.y }}"])
def test_template_that_raises_an_error_is_refused(source: str) -> None:
    with pytest.raises(Refusal, match="refuses"):
        ChatTemplate(source).render(HI)


def test_template_cannot_leave_the_sandbox() -> None:
    with pytest.raises(Refusal):
        ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}").render(HI)


def test_tojson_does_not_escape_html() -> None:
    asked = [ChatMessage("user", "<é> & 'x'")]
    assert ChatTemplate("{{ messages[0].content | tojson }}").render(asked) == "\"<é> & 'x'\""


def test_loop_controls_generation_blocks_and_strftime_are_supported() -> None:
    source = (
        "{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}"
        "{% generation %}x{% endgeneration %}{{ strftime_now('%Y') | length }}"
    )
    assert ChatTemplate(source).render(HI) == "01x4"


# ---- limits ---------------------------------------------------------------------------------------------------------


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a * b %}{% endfor %}{% endfor %}"
DOUBLING = (
    "{% set n = namespace(x='0123456789') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
)
POWER = "{{ (messages | length + 8) ** (9 ** 9) }}"
LONG = "{{ 'x' * 10 ** 7 }}"
WIDE = "{{ 'x'.ljust(10 ** 11) }}"


@pytest.mark.parametrize(
    ("source", "words"),
    [(POWER, "was stopped"), (DOUBLING, "MiB"), (WIDE, "MiB"), (LONG, "characters")],
)
def test_template_exceeding_time_or_size_limits_is_stopped(source: str, words: str) -> None:
    """Only for the message `now`: the trial rendering at load looks harmless."""
    template = ChatTemplate("{% if messages[0].content == 'now' %}" + source + "{% endif %}{{ messages[0].content }}")
    assert template.render(HI) == "hi"
    with pytest.raises(Refusal, match=words) as refusal:
        template.render([ChatMessage("user", "now")])
    assert refusal.value.code == "invalid_request"
    assert "--raw" in refusal.value.hint
    assert template.render(HI) == "hi", "the next chat is rendered normally"


def test_template_stopped_repeatedly_rests_and_is_tried_again() -> None:
    """The machine may have been busy: nobody should have to load the model again for that."""
    clock = [1000.0]
    template = ChatTemplate(
        "{% if messages[0].content == 'now' %}" + ENDLESS + "{% endif %}{{ messages[0].content }}",
        scribe=TemplateProcess(lambda: clock[0]),
    )
    now = [ChatMessage("user", "now")]
    assert template.render(HI) == "hi"
    for _ in range(STRIKES):
        with pytest.raises(Refusal, match="was stopped"):
            template.render(now)
    clock[0] += REST_S - 61
    with pytest.raises(
        Refusal, match="3 times in a row; it is tried again in 2 minutes, or when the model is reloaded"
    ):
        template.render(HI)
    clock[0] += 61
    with pytest.raises(Refusal, match="was stopped"):
        template.render(now)
    with pytest.raises(Refusal, match="it is tried again in 10 minutes"):
        template.render(HI)
    clock[0] += REST_S
    assert template.render(HI) == "hi"


def test_endless_template_gets_one_strike_until_it_has_rested() -> None:
    clock = [1000.0]
    template = ChatTemplate(ENDLESS, scribe=TemplateProcess(lambda: clock[0]))
    for _ in range(5):
        with pytest.raises(Refusal, match="was stopped"):
            template.render(HI)
    assert template._scribe.strikes == 1
    clock[0] += REST_S
    for _ in range(5):
        with pytest.raises(Refusal, match="was stopped"):
            template.render(HI)
    assert template._scribe.strikes == 2


LOOPS = "{% if messages[0].content == 'loop' %}" + ENDLESS + "{% endif %}{{ messages[0].content }}"


class Rendering:
    """The rendering of one message in an Aside."""

    def __init__(self, template: ChatTemplate, text: str) -> None:
        self._ready: SimpleQueue[None] = SimpleQueue()
        self.aside = Aside(partial(template.render, [ChatMessage("user", text)]), lambda: self._ready.put(None))
        self.ended = self.aside.resume()

    def result(self) -> str:
        while not self.ended:
            self._ready.get()
            self.ended = self.aside.resume()
        return self.aside.result()


def test_renderings_beside_an_endless_one_end_first() -> None:
    template = ChatTemplate(LOOPS)
    assert template.render(HI) == "hi"
    endless = [Rendering(template, "loop") for _ in range(PROCESSES - 1)]
    assert [Rendering(template, text).result() for text in ("hi", "you")] == ["hi", "you"]
    assert not any(one.ended for one in endless), "it is not waited for"
    more = [Rendering(template, "hi") for _ in range(3)]
    assert [one.result() for one in more] == ["hi"] * 3
    for one in endless:
        with pytest.raises(Refusal, match="was stopped"):
            one.result()


def test_rendering_waits_for_a_process_if_all_are_busy() -> None:
    template = ChatTemplate(LOOPS)
    assert template.render(HI) == "hi"
    endless = [Rendering(template, "loop") for _ in range(PROCESSES)]
    waits = Rendering(template, "hi")
    assert not waits.ended
    for one in endless[:1]:
        with pytest.raises(Refusal, match="was stopped"):
            one.result()
    assert waits.result() == "hi"


# ---- in an engine ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    write(path := tmp_path_factory.mktemp("looping") / "m.gguf", chat_template=LOOPS)
    return Gguf(llama(path))


def test_other_requests_are_answered_while_a_template_loops(looping: Gguf) -> None:
    driver = Driver(looping)
    assert driver.ask("why?").done.completion_tokens
    assert looping._template is not None
    (child,) = looping._template._scribe._free
    os.kill(child._process.pid, signal.SIGSTOP)  # so that its limit comes when the others have ended
    try:
        endless = driver.submit("loop")
        others = [driver.submit("why?", raw=raw) for raw in (True, False)]
        while not all(driver.replies[id].ends for id in others):
            driver.step()
        assert driver.replies[endless].ends == 0
        assert driver.steps[-1].waiting == 1, "it is counted"
    finally:
        os.kill(child._process.pid, signal.SIGCONT)
    driver.run()
    assert "was stopped" in driver.replies[endless].refusal.message


def test_cancelled_request_ends_at_once_while_its_template_loops(looping: Gguf) -> None:
    driver = Driver(looping)
    endless = driver.submit("loop")
    driver.step()
    driver.drop(endless)
    driver.step()
    assert driver.replies[endless].done.reason == "cancelled"
    assert driver.loop.idle
    assert driver.ask("why?").done.completion_tokens
