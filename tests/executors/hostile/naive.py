"""The control's interpreter: what code gets where nothing is isolated. Runs as a program, or in a fork of the trainer.

As graders do it: pickles on a pipe (descriptor 3), time limits by an alarm in the same process, one worker for episode
after episode. Standard library only.
"""

import ast
import fcntl
import os
import pickle
import signal
import socket
import struct
import sys
import traceback

CHANNEL = 3


def send(channel, message):
    body = pickle.dumps(message)
    channel.sendall(struct.pack("!I", len(body)) + body)


def receive(channel):
    """The next message; waits for ever. Raises `EOFError`, and whatever unpickling raises."""
    return pickle.loads(read(channel, struct.unpack("!I", read(channel, 4))[0]))


def read(channel, size):
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(1 << 20, size - len(data)))
        if not piece:
            raise EOFError("the worker has ended")
        data += piece
    return bytes(data)


def late(number, frame):
    raise TimeoutError("time limit")


def evaluate(code, space):
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<call>", "exec"), space)
    value = eval(compile(last, "<call>", "eval"), space) if last else None
    return "" if value is None else repr(value)


def tool(channel, name):
    """A function that has the trainer call a tool."""

    def call(text):
        send(channel, ("call", name, {"text": text}))
        return receive(channel)

    return call


def submission(space, code, seconds):
    status, value, error, trace = "ok", "", "", ""
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        value = evaluate(code, space)
    except BaseException as caught:
        kinds = {MemoryError: "memory", TimeoutError: "timeout"}
        status = kinds.get(type(caught), "exception")
        error, trace = f"{type(caught).__name__}: {caught}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.flush()
    return status, value, error, trace


def serve(ends):
    """Serve the trainer until its end of the channel is closed; `ends` are the channel and those for copies."""
    first, *spares = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in ends)
    for fd in ends:
        os.close(fd)
    os.dup2(first, CHANNEL)
    os.close(first)
    channel, space = socket.socket(fileno=CHANNEL), {}
    while True:
        try:
            kind, *rest = receive(channel)
        except EOFError:
            os._exit(0)
        if kind == "run":
            space.setdefault("ask", tool(channel, "ask"))
            send(channel, submission(space, *rest))
        elif kind == "clear":
            space.clear()
            send(channel, "cleared")
        elif kind == "end":
            os._exit(0)
        elif kind == "fork":
            spare = spares.pop()
            if os.fork() == 0:
                os.dup2(spare, CHANNEL)
            send(channel, "here")


if __name__ == "__main__":
    serve([int(fd) for fd in sys.argv[1:]])
