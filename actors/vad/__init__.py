"""From frames to utterances: what is speech (engines) and where an utterance begins and ends (segmenter)."""
