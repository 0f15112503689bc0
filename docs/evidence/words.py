"""An MCP server: `words.py` speaks over stdin and stdout, `words.py http --port N` over HTTP."""

import sys

from mcp.server.fastmcp import FastMCP

HTTP = sys.argv[1:2] == ["http"]
server = FastMCP("words", host="127.0.0.1", port=int(sys.argv[3]) if HTTP else 0, log_level="ERROR")

if HTTP:

    @server.tool()
    def whisper(text: str) -> str:
        """Whisper a text."""
        return text.lower()

else:

    @server.tool()
    def shout(text: str) -> str:
        """Shout a text."""
        return f"{text.upper()}!"


if HTTP:
    sys.stdout.write(f"http://127.0.0.1:{server.settings.port}/mcp\n")
    sys.stdout.flush()
server.run("streamable-http" if HTTP else "stdio")
