"""What the parts of Earshot promise each other: messages, and three ways to send them (audio, events, jobs)."""
