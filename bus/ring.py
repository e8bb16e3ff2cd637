"""The last minute of a stream, by absolute sample number. Pure: no sockets, no clock."""

from __future__ import annotations

from bus.limits import SAMPLE_BYTES


class Ring:
    """The newest `capacity_samples` samples of mono int16 PCM, in memory that is allocated once.

    Samples keep the numbers that the source gave them; the ring holds those of `oldest <= sample < newest`.
    """

    def __init__(self, capacity_samples: int, start_sample: int = 0) -> None:
        """Raise ValueError when the capacity is not positive."""
        if capacity_samples <= 0:
            raise ValueError(f"a ring needs a positive capacity, not {capacity_samples} samples")
        self._capacity = capacity_samples
        self._memory = bytearray(capacity_samples * SAMPLE_BYTES)
        self._oldest = self._newest = start_sample

    @property
    def oldest(self) -> int:
        """The number of the oldest sample held; equal to `newest` when none is."""
        return self._oldest

    @property
    def newest(self) -> int:
        """The number of the sample that comes next: one past the last one held."""
        return self._newest

    def append(self, first_sample: int, pcm: bytes) -> None:
        """Add `pcm` (int16, any number of samples), of which the first has the number `first_sample`.

        A jump forward is a hole in the sound: it is filled with silence, so that readers of the past get true audio time.
        Raise ValueError for a step back and for half a sample: then the numbers of all later samples would be wrong.
        """
        if first_sample < self._newest:
            raise ValueError(f"sample {first_sample} is already in the ring, which stands at {self._newest}")
        if len(pcm) % SAMPLE_BYTES:
            raise ValueError(f"{len(pcm)} bytes are not a whole number of samples")
        hole = first_sample - self._newest
        if hole >= self._capacity:
            self._oldest = self._newest = first_sample  # nothing but silence would be left
        elif hole:
            self._write(bytes(hole * SAMPLE_BYTES))
        self._write(pcm)

    def read(self, since: int, max_samples: int) -> tuple[int, bytes]:
        """Return (number of the first sample, PCM): what the ring holds from `since` on, at most `max_samples`.

        The first number is greater than `since` when that sample has been overwritten. The PCM is empty, and the number
        `newest`, when there is nothing yet.
        """
        first = min(max(since, self._oldest), self._newest)
        count = min(max_samples, self._newest - first)
        begin = first % self._capacity
        whole = min(count, self._capacity - begin)
        view = memoryview(self._memory)
        head = view[begin * SAMPLE_BYTES : (begin + whole) * SAMPLE_BYTES]
        return first, bytes(head) + bytes(view[: (count - whole) * SAMPLE_BYTES])

    def _write(self, pcm: bytes) -> None:
        """Add `pcm` right behind the newest sample; of more than a whole ring only the end stays."""
        count = len(pcm) // SAMPLE_BYTES
        skipped = max(0, count - self._capacity)
        view = memoryview(pcm)[skipped * SAMPLE_BYTES :]
        begin = (self._newest + skipped) % self._capacity * SAMPLE_BYTES
        whole = min(len(view), len(self._memory) - begin)
        self._memory[begin : begin + whole] = view[:whole]
        self._memory[: len(view) - whole] = view[whole:]
        self._newest += count
        self._oldest = max(self._oldest, self._newest - self._capacity)
