"""Answers with all that a WSGI server has told it of the request."""

import json


def application(environ, start_response):
    told = {name: value for name, value in environ.items() if isinstance(value, str)}
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
