"""Manners and turns that the tests of the turn manager share."""

from __future__ import annotations

from actors.dialogue.manner import Manner
from actors.dialogue.turns import Step
from bus.messages.jobs import Recall, Remember
from bus.messages.turn import LastTurn
from bus.texts import Texts

TEXTS = Texts(
    reprompt="Pardon?",
    confirm="Was it {words}?",
    dropped="Fine.",
    acknowledge="Yes?",
    nothing_said="Not a word yet.",
    no_model="No model!",
    apology="Sorry!",
)
GUIDE = Manner(role="guide", system="You show people around.", max_tokens=384, texts=TEXTS)
SPARK = GUIDE._replace(wake=("hey spark",))
WHERE = Recall(transcript="where am I", role="guide", system="You show people around.", max_tokens=64)
DOUBTED = LastTurn(state="confirming", transcript="where am I", spoke=True, quiet_ms=3000)


def remembered(step: Step) -> Remember:
    assert isinstance(step.then, Remember)
    return step.then
