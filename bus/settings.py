"""The shape of the whole configuration, one frozen struct per table of the TOML files.

The launcher merges and checks the files (`supervisor/settings.py`) and leaves the result in the runtime directory; an
actor reads that with `load_resolved` and uses its own section. Nothing else reads configuration. It stands in `bus`
because `supervisor` and `actors` both need it and may not import each other.

The defaults here are the real thing: your microphone, `medium.en`, vLLM on this machine. `config/default.toml` says the
same values with their comments; a test keeps the two alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from bus.errors import SetupError
from bus.texts import Phrases, Texts

Percent = Annotated[float, Meta(ge=0.0, le=1.0)]
StreamName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,15}$", description="1 to 16 of a-z, 0-9, '-' and '_', no '-' or '_' first")]
LlmUrl = Annotated[str, Meta(pattern="^(https?://[^ ]+|rehearsal)$", description="an http:// or https:// address, or 'rehearsal'")]
Port = Annotated[int, Meta(ge=0, le=65_535)]
ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float16",
    "int8_float32",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]


class Endpointing(NamedTuple):
    """When a stretch of speech counts, and when it is over."""

    minimum_speech_s: float
    """Speech shorter than this is skipped, seconds."""
    silence_limit_s: float
    """Silence that ends an utterance, seconds, when nothing more is known of it."""
    finished_silence_s: float
    """The same when its words are those of a whole sentence."""
    unfinished_silence_s: float
    """The same when more must come."""


PRESETS: Final = {
    "command": Endpointing(0.8, 0.6, 0.15, 1.2),
    "conversation": Endpointing(1.0, 1.0, 0.24, 1.5),
    "long-form": Endpointing(2.0, 2.0, 1.0, 2.5),
    "tutorial": Endpointing(2.0, 1.0, 0.5, 2.0),
}

REHEARSAL_URL: Final = "rehearsal"
"""`llm.url` with this value means: the rehearsal server of this instance, found by its port file."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the configuration. Unknown keys are errors."""


class InstanceSettings(_Table, frozen=True):
    """Where this instance lives. `supervisor.settings.load` fills both in as absolute paths."""

    runtime_dir: str = ""
    """Sockets and the lock. Empty: $EARSHOT_RUNTIME_DIR, else $XDG_RUNTIME_DIR/earshot, else /tmp/earshot-UID."""
    state_dir: str = ""
    """Spool, memory and logs. Empty: $EARSHOT_STATE_DIR, else $XDG_STATE_HOME/earshot, else ~/.local/state/earshot."""


class MicSettings(_Table, frozen=True):
    """The audio source."""

    source: Literal["device", "file", "stdin", "none"] = "device"
    """`none` starts no source; `supervisor hear` still brings its own."""
    stream: StreamName = "mic"
    """Name of the stream in every event and turn."""
    device: str | int = ""
    """Name (any part of it) or index of the input device; empty: the system's default."""
    file: str = ""
    """WAV or FLAC file for source `file`."""
    pace: Literal["real", "fast"] = "real"
    """Whether a file is played in real time or as fast as the segmenter reads."""
    ring_s: Annotated[int, Meta(ge=45, le=3600)] = 60
    """Audio kept for readers that come late, seconds; more than the longest utterance and what the engine hears before it."""


class VadSettings(_Table, frozen=True):
    """Frames to utterances. All times are audio time."""

    engine: Literal["webrtc", "silero"] = "webrtc"
    mode: Annotated[int, Meta(ge=0, le=3)] = 3
    """webrtc: how eagerly non-speech is rejected, 0 to 3."""
    threshold: Percent = 0.5
    """silero: probability from which a frame is speech."""
    preset: Literal["command", "conversation", "long-form", "tutorial", ""] = "command"
    """Gives the next four where they are not set. Empty: the first two must be set, and the others are as in `command`."""
    minimum_speech_s: Annotated[float, Meta(ge=0.0, le=30.0)] | None = None
    """Speech shorter than this is skipped, seconds. None: from the preset."""
    silence_limit_s: Annotated[float, Meta(ge=0.09, le=30.0)] | None = None
    """Silence that ends an utterance, seconds, when nothing more is known of it. None: from the preset."""
    finished_silence_s: Annotated[float, Meta(ge=0.09, le=30.0)] | None = None
    """The same, when the words so far are a whole sentence. None: from the preset, but no longer than `silence_limit_s`."""
    unfinished_silence_s: Annotated[float, Meta(ge=0.09, le=5.0)] | None = None
    """The same, when the words so far want more, or are too few to count. None: from the preset, but no less than `silence_limit_s`."""
    endpoint: Literal["text", "fixed"] = "text"
    """Whether the words, transcribed in the pause, choose among these three; `fixed`: it is always `silence_limit_s`."""
    turn_model: str = ""
    """ONNX file of Smart Turn 3, which judges the sound of the turn, beside the words. Empty: none."""
    pause_ms: Annotated[int, Meta(ge=0, le=1000)] = 90
    """Silence after which the utterance so far is transcribed ahead of time, ms. 0: never, and then `endpoint` has no words to go by."""
    partial_ms: Annotated[int, Meta(ge=0, le=10_000)] = 700
    """While somebody speaks, what he has said so far is transcribed each time this much was added, if a worker is idle then. 0: never."""
    pre_roll_ms: Annotated[int, Meta(ge=0, le=2000)] = 300
    """Audio kept from before the first speech frame."""
    start_ms: Annotated[int, Meta(ge=30, le=150)] = 90
    """Speech needed within 150 ms to open an utterance, so that a click does not."""
    maximum_s: Annotated[float, Meta(ge=7.0, le=30.0)] = 30.0
    """Longest utterance; a longer one is ended here. Whisper hears 30 s at a time."""
    stale_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1000
    """A frame that is heard later than this after it was spoken is counted and told of; it is heard all the same."""

    @property
    def endpointing(self) -> Endpointing:
        """The limits as they hold: the field where it is set, else the preset's.

        Raises SetupError when neither is there, which `supervisor check` reports before anything starts.
        """
        preset = PRESETS.get(self.preset)
        minimum = self.minimum_speech_s if self.minimum_speech_s is not None or preset is None else preset[0]
        silence = self.silence_limit_s if self.silence_limit_s is not None or preset is None else preset[1]
        if minimum is None or silence is None:
            raise SetupError("without vad.preset, set both vad.minimum_speech_s and vad.silence_limit_s")
        usual = preset or PRESETS["command"]
        finished, unfinished = self.finished_silence_s, self.unfinished_silence_s
        return Endpointing(
            minimum,
            silence,
            min(usual.finished_silence_s, silence) if finished is None else finished,
            max(usual.unfinished_silence_s, silence) if unfinished is None else unfinished,
        )


class WhisperSettings(_Table, frozen=True):
    """Speech to text."""

    model: Annotated[str, Meta(min_length=1)] = "medium.en"
    """A faster-whisper model by name, or a directory with a CTranslate2 model."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    compute_type: ComputeType = "int8"
    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    """Worker processes. 0: planned from the machine's cores."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """Threads, and so cores, of each worker. 0: planned from the machine's cores."""
    beam_size: Annotated[int, Meta(ge=1, le=20)] = 5
    window: Literal["full", "auto"] = "full"
    """How much the model is given to hear. full: 30 s, padded, as it was trained. auto: what was said and a margin, 10 s at least, and the
    full window where the result is in doubt: several times as quick, and safe with a model that was trained for it."""
    language: str = "en"
    """ISO code; empty: detected anew in every utterance (multilingual models only)."""
    initial_prompt: str = ""
    """Text that sets style and vocabulary, read by the model before each utterance."""
    hotwords: str = ""
    """Names and rare words to listen for, separated by spaces."""
    no_speech_threshold: Percent = 0.6
    """A segment whose no-speech probability is above this, and which is doubtful too, is dropped."""
    log_prob_threshold: Annotated[float, Meta(ge=-20.0, le=0.0)] = -1.0
    """A segment whose mean token log probability is below this is doubtful."""
    compression_ratio_threshold: Annotated[float, Meta(ge=1.0, le=100.0)] = 2.4
    """A segment that compresses better than this is a repetition and is dropped."""
    min_rms_dbfs: Annotated[float, Meta(ge=-120.0, le=0.0)] = -60.0
    """Audio quieter than this at its loudest is not given to the model, dB of full scale."""
    load_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 240.0
    """Longest time that loading the model may take once it is on this machine; then the worker counts as hung."""
    download: bool = True
    """Whether a model that is not on this machine may be fetched. It is the one thing Earshot ever fetches."""


class Role(_Table, frozen=True):
    """One manner of answering."""

    prompt: str
    """The system prompt."""
    max_tokens: Annotated[int, Meta(ge=64, le=512)] = 256
    """Cap of the answer's length in tokens."""


class DialogueSettings(_Table, frozen=True):
    """Turn taking and manner."""

    role: str = "plain"
    """Which of `roles` answers."""
    wake: tuple[str, ...] = ()
    """Phrases of which one must begin what is said to the assistant; anything else is ignored and not kept. None: all is for it."""
    follow_up_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 8.0
    """For so long after the assistant has said something, no wake phrase is needed."""
    silence_prompt_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.0
    """In a conversation, nobody says anything for so long: the assistant asks whether there is anything else. 0: never."""
    roles: dict[str, Role] = msgspec.field(default_factory=dict)
    """The roles by name. The built-in ones stand in `config/default.toml`."""
    texts: dict[str, Texts] = msgspec.field(default_factory=dict)
    """By language, as `whisper.language` names it. What is not there is English."""
    phrases: dict[str, Phrases] = msgspec.field(default_factory=dict)
    """As `texts`."""


class LlmSettings(_Table, frozen=True):
    """The language model's server: anything that speaks the OpenAI chat protocol."""

    url: LlmUrl = "http://localhost:8000/v1"
    """Base address, ending before `/chat/completions`; or `rehearsal`, the rehearsal server of this instance."""
    model: str = "/models/mistral-7b"
    """A name that the server's `/models` lists; empty: the only one that it lists."""
    api_key_env: str = "EARSHOT_LLM_API_KEY"
    """Environment variable with the API key; keys never stand in files. Unset or empty: no key is sent."""
    connect_timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 5.0
    patience_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 3.0
    """Without a word for so long, before the answer or in it, the user is told of the wait."""
    first_token_timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 30.0
    """A server that has taken a request and sends no token for so long is asked once more."""
    answer_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 45.0
    """After so long without success no further request is made for a turn, and none may still be without a token: the user gets
    the apology. The time in which the server cannot be reached does not count: it is waited for."""
    stall_timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 20.0
    """Longest silence between two tokens; then the answer has broken off."""
    total_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 120.0
    """Longest time that one reply may take."""
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.7
    preemptive: bool = True
    """Whether the model is asked in the pause already, before it is certain that the speaker has finished; not where more must come
    ("turn on the"), as far as `vad.endpoint` knows the language. Its answer is held back until then, and void when the speaker goes on."""
    system_role: Literal["auto", "system", "fold"] = "auto"
    """How the role reaches the model: as a system message, folded into the first user message, or as found out."""
    warm: bool = True
    """Whether the server is given the beginning of the next prompt to read when somebody begins to speak and it may not know it."""


class RehearsalLlmSettings(_Table, frozen=True):
    """The rehearsal server: answers by rules, so that everything runs without a model. See `llm.url`."""

    enabled: bool = False
    """Whether the launcher starts it."""
    port: Port = 0
    """TCP port on 127.0.0.1. 0: any free one, so that instances run side by side; it is written to the file
    `rehearsal-llm.port` in the runtime directory, where `llm.url = "rehearsal"` finds it."""
    model: Annotated[str, Meta(min_length=1)] = "rehearsal"
    """The model name it serves."""
    script: str = ""
    """JSON file with a list of {"user", "reply"}: what it answers, each once and in order. Empty: it answers by its rules."""
    first_token_delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 40
    token_delay_ms: Annotated[int, Meta(ge=0, le=60_000)] = 10
    """Delay before each further token."""


class InterruptionSettings(_Table, frozen=True):
    """What it takes to interrupt an answer, with `speaker.duplex = "full"`."""

    min_ms: Annotated[int, Meta(ge=90, le=5000)] = 240
    """Speech for so long, pauses left out, silences the answer; it goes on if that was no utterance."""
    min_words: Annotated[int, Meta(ge=0, le=20)] = 0
    """And so many words of it; they come from partial transcripts, so with 1 or more it takes as long as those do: with a single Whisper
    worker until the first pause."""


class TtsSettings(_Table, frozen=True):
    """The voice: text to sound."""

    engine: Literal["espeak", "piper", "openai", "none"] = "espeak"
    """`none`: answers are shown and not spoken; then there is no `speaker` either."""
    voice: str = ""
    """espeak: a voice's name, such as `en`, `en-us+f3` or `de`. openai: what the server calls it. Empty: the engine's own, of espeak
    that of `whisper.language`."""
    rate_wpm: Annotated[int, Meta(ge=80, le=450)] = 175
    """Words a minute. Piper speaks as its voice does."""
    piper_command: str = ""
    """Reads text on standard input and writes raw int16 mono PCM, as `piper --model VOICE.onnx --output-raw` does."""
    piper_rate_hz: Annotated[int, Meta(ge=0, le=192_000)] = 0
    """Of that PCM. 0: as VOICE.onnx.json says."""
    url: Annotated[str, Meta(pattern="^(https?://[^ ]+)?$", description="an http:// or https:// address, or empty")] = ""
    """openai: base address of a server, ending before `/audio/speech`."""
    model: str = ""
    """openai: the model to ask for."""
    api_key_env: str = "EARSHOT_TTS_API_KEY"
    """openai: environment variable with the API key; unset or empty: no key is sent."""
    timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 10.0
    """Longest wait for the next piece of sound; then the rest of the answer is shown and not spoken."""
    load_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 60.0
    """Longest time that loading the voice may take; then the actor counts as hung."""


class SpeakerSettings(_Table, frozen=True):
    """Where the voice is heard."""

    output: Literal["device", "file", "none"] = "device"
    """`none`: it takes its time and nothing is heard."""
    device: str | int = ""
    """Name (any part of it) or index of the output device; empty: the system's default."""
    file: str = ""
    """WAV file for output `file`. What is there is added to, when it is of the same rate."""
    pace: Literal["real", "fast"] = "real"
    """Whether a file, or nothing, takes as long as the sound does."""
    volume: Percent = 1.0
    duck: Percent = 0.25
    """Share of the volume that is left while somebody else may be about to speak."""
    duplex: Literal["half", "full"] = "half"
    """`half`: the microphone is deaf while the voice sounds, for it would hear it. `full`: one may speak into an answer and interrupt it;
    for a headset, or with echo cancellation."""


class MemorySettings(_Table, frozen=True):
    """What was said, and how much of it the model is told again."""

    rounds: Annotated[int, Meta(ge=0, le=1000)] = 5
    """Rounds (a question and its answer) given as context."""
    max_context_tokens: Annotated[int, Meta(ge=0, le=131_072)] = 2048
    """Tokens of context at most."""
    trim_block: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Old rounds are dropped this many at a time, never fewer than `rounds` being kept, so that the prompt's beginning
    stays the same in between and the server's prefix cache serves it."""
    database: str = ""
    """SQLite file. Empty: `memory.sqlite3` in the state directory."""


class JobsSettings(_Table, frozen=True):
    """The job plane."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """Attempts at a job before it is set aside with an apology."""
    hedge_after_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 5.0
    """A transcription that takes this long and the length of its sound is given to a second worker too, if one is idle. 0: never."""
    resume_max_age_s: Annotated[int, Meta(ge=0, le=31_536_000)] = 300
    """Turns that a new start finds open and that are older than this are not answered any more, but kept as unanswered."""
    synchronous: Literal["normal", "full"] = "normal"
    """SQLite's setting for the spool: `normal` survives kill -9 of any process, `full` a power cut too."""


class NetworkSettings(_Table, frozen=True):
    """Other machines. Without this nothing listens on the network."""

    listen: Annotated[str, Meta(pattern=r"^([^ :]+:[0-9]{1,5})?$", description="HOST:PORT, or empty")] = ""
    """HOST:PORT on which machines with an allowed key reach events and jobs: three tcp ports, this one and the two after it. Empty: no
    way in. See docs/security.md."""


class LauncherSettings(_Table, frozen=True):
    """Starting, watching, stopping."""

    ready_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 300.0
    """Longest time from spawn to ready, loading a model included."""
    stop_timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 2.0
    """Time a child has to end after SIGTERM, before SIGKILL."""
    watchdog_s: Annotated[float, Meta(ge=0.5, le=600.0)] = 2.0
    """Longest time between two beats of a child before it counts as hung."""
    restart_initial_ms: Annotated[int, Meta(ge=0, le=60_000)] = 50
    """Delay of the first restart."""
    restart_max_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 10.0
    """Delay that back-off never passes."""
    restart_budget: Annotated[int, Meta(ge=0, le=1000)] = 5
    """Restarts of one child within the window; one more failure and it stays down as `failed`."""
    restart_window_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 30.0
    keep_crashes: bool = True
    """Whether what there is of a crash (stacks, log, the last seconds of the bus, the job) is kept; see `supervisor crashes`."""
    until: Literal["stopped", "source-ends"] = "stopped"
    """`source-ends`: end, with a table of times, once the source has ended and all its turns are answered."""


class RecorderSettings(_Table, frozen=True):
    """The flight recorder: what passed in the last minutes, to look at afterwards."""

    flight: Literal["off", "no-words", "events", "all"] = "events"
    """What is kept: nothing, events without what was said, events, or the sound too."""
    keep_s: Annotated[float, Meta(ge=10.0, le=604_800.0)] = 600.0
    """How long it is kept."""
    max_mb: Annotated[int, Meta(ge=1, le=100_000)] = 64
    """Its size on disk at most."""


class MetricsSettings(_Table, frozen=True):
    """Figures for a Prometheus on this machine."""

    port: Port = 0
    """TCP port on 127.0.0.1 under which `/metrics` is served. 0: it is not."""


class ConsoleSettings(_Table, frozen=True):
    """The conversation as the foreground `supervisor start` shows it."""

    enabled: bool = True
    show_timings: bool = True
    """Whether the turn's time follows each answer."""


class LogSettings(_Table, frozen=True):
    """Logs. What was said never goes into them."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""


class Settings(_Table, frozen=True):
    """The whole configuration."""

    instance: InstanceSettings = InstanceSettings()
    mic: MicSettings = MicSettings()
    vad: VadSettings = VadSettings()
    whisper: WhisperSettings = WhisperSettings()
    dialogue: DialogueSettings = DialogueSettings()
    llm: LlmSettings = LlmSettings()
    rehearsal_llm: RehearsalLlmSettings = RehearsalLlmSettings()
    interruption: InterruptionSettings = InterruptionSettings()
    tts: TtsSettings = TtsSettings()
    speaker: SpeakerSettings = SpeakerSettings()
    memory: MemorySettings = MemorySettings()
    jobs: JobsSettings = JobsSettings()
    network: NetworkSettings = NetworkSettings()
    launcher: LauncherSettings = LauncherSettings()
    recorder: RecorderSettings = RecorderSettings()
    metrics: MetricsSettings = MetricsSettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()

    @property
    def hears_itself(self) -> bool:
        """Whether the microphone's stream comes from the room in which the voice sounds. A pipe is taken for a microphone."""
        from_room = self.mic.source in ("device", "stdin")
        return self.tts.engine != "none" and self.speaker.output == "device" and from_room


def dump_resolved(settings: Settings) -> bytes:
    """Settings as the JSON that `load_resolved` reads."""
    return msgspec.json.format(msgspec.json.encode(settings), indent=1)


def load_resolved(path: Path | str) -> Settings:
    """Read what the launcher left. Raises SetupError when the file is missing or is not what this version writes."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Settings)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}; it is written by `supervisor start`") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} does not fit this version ({error}); run `supervisor start` anew") from None


def to_builtins(settings: Settings) -> dict[str, Any]:
    """Settings as plain dictionaries, for showing."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    return plain
