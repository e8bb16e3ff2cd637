from hypothesis import given
from hypothesis import strategies as st

from actors.llm.prompt import Message, build_messages, fold_system
from actors.llm.warm import KEPT_S, MAX_STREAMS, Warmth

SYSTEM = "You are kind."
SECOND_NS = 1_000_000_000
texts = st.text(alphabet="abc ", max_size=5)


def read(*contents: str) -> list[Message]:
    roles = ["system", *["user", "assistant"] * len(contents)]
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=False)]


def test_before_the_first_answer_the_server_reads_the_role() -> None:
    assert Warmth(SYSTEM).to_read("mic", "t1", 0) == read(SYSTEM, ".")


def test_an_utterance_is_warmed_for_once() -> None:
    warmth = Warmth(SYSTEM)
    warmth.to_read("mic", "t1", 0)
    assert warmth.to_read("mic", "t1", 0) == []
    assert warmth.to_read("mic", "t2", 0) != []


def test_what_the_last_answer_has_left_in_the_cache_is_not_sent_again_until_it_is_old() -> None:
    warmth = Warmth(SYSTEM)
    warmth.answered("mic", SYSTEM, [("Hello.", "Hi!")], SECOND_NS)
    assert warmth.to_read("mic", "t2", 2 * SECOND_NS) == []
    late_ns = round((KEPT_S + 1) * SECOND_NS)
    assert warmth.to_read("mic", "t3", late_ns) == read(SYSTEM, "Hello.", "Hi!", ".")
    warmth.has_read("mic", late_ns)
    assert warmth.to_read("mic", "t4", late_ns + 1) == []


def test_it_is_sent_after_another_stream_and_after_the_server_was_away() -> None:
    warmth = Warmth(SYSTEM)
    warmth.answered("mic", SYSTEM, [("Hello.", "Hi!")], 0)
    warmth.answered("door", SYSTEM, [], 0)
    assert warmth.to_read("mic", "t2", 1) == read(SYSTEM, "Hello.", "Hi!", ".")
    warmth.has_read("mic", 2)
    warmth.lost()
    assert warmth.to_read("mic", "t3", 3) == read(SYSTEM, "Hello.", "Hi!", ".")


def test_of_many_streams_the_oldest_is_forgotten() -> None:
    warmth = Warmth(SYSTEM)
    for number in range(MAX_STREAMS + 1):
        warmth.answered(f"s{number}", "Another role.", [], 0)
    assert warmth.to_read("s0", "t1", 1) == read(SYSTEM, ".")
    assert warmth.to_read("s1", "t2", 1) == read("Another role.", ".")


@given(st.lists(st.tuples(texts, texts), max_size=4), texts.filter(str.strip), texts.filter(str.strip))
def test_what_is_read_is_the_next_prompt_up_to_its_last_message(rounds: list[tuple[str, str]], answer: str, question: str) -> None:
    warmth = Warmth(SYSTEM)
    talk = [*rounds, (question, answer)]
    warmth.answered("mic", SYSTEM, talk, 0)
    warmth.lost()
    warm = warmth.to_read("mic", "t", 0)
    after = build_messages(SYSTEM, talk, question)
    assert warm[:-1] == after[:-1]
    assert fold_system(warm)[:-1] == fold_system(after)[:-1]
