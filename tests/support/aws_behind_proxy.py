"""AWS S3 of a test, run in a pod: an HTTPS proxy that lets runs reach AWS and nothing else.

It ends TLS itself, with a certificate for AWS's names from an authority of the test, as proxies of
hospitals do, and gives what it reads to an S3 server. Standard library only.
"""

import socket
import ssl
import sys
from threading import Thread


def main(listen: int, storage: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, _, port = storage.partition(":")
    with socket.create_server(("", listen)) as server:
        while True:
            client, _ = server.accept()
            Thread(target=serve, args=(client, context, (host, int(port))), daemon=True).start()


def serve(client: socket.socket, context: ssl.SSLContext, storage: tuple[str, int]) -> None:
    """One connection, to its end."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        if not (got := client.recv(4096)):
            return
        asked += got
    method, target = asked.split()[:2]
    sys.stdout.write(f"{method.decode()} {target.decode()}\n")
    sys.stdout.flush()
    if method != b"CONNECT" or not target.endswith(b".amazonaws.com:443"):
        client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        client.close()
        return
    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
    inside = context.wrap_socket(client, server_side=True)
    behind = socket.create_connection(storage)
    Thread(target=copy, args=(behind, inside), daemon=True).start()
    copy(inside, behind)


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while got := source.recv(65536):
            target.sendall(got)
    except OSError:
        pass
    finally:
        for each in (source, target):
            each.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
