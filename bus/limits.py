"""Every limit of the bus, by name. The relations between them are asserted below and so cannot rot."""

from __future__ import annotations

SCHEMA_VERSION = 2

SAMPLE_RATE_HZ = 16_000
FRAME_MS = 30
FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000
SAMPLE_BYTES = 2
FRAME_BYTES = FRAME_SAMPLES * SAMPLE_BYTES
MAX_UTTERANCE_S = 30
HISTORY_CHUNK_FRAMES = 50

SOCKET_PATH_MAX_BYTES = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
STREAM_NAME_MAX = 16

MAX_TOPIC_BYTES = 96
MAX_HEAD_BYTES = 1 << 20  # an `answer` job with a long context is the largest
MAX_PAYLOAD_BYTES = 2 << 20
MAX_FRAMES = 3  # topic, head, payload
MAX_MESSAGES_AT_ONCE = 100  # a peer that floods must not keep a process from everything else

MAX_NAME_CHARS = 64  # of an actor, an incarnation, a stream, a turn
MAX_KEY_CHARS = 200  # of a job, a lease, a worker: some names together
MAX_REASON_CHARS = 1_000  # why a job failed: it is quoted in longer lines
MAX_LINE_CHARS = 10_000  # for people
MAX_TEXT_CHARS = 65_536  # of what was said or answered: three of them, four bytes for each character, fit into one job
MAX_MARKS = 64
MAX_MARKS_TAKEN = 40  # of a job that a worker is given: it adds some of its own
MAX_SHOWN_REASON = 200  # in a list of jobs, which has to fit into one message
MAX_COUNT = 1 << 53
MAX_DEADLINE_MS = 86_400_000
MAX_AUDIO_MS = MAX_PAYLOAD_BYTES * 1000 // (SAMPLE_RATE_HZ * SAMPLE_BYTES)

EVENT_HIGH_WATER_MARK = 1_000
AUDIO_HIGH_WATER_MARK = 400  # 12 s of live frames; the ring behind the history socket holds the rest
HISTORY_HIGH_WATER_MARK = 100  # answers of up to 1.5 s of sound, for a reader that does not read them
JOB_HIGH_WATER_MARK = 1_000
VOICE_HIGH_WATER_MARK = 100  # pieces of the voice, of up to MAX_VOICE_BYTES
MAX_VOICE_BYTES = 1 << 16
MAX_EVENT_BYTES = MAX_HEAD_BYTES  # events carry no payload; a slow reader is kept EVENT_HIGH_WATER_MARK of them
HANDSHAKE_MS = 5_000  # a connection that does not say what it is by then is closed

RECONNECT_MS = 10
RECONNECT_MAX_MS = 200
TCP_RECONNECT_MAX_MS = 2_000
TCP_HEARTBEAT_MS = 1_000
TCP_HEARTBEAT_TIMEOUT_MS = 4_000

assert MAX_UTTERANCE_S * SAMPLE_RATE_HZ * SAMPLE_BYTES <= MAX_PAYLOAD_BYTES, "an utterance must fit into one job"
assert MAX_UTTERANCE_S * 1000 <= MAX_AUDIO_MS, "an utterance's length must pass its own bounds"
assert 3 * 4 * MAX_TEXT_CHARS + 2 * 4 * MAX_LINE_CHARS < MAX_HEAD_BYTES, "a turn, and what was said before it, must fit into one message"
assert MAX_VOICE_BYTES <= MAX_PAYLOAD_BYTES, "a piece of the voice must fit into one message"
assert HISTORY_CHUNK_FRAMES * FRAME_BYTES <= MAX_PAYLOAD_BYTES, "a piece of history must fit into one message"
