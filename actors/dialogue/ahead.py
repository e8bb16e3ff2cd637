"""What the turn manager does before it is known that the speaker has finished. Pure.

A turn that is done ahead of time (`bus/ahead.py`) may yet go on. So only what looks into memory or asks the model is passed on, for of
that nothing is seen or heard outside before it is wanted; and not behind words after which more must come ("turn on the"), or the
model would be asked in every pause for breath. Everything else waits: what is said aloud, remembered or ignored.

Words of which one cannot tell are the ones that matter. Behind a sentence that is plainly over the segmenter ends the turn as soon as it
has read it; where it is unsure it waits out the silence limit, and that wait is what the model can use.
"""

from __future__ import annotations

from actors.dialogue.turns import Step
from actors.vad.endpoint import Verdict
from bus.messages.jobs import LookBack, Recall


def may_go_on(step: Step, verdict: Verdict, *, preemptive: bool) -> bool:
    """Whether this step may be taken ahead of time. `verdict` is of the words that were heard, `preemptive` as `llm.preemptive`."""
    return preemptive and verdict is not Verdict.UNFINISHED and not step.say and isinstance(step.then, LookBack | Recall)
