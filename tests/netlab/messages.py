#!/usr/bin/env python3
"""What messages cost the cores of a machine whose network namespaces are hosts; for two hosts of a lab.

Writes, for small and for large messages that come one by one, microseconds of the thread that sends one, of all other
threads on the machine, such as those of the program that delays packets, which carry it, and of the thread that reads
it: the medians of some series. So nothing else may run. What the system does while no thread runs is not seen.

    netlab run --parties 2 --profile lan10g -- tests/netlab/messages.py messages.json
"""

import glob
import json
import os
import socket
import statistics
import sys
import threading
import time

PORT = 7000
PAUSE_S = 1e-4
# Bytes of a message, and how many of them in a series at most, in how long: a slow link holds them up.
SMALL, LARGE = 1_000, 200_000
MOST, SECONDS, SERIES = 800, 0.8, 5
# What ends a series of messages.
END = b"e"
# Places in memory that messages go through in turn: more than caches hold.
PLACES = 80


def used_ns():
    """Processor time of each thread on the machine, as the scheduler counts it: ticks are too coarse."""
    used = {}
    for path in glob.glob("/proc/[0-9]*/task/[0-9]*/schedstat"):
        try:
            with open(path) as file:
                used[int(path.split("/")[4])] = int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return used


def receive():
    with socket.create_server(("0.0.0.0", PORT)) as server:
        connection, _ = server.accept()
        # Namespaces do not hide threads from one another.
        connection.sendall(threading.get_native_id().to_bytes(8))
        places, at = memoryview(bytearray(PLACES * LARGE)), 0
        while read := connection.recv_into(places[at:], LARGE):
            if places[at + read - 1] == END[0]:
                connection.sendall(END)
            at = (at + read) % ((PLACES - 1) * LARGE)


def send_all(connection, reader, size):
    places, writing, count = memoryview(bytes(PLACES * LARGE)), 0, 0
    before_all, begin = used_ns(), time.monotonic()
    while count < MOST and time.monotonic() - begin < SECONDS:
        at = count % PLACES * LARGE
        before = time.thread_time_ns()
        connection.sendall(places[at : at + size])
        writing += time.thread_time_ns() - before
        count += 1
        time.sleep(PAUSE_S)
    # Until all has been carried and read.
    connection.sendall(END)
    connection.recv(1)
    # Without threads that have ended.
    used = {thread: ns - before_all.get(thread, 0) for thread, ns in used_ns().items()}
    reading = used.pop(reader)
    used.pop(threading.get_native_id())
    return [ns / 1e3 / count for ns in [writing, sum(used.values()), reading]]


def send(path):
    hosts = os.environ["NETLAB_HOSTS"].split(",")
    while True:
        try:
            connection = socket.create_connection((hosts[0], PORT))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = int.from_bytes(connection.recv(8, socket.MSG_WAITALL))
    send_all(connection, reader, LARGE)
    series = [[send_all(connection, reader, size) for size in [SMALL, LARGE]] for _ in range(SERIES)]
    medians = [[statistics.median(of_thread) for of_thread in zip(*of_size)] for of_size in zip(*series)]
    with open(path, "w") as file:
        json.dump([{"kb": size / 1e3, "us": us} for size, us in zip([SMALL, LARGE], medians)], file)


if os.environ["NETLAB_PARTY"] == "0":
    receive()
else:
    send(sys.argv[1])
