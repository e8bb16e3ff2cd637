"""Every message of the bus, one file per domain. Importing this package registers them all."""

from bus.messages import actor, audio, control, jobs, record, reply, speech, turn, voice
from bus.messages.base import Body, Envelope, Message, body_type, body_types

__all__ = [
    "Body",
    "Envelope",
    "Message",
    "actor",
    "audio",
    "body_type",
    "body_types",
    "control",
    "jobs",
    "record",
    "reply",
    "speech",
    "turn",
    "voice",
]
