"""What a person sees: the conversation, the status, the tap, the turns."""
