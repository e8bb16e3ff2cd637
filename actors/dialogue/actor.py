"""The actor `dialogue`: a worker of the queue `turn`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.dialogue.ahead import may_go_on
from actors.dialogue.manner import manner
from actors.dialogue.own_voice import OwnVoice
from actors.dialogue.phrases import command_of
from actors.dialogue.silence import Silence
from actors.dialogue.turns import HANDLED, Step, next_step
from actors.dialogue.wake import Woken
from actors.vad.endpoint import Words
from bus.limits import MAX_NAME_CHARS
from bus.messages.jobs import Answered, AnyWork, Heard, Job, LookedBack, Remember, Say
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.messages.speech import SpeechSkipped, SpeechStarted, WakeHeard
from bus.messages.turn import TurnFinished
from bus.messages.voice import VoiceCut, VoiceFinished, VoicePlayed, VoicePlaying, VoiceSay, VoiceStarted
from bus.timings import FIRST_CLAUSE, FIRST_TOKEN, LAST_TOKEN, RETRIED, SPEECH_END, TURN_END, TURN_START, speech_ns

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer
    from bus.jobs import Lease
    from bus.messages.base import Message

LOCAL_MODEL = "local"
WAITING = "waiting-"
"""Before a turn's name, for what is said while its answer is waited for: what ends with a sample, as the names of turns do, still does."""
AFTER_THE_MODEL = 1000
"""Added to the attempt number of words that replace a model's answer: a reader shows only a turn's newest attempt, and the model
has had `jobs.max_attempts`, 100 at most."""


class Dialogue:
    """Decides each turn's next step, and says what needs no model."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError when the configured role does not exist."""
        self._runtime = runtime
        settings = runtime.settings.dialogue
        self._manner = manner(settings, runtime.settings.whisper.language)
        self._words = Words(runtime.settings.whisper.language)
        self._has_voice = runtime.settings.tts.engine != "none"
        self._own_voice = OwnVoice()
        self._hears_itself = runtime.settings.hears_itself
        if self._hears_itself:
            runtime.subscribe("voice.", self._on_voice)
        if self._has_voice and self._manner.texts.waiting:
            runtime.subscribe(ReplyWaiting.topic, self._on_waiting)
        self._woken = Woken(self._manner.follow_up_ms)
        if settings.wake:
            runtime.subscribe(WakeHeard.topic, self._on_wake)
        self._silence = Silence(settings.silence_prompt_s)
        self._silence_due: Timer | None = None
        if settings.silence_prompt_s:
            for topic in (SpeechStarted.topic, SpeechSkipped.topic, TurnFinished.topic):
                runtime.subscribe(topic, self._on_speech)
        runtime.work("turn", self._on_lease)

    def close(self) -> None:
        """Nothing is held."""

    def _on_lease(self, lease: Lease) -> None:
        job = lease.job
        start_ns = self._runtime.clock.monotonic_ns()
        step = next_step(self._manner, job.work, woken=self._is_woken(job, start_ns), echo=self._is_echo(job))
        if lease.ahead and not self._may_go_on(step, job):
            lease.decline()
            return
        number = lease.reply_number + (0 if isinstance(job.work, Heard | LookedBack) else AFTER_THE_MODEL)
        if step.say:
            self._say(step.say, job.turn, job.stream, number)
        elif isinstance(job.work, Answered):
            number = job.work.attempt
        if step.then is None:
            self._runtime.log.warning("turn not remembered", turn=job.turn)
            lease.done()
            return
        marks = self._marks(job, step, start_ns)
        work = self._aloud(step.then, number)
        lease.done([Job(turn=job.turn, stream=job.stream, work=work, revision=job.revision, marks=marks)])

    def _aloud(self, then: AnyWork, attempt: int) -> AnyWork:
        """With a voice, the reply of that number is said before the turn is remembered."""
        if self._has_voice and isinstance(then, Remember) and then.reply.strip():
            return Say(attempt=attempt, then=then)
        return then

    def _may_go_on(self, step: Step, job: Job) -> bool:
        if not isinstance(job.work, Heard | LookedBack):
            return False
        verdict = self._words.by_words(job.work.transcript)
        return may_go_on(step, verdict, preemptive=self._runtime.settings.llm.preemptive)

    def _is_echo(self, job: Job) -> bool:
        """Whether these are our own words: only the microphone hears them, and nobody's command is taken for an echo."""
        work, end_ns = job.work, job.marks.get(SPEECH_END)
        if not self._hears_itself or job.stream != self._runtime.settings.mic.stream or not isinstance(work, Heard) or end_ns is None:
            return False
        if command_of(self._manner.phrases, work.transcript) is not None:
            return False
        return self._own_voice.is_own(work.transcript, *speech_ns(job.marks, work.speech_ms, end_ns))

    def _on_voice(self, message: Message) -> None:
        turn = message.envelope.turn
        match message.body:
            case VoiceStarted(at_ns=at_ns):
                self._own_voice.begins(turn, at_ns)
            case VoicePlaying(since_ns=since_ns):
                self._own_voice.goes_on(turn, since_ns)
            case VoicePlayed(text=text):
                self._own_voice.says(turn, text, message.envelope.mono_ns)
            case VoiceFinished(at_ns=at_ns) | VoiceCut(at_ns=at_ns):
                self._own_voice.ends(turn, at_ns)

    def _on_waiting(self, message: Message) -> None:
        """Who only listens is to know of it too. Not in the middle of an answer: what is said then would come between its words."""
        turn, body = message.envelope.turn, message.body
        if isinstance(body, ReplyWaiting) and not body.begun:
            said = f"{WAITING}{turn}"[:MAX_NAME_CHARS]
            self._runtime.publish(VoiceSay(text=self._manner.texts.waiting), turn=said, stream=message.envelope.stream)

    def _is_woken(self, job: Job, now_ns: int) -> bool:
        """Whether speech is for us whatever its words: a detector of wake words says so, or a user who had it tried again."""
        match job.work:
            case Heard() as heard:
                pass
            case LookedBack(heard=heard):
                pass
            case _:
                return False
        return RETRIED in job.marks or self._woken.is_addressed(job.stream, *speech_ns(job.marks, heard.speech_ms, now_ns))

    def _marks(self, job: Job, step: Step, start_ns: int) -> dict[str, int]:
        """The job's marks and ours. What was marked when the turn was heard stays: a turn comes by here twice, or thrice."""
        now_ns = self._runtime.clock.monotonic_ns()
        marks = {TURN_START: start_ns, TURN_END: now_ns, **job.marks}
        if isinstance(job.work, LookedBack):
            marks[TURN_END] = now_ns
        if step.say:
            marks |= {FIRST_TOKEN: now_ns, FIRST_CLAUSE: now_ns, LAST_TOKEN: now_ns}
        return marks

    def _say(self, text: str, turn: str, stream: str, attempt: int) -> None:
        for body in (
            ReplyStarted(attempt=attempt, model=LOCAL_MODEL),
            ReplyDelta(attempt=attempt, index=0, text=text),
            ReplyFinished(attempt=attempt, text=text, finish_reason="local"),
        ):
            self._runtime.publish(body, turn=turn, stream=stream)

    # -- what is heard beside the turns -----------------------------------------------------------------------------

    def _on_wake(self, message: Message) -> None:
        # The time at which it came: one that its sender writes into it could leave the window open for ever.
        self._woken.heard(message.envelope.stream, self._runtime.clock.monotonic_ns())

    def _on_speech(self, message: Message) -> None:
        turn, stream, now_ns = message.envelope.turn, message.envelope.stream, self._runtime.clock.monotonic_ns()
        match message.body:
            case SpeechStarted():
                self._silence.began(stream, turn)
            case SpeechSkipped():
                self._silence.ended(stream, turn, now_ns)
            case TurnFinished(record=record):
                self._silence.ended(stream, turn, now_ns, spoke=bool(record.reply))
        self._plan_silence()

    def _plan_silence(self) -> None:
        if self._silence_due is not None:
            self._silence_due.cancel()
        due_ns = self._silence.due_ns
        delay_s = None if due_ns is None else max(0.0, (due_ns - self._runtime.clock.monotonic_ns()) / 1e9)
        self._silence_due = None if delay_s is None else self._runtime.after(delay_s, self._on_silence)

    def _on_silence(self) -> None:
        for stream, turn in self._silence.asked_about(self._runtime.clock.monotonic_ns()):
            if self._manner.texts.silence and len(turn) <= MAX_NAME_CHARS:
                self._ask_about_silence(stream, turn)
        self._plan_silence()

    def _ask_about_silence(self, stream: str, turn: str) -> None:
        text = self._manner.texts.silence
        self._say(text, turn, stream, attempt=1)
        work = Remember(role=self._manner.role, state=HANDLED, transcript="", reply=text, detail="silence")
        self._runtime.submit(Job(turn=turn, stream=stream, work=self._aloud(work, attempt=1)))
