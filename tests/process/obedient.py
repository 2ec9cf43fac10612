"""A module for a child process: it does what the messages say."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any


def serve(connection: Connection, *descriptors: int) -> None:
    while True:
        word, *rest = connection.recv()
        match word:
            case "say":
                connection.send(rest[0])
            case "length":
                connection.send(len(rest[0]))
            case "twice, slowly":
                for _ in range(2):
                    time.sleep(rest[0])
                    connection.send(word)
            case "who":
                connection.send((os.getpid(), os.getppid(), os.getpgid(0)))
            case "write":
                connection.send(os.write(descriptors[0], rest[0]))
            case "read standard input":
                connection.send(sys.stdin.read())
            case "print":
                print("x" * rest[0], flush=True)  # noqa: T201
                print("y" * rest[0], file=sys.stderr, flush=True)  # noqa: T201
                connection.send(word)
            case "start another":
                code = "import time; time.sleep(600)"
                connection.send(subprocess.Popen([sys.executable, "-c", code], close_fds=False).pid)
            case "return":
                return
            case "raise":
                raise rest[0]
            case "exit":
                os._exit(rest[0])
            case "segfault":
                ctypes.string_at(0)
            case "half a message":
                half_a_message(connection)
            case "close":
                connection.close()
                time.sleep(600)
            case "hang":
                connection.send(word)
                ctypes.PyDLL(None).pause()  # in C, with the lock of the interpreter held
            case "be killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "be killed in a while":
                threading.Timer(rest[0], os.kill, (os.getpid(), signal.SIGKILL)).start()


def half_a_message(connection: Any) -> None:  # noqa: ANN401 - typeshed hides _send
    send = connection._send

    def half(data: bytes, *_: object) -> None:
        send(data[: len(data) // 2])
        os._exit(7)

    connection._send = half
    connection.send("x" * 1000)
