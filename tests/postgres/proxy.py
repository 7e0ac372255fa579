"""A network between a program and its database that is cut, each time a little later: a program of its own.

python proxy.py FOLDER SERVER: listens on a socket in the one folder, carries to the server's in the other.
"""

import itertools
import select
import socket
import sys
import threading
from contextlib import suppress

FIRST_BYTES, MORE_BYTES = 30_000, 7_000
NAME = ".s.PGSQL.5432"


def carry(client: socket.socket, folder: str, left: int) -> None:
    """Carry so many bytes to the server, and all that it says, and cut the connection."""
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(f"{folder}/{NAME}")
        while left > 0:
            for one in select.select([client, server], [], [])[0]:
                data = one.recv(min(65_536, left) if one is client else 65_536)
                if not data:
                    return
                (server if one is client else client).sendall(data)
                left -= len(data) if one is client else 0


def main() -> None:
    """Take connections until the program is ended."""
    folder, server = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/{NAME}")
        listening.listen()
        for turn in itertools.count():
            client, _ = listening.accept()
            threading.Thread(target=carry, args=(client, server, FIRST_BYTES + turn * MORE_BYTES), daemon=True).start()


if __name__ == "__main__":
    main()
