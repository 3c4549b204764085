"""A chat template's thinking options and tags, for each kind of template and for current model families."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmctld.engine.answer.reasoning import TAGS, Tags
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import ChatMessage
from llmctld.engine.prompt.template import ChatTemplate
from llmctld.engine.sandbox.process import TemplateProcess
from transformers.utils import chat_template_utils

from tests.engine.traits import CHANNELS, TRAITS

TALKS = [
    [("user", "Hi there")],
    [("system", "Be brief."), ("user", "Hi")],
    [("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No."), ("user", "Three?")],
]
THEIRS: Any = chat_template_utils.render_jinja_template
KNOWN = {"bos_token": "<s>", "eos_token": "</s>"}
ON, OFF = {"on", "off"}, {"off"}
SOURCES = Path(os.environ.get("LLMCTL_LLAMA_CPP", "/nonexistent")) / "models" / "templates"
"""llama.cpp's own, as they lie in the source distribution of llama-cpp-python under vendor/llama.cpp."""


@pytest.fixture(scope="module")
def scribe() -> Iterator[TemplateProcess]:
    """One process for all templates that are examined in turn."""
    made = TemplateProcess()
    yield made
    made.close()


def check_as_transformers(source: str, scribe: TemplateProcess) -> None:
    """Checks that the text equals that of transformers' own renderer for the same messages."""
    template = ChatTemplate(source, KNOWN, scribe)
    wanted = {"tools": None, "documents": None} | template._given({}) if not template.traits.broken else {}
    for talk in TALKS:
        messages = [ChatMessage(*turn) for turn in talk]
        given = [{"role": message.role, "content": message.content} for message in template.fitted(messages)]
        expected = THEIRS([given], chat_template=source, add_generation_prompt=True, **KNOWN, **wanted)
        assert template.render(messages) == expected[0][0]


@pytest.mark.parametrize("trait", TRAITS)
def test_each_template_trait_renders_as_in_transformers(trait: str, scribe: TemplateProcess) -> None:
    check_as_transformers(TRAITS[trait], scribe)


WORDS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "a switch, and the tag in the prompt": {"on": {"enable_thinking": True}, "off": {"enable_thinking": False}},
    "a switch that closes the tag": {"on": {"thinking": True}, "off": {"thinking": False}},
    "modes by name": {"on": {"thinking_mode": "enabled"}, "off": {"thinking_mode": "disabled"}},
    "an effort that is written down": {
        "on": {}, "low": {"reasoning_effort": "low"}, "medium": {"reasoning_effort": "medium"},
        "high": {"reasoning_effort": "high"},
    },
    "efforts of its own": {
        "on": {"reasoning_effort": "high"}, "off": {"reasoning_effort": "no_think"}, "low": {"reasoning_effort": "low"},
        "high": {"reasoning_effort": "high"},
    },
    "a budget": {
        "on": {"thinking_budget": -1}, "off": {"thinking_budget": 0}, "low": {"thinking_budget": 512},
        "medium": {"thinking_budget": 2048}, "high": {"thinking_budget": 8192},
    },
    "a line of the system message": {"on": {}, "off": {}},
    "a sentence of the system message": {"on": {}, "off": {}},
    "always thinks": {"on": {}},
    "writes thoughts": {"on": {}},
}  # fmt: skip


@pytest.mark.parametrize("trait", WORDS)
def test_thinking_options_of_each_template_trait(trait: str, scribe: TemplateProcess) -> None:
    thinking = ChatTemplate(TRAITS[trait], scribe=scribe).traits.thinking
    assert {word: thinking.input_for(word).variables for word in thinking.words} == WORDS[trait]


def test_unsupported_thinking_option_is_refused_with_the_supported_ones() -> None:
    template = ChatTemplate(TRAITS["efforts of its own"])
    with pytest.raises(Refusal, match=r"'medium'.* it supports on, off, low, high") as refusal:
        template.render([ChatMessage("user", "hi")], "medium")
    assert refusal.value.code == "invalid_request"
    with pytest.raises(Refusal, match="has no thinking option"):
        ChatTemplate(TRAITS["plain"]).render([ChatMessage("user", "hi")], "on")


def test_thinking_option_changes_the_rendered_prompt() -> None:
    hi = [ChatMessage("user", "hi")]
    switch, line = (
        ChatTemplate(TRAITS["a switch that closes the tag"]),
        ChatTemplate(TRAITS["a line of the system message"]),
    )
    assert [switch.render(hi, word)[-8:] for word in ("on", "off", None)] == ["|><think>"[-8:], "</think>", "</think>"]
    assert line.render(hi, "off") == "<|system|><|user|>hi<|assistant|><think></think>"
    more = [ChatMessage("system", "Be brief."), *hi]
    assert line.render(more, "off") == "<|system|>\nBe brief.<|user|>hi<|assistant|><think></think>"
    sentence = ChatTemplate(TRAITS["a sentence of the system message"])
    assert sentence.render(more, "on").startswith("<|system|>detailed thinking on\nBe brief.<|end|>")
    assert sentence.render(more).startswith("<|system|>Be brief.<|end|>")


def test_model_family_is_recognised_by_its_name() -> None:
    template = ChatTemplate(TRAITS["plain"], model="Llama 3.3 Nemotron Super 49B v1")
    assert template.traits.thinking.words == ["on", "off"]
    assert template.render([ChatMessage("user", "hi")], "off").startswith("<|system|>detailed thinking off<|end|>")
    assert ChatTemplate(TRAITS["plain"], model="Llama 3.3").traits.thinking.words == []


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        (TRAITS["plain"], None),
        (TRAITS["writes thoughts"], Tags("<think>", "</think>")),
        (TRAITS["writes thoughts between tags of its own"], Tags("<ponder>", "</ponder>")),
        (TRAITS["words begin every thought"], Tags("I think as follows:", "[BEGIN ANSWER]")),
        (
            CHANNELS,
            Tags(
                "<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>",
                "<|channel|>final<|message|>", "<|end|>",
            ),
        ),
    ],
)  # fmt: skip
def test_thinking_tags_are_detected_from_the_template(source: str, tags: Tags | None, scribe: TemplateProcess) -> None:
    found = ChatTemplate(source, scribe=scribe).traits.tags
    assert found.own == tags
    assert found.all == ((tags, *TAGS) if tags else TAGS)


def opened(template: ChatTemplate, think: str | None = None) -> str:
    found = template.traits.tags.opened(template.render([ChatMessage("user", "hi")], think))
    return found.opening if found else ""


def test_answer_starts_as_reasoning_if_the_prompt_opens_the_tag() -> None:
    assert opened(ChatTemplate(TRAITS["a switch, and the tag in the prompt"])) == "<think>"
    assert opened(ChatTemplate(TRAITS["a switch, and the tag in the prompt"]), "off") == ""
    assert opened(ChatTemplate(TRAITS["words begin every thought"])) == "I think as follows:"
    assert opened(ChatTemplate(TRAITS["plain"])) == ""
    assert opened(ChatTemplate("[BEGIN FINAL RESPONSE] comes behind your thoughts." + TRAITS["plain"])) != ""


# ---- current families -----------------------------------------------------------------------------------------------

EVERY = {"on", "off", "low", "medium", "high"}
FAMILIES: dict[str, tuple[set[str], str, bool]] = {
    "Apertus-8B-Instruct": ({"on", "off"}, "<|inner_prefix|>", False),
    "Apriel-1.6-15b-Thinker-fixed": ({"on"}, "Here are my reasoning steps:", True),
    "ByteDance-Seed-OSS": (EVERY, "<seed:think>", False),
    "Cohere2MoE": ({"on", "off"}, "<|START_THINKING|>", True),
    "GLM-4.6": ({"on", "off"}, "<think>", False),
    "Kimi-K2-Thinking": ({"on"}, "", False),
    "Kimi-K3": ({"on", "off", "low", "high"}, "<|open|>think<|sep|>", True),
    "MiniMax-M2": ({"on"}, "<think>", True),
    "MiniMax-M3": ({"on", "off"}, "<mm:think>", False),
    "NVIDIA-Nemotron-Nano-v2": ({"on", "off"}, "", True),
    "Qwen-Qwen2.5-7B-Instruct": (set(), "", False),
    "Qwen-Qwen3-0.6B": ({"on", "off"}, "<think>", False),
    "Qwen3.5-4B": ({"on", "off"}, "<think>", True),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ({"on"}, "", True),
    "deepseek-ai-DeepSeek-V3.1": ({"on", "off"}, "", False),
    "deepseek-ai-DeepSeek-V4-Flash-0731": ({"on", "off", "high"}, "<think>", False),
    "google-gemma-2-2b-it": (set(), "", False),
    "google-gemma-4-31B-it": ({"on", "off"}, "", False),
    "ibm-granite-granite-3.3-2B-Instruct": ({"on", "off"}, "", False),
    "inclusionai-ling-3.0-flash": ({"on", "off"}, "<think>", True),
    "meta-llama-Llama-3.3-70B-Instruct": (set(), "", False),
    "mistralai-Ministral-3-14B-Reasoning-2512": ({"on"}, "[THINK]", False),
    "muse-glimmer": ({"on", "low", "medium", "high"}, "to=self<|message|>", False),
    "openai-gpt-oss-120b": ({"on", "low", "medium", "high"}, "<|channel|>analysis<|message|>", False),
    "tencent-Hy3": ({"on", "off", "low", "high"}, "<think:opensource>", False),
    "unsloth-Apriel-1.5": ({"on"}, "", True),
    "upstage-Solar-Open-100B": ({"on", "off", "low"}, "<|think|>", False),
}
"""Name -> the options it supports, how a thought begins by its template, and whether an answer begins in one by default."""


@pytest.mark.skipif(not SOURCES.is_dir(), reason="LLMCTL_LLAMA_CPP names no folder of llama.cpp's sources")
def test_llama_cpps_templates_render_as_in_transformers(scribe: TemplateProcess) -> None:
    files = sorted(SOURCES.glob("*.jinja"))
    assert len(files) > 60
    for file in files:
        check_as_transformers(file.read_text(encoding="utf-8"), scribe)


@pytest.mark.skipif(not SOURCES.is_dir(), reason="LLMCTL_LLAMA_CPP names no folder of llama.cpp's sources")
@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_options_and_tags_of_model_families(family: str, scribe: TemplateProcess) -> None:
    words, opening, begins = FAMILIES[family]
    file = SOURCES / f"{family}.jinja"
    if not file.is_file():
        pytest.skip(f"these sources have no {file.name}")
    template = ChatTemplate(file.read_text(encoding="utf-8"), KNOWN, scribe)
    traits = template.traits
    assert set(traits.thinking.words) == words
    assert (traits.tags.own.opening if traits.tags.own else "") == opening
    assert bool(opened(template)) == begins
    if "on" in words and "off" in words:
        assert not opened(template, "off")
