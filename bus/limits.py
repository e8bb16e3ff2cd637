"""Every limit of the bus, by name. The relations between them are asserted below and so cannot rot."""

from __future__ import annotations

SCHEMA_VERSION = 1

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

EVENT_HIGH_WATER_MARK = 1_000
AUDIO_HIGH_WATER_MARK = 400  # 12 s of live frames; the ring behind the history socket holds the rest
JOB_HIGH_WATER_MARK = 1_000

RECONNECT_MS = 10
RECONNECT_MAX_MS = 200

assert MAX_UTTERANCE_S * SAMPLE_RATE_HZ * SAMPLE_BYTES <= MAX_PAYLOAD_BYTES, "an utterance must fit into one job"
assert HISTORY_CHUNK_FRAMES * FRAME_BYTES <= MAX_PAYLOAD_BYTES, "a piece of history must fit into one message"
