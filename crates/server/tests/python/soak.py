"""A client that shares no code with the server: Python's `websockets`, with permessage-deflate on.

usage: soak.py soak URL TOKEN SEED MESSAGES     exchange messages of 0 to 200 KB and compare what arrives
       soak.py bomb URL TOKEN LIMIT             small on the wire, larger than LIMIT when inflated
"""

import json
import os
import random
import sys
import threading
import uuid

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

PATIENCE = 60
KILO = 1024


def open_socket(url, token, **options):
    headers = {"Authorization": f"Bearer {token}"}
    return connect(url, additional_headers=headers, max_size=None, open_timeout=PATIENCE, ping_interval=None, **options)


def value(rng, number):
    """Text of a random size; some of it can be compressed and some cannot."""
    size = rng.choice([0, 1, rng.randrange(60, 70), rng.randrange(300), rng.randrange(5 * KILO)])
    if number % 20 == 0:
        size = rng.randrange(200 * KILO)
    kind = rng.randrange(3)
    if kind == 0:
        return "é" * (size // 2)
    if kind == 1:
        return rng.randbytes(size // 2).hex()
    return "".join(rng.choices("abcdefgh \n\"\\😀", k=size // 2))


def frame(entries):
    return json.dumps({"auditLog": entries, "kind": "auditLog"}, ensure_ascii=False)


def insert(text):
    return {
        "changedFields": {"name": {"kind": 2, "value": text}},
        "changedFieldsNames": ["name"],
        "globalId": str(uuid.UUID(bytes=os.urandom(16), version=4)),
        "globalRowId": str(uuid.uuid4()),
        "operation": "INSERT",
        "tableName": "Item",
        "timestamp": "",
    }


def send(socket, rng, text):
    """As text or binary, whole or in pieces."""
    data = text if rng.randrange(2) else text.encode()
    if rng.randrange(4) or len(data) < 2:
        socket.send(data)
        return
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randrange(1, 6))))
    socket.send(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)]))


class Listener(threading.Thread):
    """Reads until it has seen the last row, and remembers what came."""

    def __init__(self, socket, last):
        super().__init__()
        self.socket, self.last, self.rows, self.acks, self.refused = socket, last, {}, set(), 0
        self.problem = None

    def run(self):
        try:
            while not self.last(self):
                self.take(json.loads(self.socket.recv(timeout=PATIENCE)))
        except Exception as problem:  # it is told by the main thread
            self.problem = problem

    def take(self, message):
        for entry in message.get("auditLog", []):
            row = entry["globalRowId"]
            assert row not in self.rows, f"row {row} came twice"
            self.rows[row] = entry["changedFields"]["name"]["value"]
        if "auditLog" in message:
            # What is not acknowledged is sent again in time.
            ids = [entry["globalId"] for entry in message["auditLog"]]
            self.socket.send(json.dumps({"ack": ids, "kind": "ack"}))
        self.acks.update(message.get("ack", []))
        # A frame that is refused is answered with a nack of no entries.
        self.refused += message.get("nack") == []

    def finish(self):
        self.join()
        if self.problem:
            raise SystemExit(f"{self.problem!r}: {len(self.rows)} rows, {len(self.acks)} acks, {self.refused} refusals")


def soak(url, token, seed, messages):
    rng = random.Random(seed)
    uploads = [[insert(value(rng, number)) for _ in range(rng.choice([1, 1, 1, 3]))] for number in range(messages)]
    expected = {entry["globalRowId"]: entry["changedFields"]["name"]["value"] for upload in uploads for entry in upload}
    ids = {entry["globalId"] for upload in uploads for entry in upload}
    empty = messages // 10

    writer, reader = open_socket(url, token), open_socket(url, token)
    for socket in (writer, reader):
        assert socket.protocol.extensions, "permessage-deflate was not agreed on"
    listener = Listener(reader, lambda seen: len(seen.rows) == len(expected))
    acks = Listener(writer, lambda seen: seen.acks >= ids and seen.refused == empty)
    listener.start()
    acks.start()
    for number, upload in enumerate(uploads):
        send(writer, rng, frame(upload))
        if number % 10 == 0 and empty > number // 10:
            # An empty message right behind a compressed one.
            writer.send("" if number % 20 else b"")
        if number % 100 == 0:
            for socket in (writer, reader):
                assert socket.ping(rng.randbytes(rng.randrange(1, 125))).wait(PATIENCE), "no pong"
    acks.finish()
    listener.finish()
    assert listener.rows == expected, "something else arrived than was sent"

    # Catch-up in large pages, by clients that agree on something else.
    offers = {
        "none": {"compression": None},
        "takeover": {},
        "small window": {"extensions": [ClientPerMessageDeflateFactory(client_max_window_bits=9)]},
        "small server window": {"extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=9)]},
        "no takeover": {
            "extensions": [
                ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
            ]
        },
    }
    for name, options in offers.items():
        try:
            with open_socket(url, token, **options) as late:
                late_listener = Listener(late, lambda seen: len(seen.rows) == len(expected))
                late_listener.run()
                late_listener.join = lambda: None
                late_listener.finish()
                assert late_listener.rows == expected, f"catch-up differs: {name}"
        except Exception as problem:
            raise SystemExit(f"offer {name!r}: {problem!r}") from problem
    writer.close()
    reader.close()
    size = sum(len(text.encode()) for text in expected.values())
    print(f"{messages} messages, {len(expected)} rows, {size >> 10} KiB each way")


def bomb(url, token, limit):
    for size in (limit * 2, 64 << 20):
        with open_socket(url, token) as socket:
            text = frame([insert("x" * size)])
            try:
                # In one frame, and with the limit passed by the second of two.
                socket.send(text if size < 1 << 20 else (part for part in (text[: limit // 2], text[limit // 2 :])))
                while True:
                    socket.recv(timeout=PATIENCE)
            except ConnectionClosed as closed:
                assert closed.rcvd and closed.rcvd.code == 1009, f"{size}: {closed!r}"
                assert str(limit) in closed.rcvd.reason, closed.rcvd.reason
    print("refused")


if __name__ == "__main__":
    command, url, token, *numbers = sys.argv[1:]
    {"soak": soak, "bomb": bomb}[command](url, token, *map(int, numbers))
