"""The wire under attack: seeded nonsense on every socket of a running assistant.

Goal: whatever is said to a socket, no process dies or is restarted, memory does not grow without bound, every bad message is
counted, and afterwards a sentence is answered as before.

Method: `generate` makes messages of known kinds from a seed, most of them bad by construction. `targets` says them, one class
for each sort of socket, and knows what the process behind it must have counted: on the sockets that answer, a question after
each lot shows that the lot was read. `__main__` runs all of it against a real assistant on the rehearsal kit.
"""
