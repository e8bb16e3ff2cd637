"""Text to sound: answers are spoken clause by clause, while they are still being made."""
