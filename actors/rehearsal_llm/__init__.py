"""A small OpenAI-compatible server that answers by rules, so that everything runs with no model and no network."""
