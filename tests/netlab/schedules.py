#!/usr/bin/env python3
"""Predicted and measured times of the three schedules and of several runs in flight, on links of several kinds.

Each role is a process on a host of its own, made by netlab; needs root. For every model, link, schedule and number of
runs in flight it compiles the model, runs it, and prints one row of milliseconds as the client sees them: the online
time, from sending its input to having the output, the time of a run in steady state, both phases, and the time to the
first output of a new deployment, with setup and offline phase.

    tests/netlab/schedules.py --netlab netlab --mpcc target/release/mpcc \\
        --party target/release/mpcc-party --machine machine.toml \\
        --link lan10g --link wan model.onnx[,input.npy] ...
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

BUILT_IN = os.path.join(os.path.dirname(__file__), "../../compiler/src/cost/default.toml")

SERVE = ["{party} serve --config " + f"{role}.toml --runs {{runs}} --json > {role}.json" for role in ["P0", "P1", "dealer"]]
# All hosts are one machine: a dealer, which works for later runs, leaves its cores to parties that wait for messages.
SERVE[2] = "chrt --idle 0 " + SERVE[2]
INFER = "{party} infer --config client.toml {inputs} --runs {runs} --json > client.json"

# What each host does: with a live dealer; to fill stores; from them, where the dealer has nothing to do.
LIVE = [*SERVE, INFER]
FILL = ["{party} fill --config " + f"{role}.toml --runs {{runs}}" for role in ["P0", "P1", "dealer", "client"]]
STORED = [*SERVE[:2], "true", INFER]


def script(commands, **values):
    """A shell script for all hosts of a lab."""
    cases = [f"{host}) exec {command.format(**values)} ;;" for host, command in enumerate(commands)]
    return "\n".join(["case $NETLAB_PARTY in", *cases, "esac"])


def call(command, **options):
    """Runs a command; its output matters only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def write_configs(folder, plan, weights, threads, stored=False):
    """One file per role; the labs' addresses are always the same. Stored runs need no dealer."""
    hosts = {"P0": "10.77.0.1:7000", "P1": "10.77.0.2:7000", "dealer": "10.77.0.3:7000"}
    before = {"P0": [], "P1": ["P0"], "dealer": ["P0", "P1"], "client": ["P0", "P1", "dealer"]}
    for role, peers in before.items():
        lines = [f'role = "{role}"', f'plan = "{plan}"', f'state_dir = "{role}.state"']
        if role in hosts:
            lines += ['listen = "0.0.0.0:7000"', f"threads = {threads}"]
        if role == "P0":
            lines.append(f'weights = "{weights}"')
        lines += [f"store = {str(stored).lower()}", "stall_s = 600", "[peers]"]
        lines += [f'{peer} = "{hosts[peer]}"' for peer in peers if not (stored and peer == "dealer")]
        with open(os.path.join(folder, f"{role}.toml"), "w") as file:
            file.write("\n".join(lines) + "\n")


def lab_options(link):
    """A name that netlab knows, or a rate and a round trip such as 3gbit,0.1ms."""
    if "," not in link:
        return ["--profile", link]
    rate, rtt = link.split(",")
    return ["--rate", rate, "--rtt", rtt]


def transport(options, folder, link):
    """What messages cost the cores that all hosts of a lab share: microseconds to send, carry and receive one, each for a
    message and for a kilobyte of it."""
    report = os.path.join(folder, "messages.json")
    lab = [options.netlab, "run", "--parties", "2", *lab_options(link), "--timeout", "600"]
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "messages.py")
    call(options.prefix + lab + ["--", sys.executable, program, report])
    with open(report) as file:
        small, large = json.load(file)
    return [cost(small["kb"], us, large["kb"], large_us) for us, large_us in zip(small["us"], large["us"])]


def cost(small_kb, small_us, large_kb, large_us):
    """Microseconds for a message and for a kilobyte of it, neither below zero; as `mpcc profile machine` works them out."""
    us_per_kb = max((large_us - small_us) / (large_kb - small_kb), 0.0)
    return max(small_us - us_per_kb * small_kb, 0.0), us_per_kb


def profile(options, folder, link):
    """The machine profile of hosts that are this machine's network namespaces."""
    with open(options.machine) as file:
        text = file.read()
    for name, costs in zip(["send", "carry", "receive"], transport(options, folder, link)):
        for unit, value in zip(["us", "us_per_kb"], costs):
            text = re.sub(rf"(?m)^{name}_{unit} = .*\n", "", text)
            text = f"{name}_{unit} = {value:.3g}\n{text}"
    path = os.path.join(folder, f"{link}.toml")
    with open(path, "w") as file:
        file.write(text)
    return path


def measure(options, machine, model, inputs, link, schedule, depth):
    """Milliseconds online and of a run in steady state, each predicted, measured and least possible, with None for what is
    not known; milliseconds to the first output; and the share of a core that the emulator took."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        plan = os.path.join(folder, "m.plan")
        command = [options.mpcc, "compile", model, "-o", plan, "--link", link, "--ring", "32"]
        command += ["--schedule", schedule, "--threads", str(options.threads), "--depth", str(depth)]
        command += ["--cores", str(options.cores), "--machine", machine]
        command += ["--calibrate", inputs] if inputs else []
        call(command)
        explained = json.loads(call([options.mpcc, "explain", "--json", plan]))
        forecast = explained["forecast"]
        weights = plan.replace(".plan", ".weights")
        name = explained["inputs"][0]["name"]
        given = f"-i {name}=@{os.path.abspath(inputs)}" if inputs else ""
        # Some are in flight while the others start, or end.
        counted = max(options.runs, depth)
        runs = counted + 2 * depth - 1
        report = os.path.join(folder, "lab.json")
        lab = [options.netlab, "run", "--parties", "4", *lab_options(link)]
        lab += ["--timeout", "1800", "--json", report]
        for stored, commands in [(False, FILL), (True, STORED)] if options.stored else [(False, LIVE)]:
            write_configs(folder, plan, weights, options.threads, stored)
            shell = script(commands, party=options.party, runs=runs, inputs=given)
            call(options.prefix + lab + ["--", "sh", "-c", shell], cwd=folder)
        with open(os.path.join(folder, "client.json")) as file:
            client = json.load(file)
        online = [run["online_s"] * 1e3 for run in client["report"]["runs"][depth : depth + counted]]
        per_run = client["s_per_run"] and client["s_per_run"] * 1e3
        latency = (forecast["online_ms_in_flight"], statistics.median(online), forecast["lower_bound_ms"])
        throughput = (forecast["predicted_ms_per_run"], per_run, forecast["lower_bound_ms_per_run"])
        if options.stored:
            # Predictions are for a live dealer; without one, the busiest party's uplink remains.
            sent = [role["sent_bytes"] for role in map(explained["roles"].get, ["P0", "P1"])]
            most = max(of_party["offline"] + of_party["online"] for of_party in sent)
            uplink_ms = most / forecast["bytes_per_us"] / 1e3
            throughput = (None, per_run, max(uplink_ms, forecast["lower_bound_ms"] / depth))
        return latency, throughput, client["first_output_s"] * 1e3, relay_share(report)


def relay_share(path):
    """The share of a core that the emulator took while the roles ran."""
    with open(path) as file:
        lab = json.load(file)
    relay, wall = lab.get("relay_cpu_s"), lab.get("wall_s")
    return relay / wall if relay is not None and wall else None


def shown(ms):
    """Milliseconds in a table; None is a dash."""
    return "-" if ms is None else f"{ms:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx[,INPUT.npy]")
    parser.add_argument("--netlab", required=True)
    parser.add_argument("--mpcc", required=True)
    parser.add_argument("--party", required=True)
    parser.add_argument("--machine", default=BUILT_IN, help="profile of this machine; the built-in one if absent")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="cores that all hosts share")
    parser.add_argument("--link", action="append", help="netlab profile or RATE,RTT; several times for several")
    parser.add_argument("--cell", action="append", help="SCHEDULE:DEPTH, several times for several")
    parser.add_argument("--runs", type=int, default=5, help="measured runs, at least as many as are in flight; others come before and after")
    parser.add_argument("--stored", action="store_true", help="fill a store first, and run without the dealer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="where plans and states go for the time being")
    parser.add_argument("--prefix", type=str.split, default=[], help="such as 'chrt -r 1'")
    options = parser.parse_args()
    options.folder = options.folder and os.path.abspath(options.folder)
    for name in ["netlab", "mpcc", "party"]:
        setattr(options, name, os.path.abspath(getattr(options, name)))
    print("| model | link | schedule, in flight | online: predicted / measured | at least | a run: predicted / measured | at least | first output | emulator |")
    print("|---|---|---|---|---|---|---|---|---|")
    links = options.link or ["lan10g", "lan1g", "man", "wan"]
    cells = options.cell or ["sequential:1", "layer:1", "pipelined:1", "pipelined:2", "pipelined:4"]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        machines = {link: profile(options, folder, link) for link in links}
        for model, link, cell in itertools.product(options.models, links, cells):
            model, _, inputs = model.partition(",")
            schedule, depth = cell.split(":")
            online, run, first, relay = measure(options, machines[link], model, inputs, link, schedule, int(depth))
            columns = [os.path.basename(model).removesuffix(".onnx"), link, f"{schedule}, {depth}"]
            for predicted, measured, bound in [online, run]:
                columns += [f"{shown(predicted)} / {shown(measured)}", shown(bound)]
            columns += [f"{first:.0f}", "-" if relay is None else f"{relay:.0%}"]
            print("| " + " | ".join(columns) + " |", flush=True)


if __name__ == "__main__":
    main()
