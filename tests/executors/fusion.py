"""A SandboxFusion server for tests: the real interface over HTTP, the code run by the fork server."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.executors.conftest import run
from tir_gym.core.interfaces import Limits, RunStatus
from tir_gym.executors.forkserver import ForkServer


class FusionServer:
    """Answers POST /run_code. `faults`: HTTP status codes or "drop", each spent on one request instead of an answer."""

    def __init__(self, executor: ForkServer) -> None:
        self.executor = executor
        self.faults: list[int | str] = []
        self.requests: list[dict[str, Any]] = []
        fusion = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fusion.requests.append(asked)
                fault = fusion.faults.pop(0) if fusion.faults else 0
                if fault == "drop":
                    self.close_connection = True
                    return
                body = json.dumps(fusion.answer(asked)).encode() if not fault else b"busy"
                self.send_response(int(fault) or 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["language"] == "python"
        memory = asked.get("memory_limit_MB", -1)
        limits = Limits(memory_mb=memory if memory > 0 else 256, output_chars=1_000_000, grace_s=0.2)
        session = self.executor.open(limits, seed=0)
        try:
            for path, data in asked.get("files", {}).items():
                session.put(path, base64.b64decode(data))
            done = run(session, asked["code"], asked["run_timeout"])
        finally:
            session.close()
        status = "TimeLimitExceeded" if done.status is RunStatus.TIMEOUT else "Finished"
        result = {
            "status": status,
            "stdout": done.stdout,
            "stderr": done.stderr + done.traceback,
            "execution_time": 0.0,
        }
        result["return_code"] = 0 if done.status is RunStatus.OK else 1
        return {"status": "Success" if done.status is RunStatus.OK else "Failed", "message": "", "run_result": result}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
