import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors.llm.prompt import Message, build_messages, estimate_tokens, fold_system

ROLE = "You are a tour guide."
texts = st.text(alphabet="abc \n", max_size=6)
conversations = st.lists(
    st.builds(lambda role, content: Message(role=role, content=content), st.sampled_from(["system", "user", "assistant"]), texts),
    max_size=8,
)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


def test_the_role_comes_first_then_the_rounds_then_what_was_said_now() -> None:
    assert build_messages(ROLE, [("Hello.", "Hi!")], "Where am I?") == [
        Message(role="system", content=ROLE),
        user("Hello."),
        assistant("Hi!"),
        user("Where am I?"),
    ]


def test_without_a_role_there_is_no_system_message() -> None:
    assert build_messages("", [], "Hello.") == [user("Hello.")]


def test_a_round_without_an_answer_becomes_one_user_message_with_the_next() -> None:
    assert build_messages("", [("One.", "")], "Two.") == [user("One.\n\nTwo.")]


def test_the_messages_of_a_turn_begin_with_those_of_the_turn_before() -> None:
    before = build_messages(ROLE, [("One.", "First."), ("Two.", "")], "Three.")
    after = build_messages(ROLE, [("One.", "First."), ("Two.", ""), ("Three.", "Third.")], "Four.")
    assert after[: len(before)] == before


def test_folding_puts_the_role_at_the_head_of_the_first_user_message() -> None:
    messages = build_messages(ROLE, [], "Where am I?")
    assert fold_system(messages) == [user(f"{ROLE}\n\nWhere am I?")]


def test_folding_keeps_the_role_in_later_turns() -> None:
    messages = build_messages(ROLE, [("Hello.", "Hi!"), ("What is that?", "A tower.")], "How old is it?")
    folded = fold_system(messages)
    assert folded[0] == user(f"{ROLE}\n\nHello.")
    assert folded[1:] == messages[2:]


def test_folding_puts_a_user_message_before_an_assistant_that_speaks_first() -> None:
    messages = build_messages(ROLE, [("", "Welcome!")], "Thanks.")
    assert fold_system(messages) == [user(ROLE), assistant("Welcome!"), user("Thanks.")]


@given(conversations)
def test_folded_messages_alternate_and_hold_no_system_role(messages: list[Message]) -> None:
    roles = [message["role"] for message in fold_system(messages)]
    assert "system" not in roles
    assert all(first != second for first, second in itertools.pairwise(roles))


@given(conversations.filter(lambda messages: any(m["role"] == "system" and m["content"].strip() for m in messages)))
def test_folded_messages_with_a_role_begin_with_the_user(messages: list[Message]) -> None:
    assert fold_system(messages)[0]["role"] == "user"


@given(conversations)
def test_folding_twice_is_folding_once(messages: list[Message]) -> None:
    assert fold_system(fold_system(messages)) == fold_system(messages)


def test_the_estimate_is_four_per_message_and_one_for_three_bytes() -> None:
    assert estimate_tokens([Message(role="user", content="abcd"), Message(role="assistant", content="ü")]) == 4 + 2 + 4 + 1
