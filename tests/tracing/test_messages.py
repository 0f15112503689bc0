"""What people and agents said, as a span holds it."""

from __future__ import annotations

import json

from teamwright.backends.api import File
from teamwright.backends.parts import said
from teamwright.tracing.messages import encode, plain_text


def test_words_files_and_data() -> None:
    assert said("user", "hello") == "hello"
    assert said("user", "") is None
    assert said("assistant", "", data={"n": 1}) == '{"n":1}'
    assert said("assistant", "words", data={"n": 1}) == "words"
    found = said("user", "look", [File("a.txt", "text/plain", b"abc"), File("b", uri="https://x/b")])
    assert found is not None
    assert json.loads(encode(found)) == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "look"},
                {"type": "file", "name": "a.txt", "mime_type": "text/plain", "size": 3},
                {"type": "file", "name": "b", "mime_type": "application/octet-stream", "uri": "https://x/b"},
            ],
        }
    ]
    assert plain_text(encode(found)) == "look (file a.txt) (file b)"
    alone = said("user", "", [File("a.txt", "text/plain", b"")])
    assert alone is not None
    assert plain_text(encode(alone)) == "(file a.txt)"
