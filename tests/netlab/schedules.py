#!/usr/bin/env python3
"""Predicted and measured times of the three schedules, on links of several kinds.

Each role is a process on a host of its own, made by netlab; needs root. For every model and link it
compiles the model sequential, layer and pipelined, runs it, and prints one row of milliseconds:
the online time as P1 sees it, from the end of its offline phase to its last message.

    tests/netlab/schedules.py --netlab netlab --mpcc target/release/mpcc \\
        --party target/release/mpcc-party --machine machine.toml \\
        --link lan10g --link wan model.onnx[,input.npy] ...
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

PARTY = """
case $NETLAB_PARTY in
0) exec {party} serve --config P0.toml --runs {runs} --json > P0.json ;;
1) exec {party} serve --config P1.toml --runs {runs} --json > P1.json ;;
2) exec {party} serve --config dealer.toml --runs {runs} --json > dealer.json ;;
3) exec {party} infer --config client.toml {inputs} --runs {runs} --json > client.json ;;
esac
"""


def call(command, **options):
    """Runs a command; its output matters only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def write_configs(folder, plan, weights, threads):
    """One file per role; the labs' addresses are always the same."""
    hosts = {"P0": "10.77.0.1:7000", "P1": "10.77.0.2:7000", "dealer": "10.77.0.3:7000"}
    before = {"P0": [], "P1": ["P0"], "dealer": ["P0", "P1"], "client": ["P0", "P1", "dealer"]}
    for role, peers in before.items():
        lines = [f'role = "{role}"', f'plan = "{plan}"', f'state_dir = "{role}.state"']
        if role in hosts:
            lines += ['listen = "0.0.0.0:7000"', f"threads = {threads}"]
        if role == "P0":
            lines.append(f'weights = "{weights}"')
        lines += ["stall_s = 600", "[peers]"]
        lines += [f'{peer} = "{hosts[peer]}"' for peer in peers]
        with open(os.path.join(folder, f"{role}.toml"), "w") as file:
            file.write("\n".join(lines) + "\n")


def measure(options, model, inputs, link, schedule):
    """Predicted, least possible and measured online milliseconds."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        plan = os.path.join(folder, "m.plan")
        command = [options.mpcc, "compile", model, "-o", plan, "--link", link]
        command += ["--schedule", schedule, "--threads", str(options.threads)]
        command += ["--machine", options.machine] if options.machine else []
        command += ["--calibrate", inputs] if inputs else []
        call(command)
        explained = json.loads(call([options.mpcc, "explain", "--json", plan]))
        forecast = explained["forecast"]
        write_configs(folder, plan, plan.replace(".plan", ".weights"), options.threads)
        name = explained["inputs"][0]["name"]
        given = f"-i {name}=@{os.path.abspath(inputs)}" if inputs else ""
        script = PARTY.format(party=options.party, runs=options.runs + 1, inputs=given)
        lab = [options.netlab, "run", "--parties", "4", "--profile", link, "--timeout", "900"]
        call(options.prefix + lab + ["--", "sh", "-c", script], cwd=folder)
        with open(os.path.join(folder, "P1.json")) as file:
            runs = json.load(file)["runs"][1:]
        measured = statistics.median(run["online_s"] for run in runs) * 1e3
        return forecast["online_ms"], forecast["lower_bound_ms"], measured


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx[,INPUT.npy]")
    parser.add_argument("--netlab", required=True)
    parser.add_argument("--mpcc", required=True)
    parser.add_argument("--party", required=True)
    parser.add_argument("--machine", help="profile of this machine")
    parser.add_argument("--link", action="append", help="netlab profile, several times for several")
    parser.add_argument("--schedule", action="append")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="where plans and states go for the time being")
    parser.add_argument("--prefix", type=str.split, default=[], help="such as 'chrt -r 1'")
    options = parser.parse_args()
    for name in ["netlab", "mpcc", "party"]:
        setattr(options, name, os.path.abspath(getattr(options, name)))
    print("| model | link | schedule | predicted ms | measured ms | predicted / measured | at least ms |")
    print("|---|---|---|---|---|---|---|")
    for model in options.models:
        model, _, inputs = model.partition(",")
        for link in options.link or ["lan10g", "lan1g", "wan"]:
            for schedule in options.schedule or ["sequential", "layer", "pipelined"]:
                predicted, bound, measured = measure(options, model, inputs, link, schedule)
                label = os.path.basename(os.path.dirname(os.path.abspath(model)))
                ratio = predicted / measured
                print(f"| {label} | {link} | {schedule} | {predicted:.1f} | {measured:.1f} | {ratio:.2f} | {bound:.1f} |", flush=True)


main()
