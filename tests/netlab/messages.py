#!/usr/bin/env python3
"""What messages cost the cores of a machine whose network namespaces are hosts; for two hosts of a lab.

Writes, for small and for large messages that come one by one, microseconds of the thread that sends one, of the
system and all other programs, such as one that delays packets, which carry it, and of the thread that reads it: the
medians of some series. What carries it is all that cores are not idle for besides those two threads, as the system counts
interrupts for nobody. So nothing else may run, and the timers of the pauses between messages count, too.

    netlab run --parties 2 --profile lan10g -- tests/netlab/messages.py messages.json
"""

import json
import os
import socket
import statistics
import sys
import time

PORT = 7000
PAUSE_S = 1e-4
# Bytes of a message, seconds of a series, and how many there are of each size.
SMALL, LARGE = 1_000, 200_000
SECONDS, SERIES = 0.6, 5
# What ends a series of messages.
END = b"e"
# Places in memory that messages go through in turn: more than caches hold.
PLACES = 80


def idle_ns():
    """What all cores have been idle for, without the interrupts that they served meanwhile."""
    with open("/proc/stat") as file:
        idle, waiting = file.readline().split()[4:6]
    return (int(idle) + int(waiting)) * 10**9 // os.sysconf("SC_CLK_TCK")


def receive():
    with socket.create_server(("0.0.0.0", PORT)) as server:
        connection, _ = server.accept()
        places, at, before = memoryview(bytearray(PLACES * LARGE)), 0, time.thread_time_ns()
        while read := connection.recv_into(places[at:], LARGE):
            if places[at + read - 1] == END[0]:
                now = time.thread_time_ns()
                connection.sendall((now - before).to_bytes(8))
                before = now
            at = (at + read) % ((PLACES - 1) * LARGE)


def send_all(connection, size):
    """Sends messages for a while; how many, and nanoseconds that it takes to write and to read them, and of both threads."""
    places, writing, count = memoryview(bytes(PLACES * LARGE)), 0, 0
    begin, first = time.monotonic(), time.thread_time_ns()
    while time.monotonic() - begin < SECONDS:
        at = count % PLACES * LARGE
        before = time.thread_time_ns()
        connection.sendall(places[at : at + size])
        writing += time.thread_time_ns() - before
        count += 1
        time.sleep(PAUSE_S)
    # Until all has been carried and read.
    connection.sendall(END)
    reading = int.from_bytes(connection.recv(8, socket.MSG_WAITALL))
    return count, writing, reading, time.thread_time_ns() - first + reading


def cost(connection, size):
    """Microseconds of a message: to send, carry and read it."""
    idle, begin = idle_ns(), time.monotonic_ns()
    count, writing, reading, threads = send_all(connection, size)
    taken = os.cpu_count() * (time.monotonic_ns() - begin) - (idle_ns() - idle)
    return [ns / 1e3 / count for ns in [writing, taken - threads, reading]]


def send(path):
    hosts = os.environ["NETLAB_HOSTS"].split(",")
    while True:
        try:
            connection = socket.create_connection((hosts[0], PORT))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    send_all(connection, LARGE)
    series = [[cost(connection, size) for size in [SMALL, LARGE]] for _ in range(SERIES)]
    medians = [[statistics.median(of_thread) for of_thread in zip(*of_size)] for of_size in zip(*series)]
    with open(path, "w") as file:
        json.dump([{"kb": size / 1e3, "us": us} for size, us in zip([SMALL, LARGE], medians)], file)


if __name__ == "__main__":
    if os.environ["NETLAB_PARTY"] == "0":
        receive()
    else:
        send(sys.argv[1])
