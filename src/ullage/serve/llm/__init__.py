"""The LLM service: OpenAI chat and text completions over one engine."""
