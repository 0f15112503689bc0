"""Models that say what a test tells them to: servers on loopback with the vendors' wire formats.

chat_completions.ChatCompletions     OpenAI and everything compatible
generate_content.GenerateContent     Gemini
ollama_chat.OllamaChat               Ollama's own API

>>> with ChatCompletions() as model:
...     model.say(Reply(calls=[Call("add", {"a": 1, "b": 2})]), Reply("It is 3."))
...     # … drive the real SDK against model.url …
...     assert model.requests[1].results == {"call_1_1": "3"}

A new wire format is a subclass of `server.StandIn` with four methods; see there.
"""
