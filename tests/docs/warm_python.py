"""A Python that has imported torch and OpenMMLab already: tools start in no time.

    python warm_python.py SOCKET

For each request on the socket it forks a process that runs what the request says, with the
arguments, folder, environment and open files of whoever asks. `client` is the text of a `python3`
that asks; with it in PATH a shell's `tools/train.py ...` is run so, and everything else about it
(arguments, output, exit code) is as ever.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing.process
import os
import runpy
import signal
import socket
import sys

CLIENT = """#!{python} -SE
import json, os, socket, sys
if len(sys.argv) < 2 or sys.argv[1].startswith("-") and sys.argv[1] not in ("-m", "-c"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
server.sendall(request)
answer = server.recv(4)
sys.exit(int.from_bytes(answer, "big") if answer else 70)
"""


def client(python: str, socket_path: str, log: str) -> str:
    """The text of the program that asks; `log` gets a line of JSON with each one's arguments."""
    return CLIENT.format(python=python, socket=socket_path, log=log)


def serve(path: str) -> None:
    import cv2  # noqa: F401
    import mmdet.models  # noqa: F401
    import torch

    import lightvit_bench.detection.registry
    import lightvit_bench.openmmlab.run
    import lightvit_bench.registry
    import lightvit_bench.tracking.tracker  # noqa: F401

    assert torch.get_num_threads()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Run a request in a process of its own, tell its exit code, and end."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    left, data = int.from_bytes(size, "big"), b""
    while len(data) < left:
        data += connection.recv(left - len(data))
    worker = os.fork()
    if worker == 0:
        connection.close()
        _run(*json.loads(data), files)
    for file in files:
        os.close(file)
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall((code if code >= 0 else 128 - code).to_bytes(4, "big"))
    os._exit(0)


def _run(argv: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.process.ORIGINAL_DIR = folder  # where spawned processes look for the script
    asked = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(":") if path]
    sys.path[1:1] = asked
    code = 0
    try:
        if argv[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *argv[2:]], ""
            exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
        elif argv[0] == "-m":
            sys.argv, sys.path[0] = argv[1:], ""
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            script = os.path.abspath(argv[0])
            sys.argv, sys.path[0] = argv, os.path.dirname(script)
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
