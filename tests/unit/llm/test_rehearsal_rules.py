from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rehearsal_llm import numbers, rules

NOON = datetime(2026, 11, 21, 12, 5)
Messages = list[dict[str, str]]


def talk(*texts: str, role: str = "") -> Messages:
    """A conversation in which the user begins."""
    system = [{"role": "system", "content": role}] if role else []
    return system + [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


def answer(*texts: str, role: str = "") -> str:
    return rules.answer(talk(*texts, role=role), NOON)


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("What is seven plus five?", "Seven plus five is twelve."),
        ("how much is twenty-one times 3", "Twenty one times three is sixty three."),
        ("Twelve minus twenty.", "Twelve minus twenty is minus eight."),
        ("Can you add two and five?", "Two plus five is seven."),
        ("nine divided by three", "Nine divided by three is three."),
        ("one hundred and five plus 1", "One hundred and five plus one is one hundred and six."),
        ("What is ten divided by three?", "That does not come out even, and I only know whole numbers."),
        ("What is ten divided by zero?", "That does not come out even, and I only know whole numbers."),
        ("What is two five plus one?", "I did not understand these numbers."),
    ],
)
def test_it_calculates_with_spoken_numbers(question: str, reply: str) -> None:
    assert answer(question) == reply


def test_it_knows_a_name_that_was_told_earlier_in_the_conversation() -> None:
    assert answer("Hello, my name is Anna.", "Nice to meet you, Anna.", "What is my name?") == "Your name is Anna."


def test_it_does_not_know_a_name_that_the_conversation_no_longer_holds() -> None:
    assert answer("What is my name?") == "You have not told me your name yet."


def test_the_name_told_last_is_the_one_that_counts() -> None:
    assert answer("My name is Anna.", "Hi.", "I am John.", "Hi.", "Do you know my name?") == "Your name is John."


@pytest.mark.parametrize("text", ["I am from London.", "Call me tomorrow.", "I am coming on Monday.", "i am fine"])
def test_not_every_i_am_is_a_name(text: str) -> None:
    assert answer(text, "I see.", "What is my name?") == "You have not told me your name yet."


def test_it_tells_another_joke_each_time_and_begins_again_at_the_end() -> None:
    conversation: list[str] = []
    for _ in range(len(rules.JOKES)):
        conversation.append("Tell me a joke.")
        conversation.append(answer(*conversation))
    assert conversation[1::2] == list(rules.JOKES)
    assert answer(*conversation, "Another joke please.") in rules.JOKES


def test_it_tells_the_time_and_the_day() -> None:
    assert answer("What time is it?") == "It is 12:05 in the afternoon."
    assert answer("What day is it tomorrow?") == "Tomorrow is Sunday, November 22."


@pytest.mark.parametrize(
    "question", ["Turn on the kitchen light.", "turn the kitchen light on please", "Could you switch on the kitchen light?"]
)
def test_it_says_what_it_would_switch_and_that_it_does_not(question: str) -> None:
    assert answer(question) == "This is a rehearsal, but in a real home I would turn on the kitchen light now."


def test_it_does_not_pretend_to_set_a_timer() -> None:
    reply = answer("Set a timer for ten minutes please.")
    assert reply == "This is a rehearsal and nothing will ring, but I heard a timer for ten minutes."


def test_what_it_does_not_know_it_answers_with_what_it_can_do() -> None:
    assert rules.ABILITIES in answer("Explain the theory of relativity.")


def test_it_greets_in_its_role() -> None:
    assert answer("Hello.", role="You are a fitness coach.") == "Hello! I am your fitness coach. How can I help you?"


def test_a_folded_role_is_seen_and_is_not_taken_for_what_the_user_said() -> None:
    folded = talk("You are a tour guide. Tell a joke sometimes.\n\nHello.", "Hello!", "Who are you?")
    assert rules.answer(folded[:1], NOON) == "Hello! I am your tour guide. How can I help you?"
    assert "tour guide" in rules.answer(folded, NOON)


@given(st.text(max_size=80))
def test_it_answers_anything_with_something(text: str) -> None:
    assert rules.answer(talk(text), NOON).strip()


@given(st.integers(min_value=0, max_value=numbers.MAX_SPOKEN))
def test_a_number_that_is_said_is_understood_as_itself(value: int) -> None:
    assert numbers.parse(numbers.spoken(value)) == value


@pytest.mark.parametrize("words", ["two five", "twenty ten", "hundred", "five hundred thousand hundred", "lamp", ""])
def test_words_that_make_no_number_are_none(words: str) -> None:
    assert numbers.parse(words) is None


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("Send a message to Peter.", "This is a rehearsal, so I cannot send a message to peter."),
        ("Remind me to call John tomorrow.", "This is a rehearsal, so I cannot remind you to call john tomorrow."),
        ("Is my package coming?", "This is a rehearsal, so I cannot see where your package is."),
    ],
)
def test_it_says_what_it_cannot_do_instead_of_listing_what_it_can(request_: str, reply: str) -> None:
    assert answer(request_) == reply
