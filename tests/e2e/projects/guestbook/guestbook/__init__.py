"""A guestbook: visitors leave a line, everybody reads them."""

import os
import sqlite3

from flask import Flask, jsonify, request

app = Flask(__name__)

_TABLE = "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, name TEXT, text TEXT)"


def database() -> sqlite3.Connection:
    """Open the guestbook; it is made when it is not there."""
    opened = sqlite3.connect(os.environ["DATABASE"], timeout=10)
    opened.execute(_TABLE)
    return opened


@app.get("/")
def read():
    with database() as book:
        rows = book.execute("SELECT name, text FROM entries ORDER BY id").fetchall()
    return jsonify([{"name": name, "text": text} for name, text in rows])


@app.post("/")
def write():
    entry = request.get_json()
    with database() as book:
        book.execute(
            "INSERT INTO entries (name, text) VALUES (?, ?)", (entry["name"], entry["text"])
        )
    return jsonify(entry), 201


@app.get("/healthz")
def healthz():
    with database() as book:
        book.execute("SELECT 1")
    return "ok\n"


@app.get("/whoami")
def whoami():
    return jsonify(uid=os.getuid(), gid=os.getgid(), cwd=os.getcwd())
