"""A process that answers as a vLLM does where only health and load are asked.

`python tests/peer/fake_vllm.py SOCKET [RUNNING]`: /health, /metrics with a KV cache of 1,600 tokens.
"""

from __future__ import annotations

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}.0
vllm:num_requests_waiting{{engine="0",model_name="m"}} 0.0
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25
vllm:cache_config_info{{block_size="16",engine="0",num_gpu_blocks="100"}} 1.0
"""


class Handler(BaseHTTPRequestHandler):
    running = "0"
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        pages = {"/health": "", "/metrics": PAGE.format(running=self.running)}
        raw = pages.get(self.path, "no such page").encode()
        self.send_response(200 if self.path in pages else 404)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


class Server(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True
    test = os.getppid()

    def service_actions(self) -> None:
        """Called each half second: it ends with the test that started it, also where that is killed."""
        if os.getppid() != self.test:
            sys.exit()

    def server_bind(self) -> None:
        Path(str(self.server_address)).unlink(missing_ok=True)
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.socket.accept()[0], ("local", 0)


if __name__ == "__main__":
    Handler.running = sys.argv[2] if len(sys.argv) > 2 else "0"
    Server(sys.argv[1], Handler).serve_forever()  # type: ignore[arg-type]
