"""A real file in the real library: batched answers equal single ones, and errors name broken files."""

import random
from pathlib import Path

import pytest
from llmctld.engine.errors import LoadError
from llmctld.engine.llama.model import Gguf

from tests.engine.driver import Driver, llama
from tests.tiny_gguf import BOS, write

PROMPTS = [
    "hi",
    "why is the sky blue?",
    "Grüße, 世界 🎉",
    "x" * 150,
    "count: " + "1, 2, " * 30,
    "a",
    "end.",
    "tell me more",
]


@pytest.fixture(scope="module")
def alone(base: Gguf) -> list[str]:
    """The slow reference: each prompt by itself."""
    return [Driver(base).ask(prompt, max_tokens=32).text for prompt in PROMPTS]


def test_batched_answers_equal_single_answers(base: Gguf, alone: list[str]) -> None:
    assert len(set(alone)) == len(PROMPTS)
    driver = Driver(base)
    order = random.Random(1)
    ids = []
    for prompt in PROMPTS:
        ids.append(driver.submit(prompt, max_tokens=32))
        driver.step(order.randrange(12))
    driver.run()
    assert [driver.replies[id].text for id in ids] == alone


def test_the_library_logs_nothing_while_it_generates(base: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line would be a call from the library into Python, as expensive as sampling the token."""
    heard: list[str] = []
    monkeypatch.setattr(base._log, "_keep", heard.append)
    driver = Driver(base)
    driver.submit("a", max_tokens=24)
    driver.step(4)
    heard.clear()
    driver.step(16)
    assert heard == []
    driver.run()


def test_prompts_in_small_chunks_give_the_same_answers(base: Gguf, alone: list[str]) -> None:
    driver = Driver(base, batch=7)
    ids = [driver.submit(prompt, max_tokens=32) for prompt in PROMPTS]
    driver.run()
    assert [driver.replies[id].text for id in ids] == alone


def test_sequence_moved_into_a_free_stream_gives_the_same_answer(
    base: Gguf, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[tuple[int, int]] = []
    copy = base.copy

    def spy(source: int, target: int) -> None:
        moves.append((source, target))
        copy(source, target)

    monkeypatch.setattr(base, "copy", spy)
    driver = Driver(base)
    ids = [driver.submit(prompt, max_tokens=32) for prompt in PROMPTS[:4]]
    driver.step(6)
    driver.drop(ids[1])
    driver.step(3)
    driver.drop(ids[0])
    late = driver.submit(PROMPTS[4], max_tokens=32)
    driver.step(3)
    driver.drop(ids[3])
    driver.run()
    assert moves
    assert [driver.replies[id].text for id in (ids[2], late)] == [alone[2], alone[4]]


def test_cancelled_requests_do_not_affect_later_answers(base: Gguf, alone: list[str]) -> None:
    driver = Driver(base, batch=16)
    for prompt in PROMPTS[3:7]:
        id = driver.submit(prompt)
        driver.step(2)
        driver.drop(id)
    driver.run()
    assert driver.ask(PROMPTS[1], max_tokens=32).text == alone[1]


def test_quantised_kv_cache_works(files: Path) -> None:
    model = Gguf(llama(files / "base.gguf", kv_type="q8_0", slots=2))
    assert Driver(model).ask("hello", max_tokens=8, ignore_eos=True).done.completion_tokens == 8


def test_too_long_prompt_is_refused_with_its_tokens_and_the_context(base: Gguf) -> None:
    prompt = "x" * 600
    refusal = Driver(base).ask(prompt).refusal
    assert refusal.code == "context_overflow"
    assert "602 tokens" in refusal.message  # with the BOS token and SentencePiece's leading space
    assert "context is 512" in refusal.message


def test_max_tokens_is_clipped_to_the_context(base: Gguf) -> None:
    done = Driver(base).ask("x" * 500, max_tokens=10_000, ignore_eos=True).done
    assert (done.reason, done.prompt_tokens + done.completion_tokens) == ("length", 512)


def test_bos_token_is_added_once(base: Gguf, chat: Gguf) -> None:
    vocabulary = base._vocabulary
    assert vocabulary.encode("hi")[0] == BOS
    assert vocabulary.encode("<s>hi").count(BOS) == 1
    assert vocabulary.tokenise("hi")[0] != BOS
    assert Driver(chat).ask("<s>hi", raw=True).done.prompt_tokens == len(vocabulary.encode("<s>hi"))


def test_base_model_and_raw_requests_read_the_text_without_a_template(base: Gguf, chat: Gguf) -> None:
    assert (base.loaded.base, chat.loaded.base) == (True, False)
    asked = [("system", "be brief"), ("user", "hi")]
    as_text = Driver(base).ask("be brief\n\nhi", max_tokens=20)
    assert Driver(base).ask(asked, max_tokens=20).text == as_text.text
    assert Driver(chat).ask(asked, raw=True, max_tokens=20).text == as_text.text
    assert Driver(chat).ask(asked, max_tokens=20).text != as_text.text


def test_chat_answer_equals_the_answer_to_the_rendered_template(base: Gguf, chat: Gguf) -> None:
    by_hand = Driver(base).ask("<|user|>hi</s><|assistant|>", raw=True, max_tokens=20)
    assert Driver(chat).ask("hi", max_tokens=20).text == by_hand.text


def test_token_ids_are_used_as_given(base: Gguf) -> None:
    tokens = base._vocabulary.encode("why?")
    assert Driver(base).ask([], tokens=tokens, max_tokens=20).text == Driver(base).ask("why?", max_tokens=20).text


@pytest.mark.parametrize(("tokens", "words"), [([1, 99_999], "token 99999"), ([-1], "token -1"), ([], "empty")])
def test_token_ids_outside_the_vocabulary_are_refused(base: Gguf, tokens: list[int], words: str) -> None:
    refusal = Driver(base).ask([], tokens=tokens).refusal
    assert refusal.code == "invalid_request"
    assert words in refusal.message


def test_tokens_decode_to_the_original_text(base: Gguf) -> None:
    text = "Grüße, 世界 🎉\n\tend\0."
    tokens = base._vocabulary.tokenise(text)
    assert b"".join(base.piece(token) for token in tokens).decode() == " " + text


def test_thinking_in_control_tokens_is_separated_from_the_answer(chat: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    said = chat._vocabulary.tokenise("<think>plan</think>answer<|user|></s>")

    def scripted(chunks: list[object]) -> list[list[int]]:
        return [[said.pop(0)] for _ in chunks]

    monkeypatch.setattr(chat, "decode", scripted)
    reply = Driver(chat).ask("hi", max_tokens=99)
    assert (reply.text, reply.reasoning) == ("answer", "plan")


def test_slots_and_then_context_shrink_to_the_memory_limit(files: Path) -> None:
    full = Gguf(llama(files / "base.gguf", context=4096, slots=8)).loaded
    assert (full.slots, full.context) == (8, 4096)
    half = Gguf(llama(files / "base.gguf", context=4096, slots=8, memory_bytes=full.memory_bytes // 2)).loaded
    assert 1 <= half.slots < 8
    assert half.context == 4096
    assert half.memory_bytes <= full.memory_bytes // 2
    assert f"slots 8 -> {half.slots}" in half.notices[0]


def test_a_context_far_beyond_the_memory_shrinks_to_what_fits(files: Path) -> None:
    loaded = Gguf(llama(files / "base.gguf", context=1_000_000, memory_bytes=16 * 2**20)).loaded
    assert loaded.slots == 1
    assert 512 <= loaded.context < 1_000_000
    assert loaded.memory_bytes <= 16 * 2**20
    assert f"context 1000000 -> {loaded.context}" in loaded.notices[0]


def test_context_above_the_files_own_is_accepted_with_a_notice(files: Path) -> None:
    loaded = Gguf(llama(files / "base.gguf", context=1000, slots=1)).loaded
    assert loaded.context == 1000
    assert any("1000 is more than the 512" in notice for notice in loaded.notices)


def test_the_default_context_is_the_files_own_up_to_a_cap(base: Gguf, tmp_path: Path) -> None:
    assert (base.loaded.context, base.loaded.notices) == (512, [])
    write(tmp_path / "long.gguf", context=100_000)
    assert Gguf(llama(tmp_path / "long.gguf", slots=1)).loaded.context == 8192


def test_model_that_does_not_fit_is_refused_with_needed_and_allowed_memory(files: Path) -> None:
    with pytest.raises(LoadError, match=r"base does not fit in memory: .* MiB.* MiB"):
        Gguf(llama(files / "base.gguf", memory_bytes=100_000))
    with pytest.raises(LoadError, match=r"needs .* MiB .* may use only 0\.5 MiB"):
        Gguf(llama(files / "base.gguf", memory_bytes=2**19))


def test_truncated_file_is_named_in_the_error(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (files / "base.gguf").read_bytes()
    broken = tmp_path / "cut.gguf"
    for length in (8, 30, 2000, len(whole) // 2, len(whole) - 100):
        broken.write_bytes(whole[:length])
        with pytest.raises(LoadError) as error:
            Gguf(llama(broken))
        assert str(broken) in error.value.message
        assert any(word in error.value.message for word in ("failed to read", "not within the file bounds"))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not a model", b"GGUF" + bytes(range(256)) * 8, b"GGUF\x03\0\0\0" + b"\xff" * 999]
)
def test_file_that_is_not_gguf_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=r"noise\.gguf"):
        Gguf(llama(path))


def test_missing_file_and_folder_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="No such file"):
        Gguf(llama(tmp_path / "gone.gguf"))
    with pytest.raises(LoadError, match="directory"):
        Gguf(llama(tmp_path))


def test_an_unknown_kv_type_is_refused(files: Path) -> None:
    with pytest.raises(LoadError, match="'q3'"):
        Gguf(llama(files / "base.gguf", kv_type="q3"))
