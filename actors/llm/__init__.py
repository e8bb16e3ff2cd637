"""The bridge to any OpenAI-compatible LLM server."""
