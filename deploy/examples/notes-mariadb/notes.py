"""Notes: a small web application on MariaDB.

It knows a configuration file, which it reads once, when a worker starts, and
nothing of Vault, of Sallyport or of credentials that change.
"""

import configparser
import os

import pymysql
from flask import Flask, abort, redirect, render_template_string, request

PAGE = """<!doctype html><title>Notes</title>
<form method="post" action="/notes"><input name="text" maxlength="500" autofocus><button>Add</button></form>
<ul>{% for author, text in notes %}<li><b>{{ author }}</b> {{ text }}</li>{% endfor %}</ul>"""

config = configparser.ConfigParser(interpolation=None)
with open(os.environ.get("NOTES_CONFIG", "/etc/notes/notes.ini"), encoding="utf-8") as file:
    config.read_file(file)
database = config["database"]

app = Flask(__name__)


def connect():
    return pymysql.connect(
        host=database["host"],
        port=database.getint("port"),
        user=database["user"],
        password=database["password"],
        database=database["name"],
        charset="utf8mb4",
        connect_timeout=5,
        autocommit=True,
    )


@app.get("/")
def index():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT author, text FROM notes ORDER BY id DESC LIMIT 50")
        return render_template_string(PAGE, notes=cursor.fetchall())


@app.post("/notes")
def add():
    text = request.form.get("text", "").strip()
    if not text or len(text) > 500:
        abort(400)
    with connect() as connection, connection.cursor() as cursor:
        author = request.headers.get("X-Forwarded-User", "nobody")
        cursor.execute("INSERT INTO notes (author, text) VALUES (%s, %s)", (author, text))
    return redirect("/", code=303)


@app.get("/health")
def health():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok\n"
