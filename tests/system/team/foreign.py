"""An A2A 1.0 server that knows nothing of us: standard library only, its port in $PORT or as an argument (0: any)."""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT") or sys.argv[1])
SEEN: list[dict[str, object]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/seen":
            self.reply(SEEN)
        elif self.path == "/.well-known/agent-card.json":
            face = {"url": f"http://localhost:{PORT}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            if "elsewhere" in sys.argv:
                face["url"] = "http://169.254.169.254/rpc"
            card = {"name": "Stranger", "description": "Echoes", "version": "1", "skills": [], "capabilities": {}}
            self.reply({**card, "supportedInterfaces": [face]})
        else:
            self.reply({}, 404)

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = call["params"]["message"]
        text = message["parts"][0]["text"]
        SEEN.append({"path": self.path, "headers": dict(self.headers), "metadata": message.get("metadata", {})})
        if text == "die":
            os._exit(3)
        if text == "hang":
            time.sleep(1000)
        if text == "family":
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if text == "refuse":
            self.reply({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32603, "message": "not today"}})
            return
        if text == "teapot":
            self.reply({}, 418)
            return
        answer = {"messageId": "1", "role": "ROLE_AGENT", "contextId": message.get("contextId", "")}
        answer["parts"] = [{"text": f"echo: {text}"}]
        self.reply({"jsonrpc": "2.0", "id": call["id"], "result": {"message": answer}})

    def reply(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    PORT = server.server_port
    sys.stdout.write(f"serving on {PORT}\n")
    sys.stdout.flush()
    server.serve_forever()
