"""Reports: a small web application on PostgreSQL that reads its credentials again on
SIGHUP.

It knows one file, in which somebody puts a user and a password, and nothing of Vault or
of Sallyport.
"""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

SECRETS = os.environ.get("DB_CREDENTIALS", "/app/secrets/db.json")


class Credentials:
    """The user and the password, always of one file and never mixed."""

    def __init__(self):
        self.read()

    def read(self, *_):
        with open(SECRETS, encoding="utf-8") as file:
            secrets = json.load(file)
        self.current = (secrets["user"], secrets["password"])
        print(f"credentials read, the user is {self.current[0]}", flush=True)


credentials = Credentials()
signal.signal(signal.SIGHUP, credentials.read)


def query(statement):
    user, password = credentials.current
    connection = psycopg2.connect(
        host=os.environ["DB_HOST"],
        port=os.environ.get("DB_PORT", "5432"),
        dbname=os.environ["DB_NAME"],
        user=user,
        password=password,
        connect_timeout=5,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            [(user, count)] = query("SELECT current_user, count(*) FROM reports")
            status, body = 200, {"reports": count, "database_user": user, "pid": os.getpid()}
            body["reader"] = self.headers.get("X-Forwarded-User")  # who is signed in
        except psycopg2.Error as error:
            print(f"the database refuses: {error}".strip(), flush=True)
            status, body = 503, {"error": "the database refuses"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass  # the sidecar's access log has the requests


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Handler)
    # shutdown() waits for the loop, which a signal interrupts: not from the handler itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
