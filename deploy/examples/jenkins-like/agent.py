"""Builds: a stand-in for a build server that wants its secrets at the places it knows.

Before it starts there must be an SSH key, a certificate with its key, and a token below
its home, as Jenkins has them; it refuses to start otherwise. It looks at the key and the
token whenever it uses them, and at the certificate when it is told to.
"""

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOME = Path(os.environ.get("BUILDS_HOME", "/run/builds"))
SSH_KEY, TLS, TOKEN = HOME / ".ssh" / "deploy", HOME / "tls.pem", HOME / "github-token"


def public_key():
    """The public half of the SSH key. OpenSSH takes no key that others may read."""
    if stat.S_IMODE(SSH_KEY.stat().st_mode) != 0o400:
        raise PermissionError(f"{SSH_KEY}: its mode is not 0400")
    return subprocess.run(["ssh-keygen", "-y", "-f", SSH_KEY], check=True, capture_output=True, text=True).stdout.strip()


def load_certificate():
    """The serial number of the certificate, which must fit its key."""
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(TLS)
    shown = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", TLS], check=True, capture_output=True, text=True)
    return shown.stdout.strip().removeprefix("serial=")


def token_length():
    token = TOKEN.read_text(encoding="utf-8")
    if not token or token != token.strip():
        raise ValueError(f"{TOKEN}: expected a token and nothing around it")
    return len(token)


try:
    state = {"ssh_key": public_key(), "certificate": load_certificate(), "token_length": token_length()}
except (OSError, ValueError, subprocess.CalledProcessError) as error:
    sys.exit(f"builds: cannot start: {error}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"ssh_key": public_key(), "certificate": state["certificate"], "token_length": token_length()})

    def do_POST(self):
        if self.path != "/reload-certificate":
            self.send_error(404)
            return
        state["certificate"] = load_certificate()
        self.answer({"certificate": state["certificate"]})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass  # the sidecar's access log has the requests


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Handler)
# shutdown() waits for the loop, which a signal interrupts: not from the handler itself.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
