from tests.fakes.virtual_microphone import microphone

__all__ = ["microphone"]
