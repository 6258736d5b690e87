//! `mpcc profile link` against the peer that `mpcc-party echo` runs.

use crate::site::{Site, blur};
use insta::assert_snapshot;
use mpcc_runtime::net::probe;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// The address of something that listens on this host.
fn listening(talk: impl FnOnce(TcpListener) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || talk(listener));
    address
}

fn peer() -> String {
    listening(|listener| probe::serve(&listener, |_| {}))
}

/// What `profile link` says to a peer that sends these bytes and hangs up when it has been answered.
fn refusal(bytes: &'static [u8]) -> String {
    let address = listening(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(bytes).unwrap();
        let _ = stream.read(&mut [0; 16]);
    });
    said(&address)
}

fn said(address: &str) -> String {
    let text = Site::new().refusal(&format!("profile link {address}"));
    text.replace("measuring the round trip\n", "").replace(address, "ADDRESS")
}

#[test]
fn a_measured_link_is_one_to_compile_for() {
    let (site, address) = (Site::new(), peer());
    let text = site.stdout(&format!("profile link {address}"));
    let keys: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(keys[..3], ["name", "mbit_per_s", "rtt_ms"]);
    let said = site.stdout(&format!("profile link {address} -o here.toml"));
    assert_snapshot!(blur(&said).lines().next().unwrap(), @"round trip # ms");
    assert!(said.contains("to the peer") && said.contains("Mbit/s"), "{said}");
    site.stdout("compile m.onnx --calibrate x.npy --link here.toml");
    assert_eq!(site.json("explain m.plan --json")["forecast"]["link"], address);
}

#[test]
fn as_json() {
    let object = Site::new().json(&format!("profile link {} --json", peer()));
    for way in ["to_peer", "from_peer"] {
        assert!(object[way]["payload_mbit_per_s"].as_f64().is_some_and(|rate| rate > 0.0));
    }
    assert!(object["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(object["profile"]["mbit_per_s"].is_f64());
}

#[test]
fn peers_that_do_not_answer() {
    // Nobody can listen at the end of a connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = caller.local_addr().unwrap().to_string();
    assert_snapshot!(said(&closed), @"1: error: cannot reach `ADDRESS`; start `mpcc-party echo --listen` there, or open the port: Connection refused (os error 111)");
    assert_snapshot!(said("nowhere"), @"1: error: `ADDRESS` is no address: give HOST:PORT, as `mpcc-party echo` prints it: invalid socket address");
    assert_snapshot!(refusal(b"SSH-2.0-OpenSSH_9.9\r\n"), @"1: error: what listens at `ADDRESS` is not `mpcc-party echo`; check the port");
    assert_snapshot!(refusal(b""), @"1: error: what listens at `ADDRESS` is not `mpcc-party echo`; check the port");
    assert_snapshot!(refusal(b"mpccLINK\x07\0\0\0\0\0\0\0"), @"1: error: `ADDRESS` measures links by version 7, this build by 1; install the same release at both ends");
    // How the system says it depends on whether the peer has read what it was sent.
    let broke = refusal(b"mpccLINK\x01\0\0\0\0\0\0\0");
    assert!(
        broke.starts_with("1: error: the connection to `ADDRESS` broke; try again: "),
        "{broke}"
    );
    let silent = listening(|listener| drop((listener.accept(), std::thread::park())));
    assert_snapshot!(said(&silent), @"1: error: `ADDRESS` was silent for 10 seconds; it answers one probe at a time, so try again later");
}

#[test]
fn profiles_that_are_none() {
    let site = Site::new();
    let refusal = |text: &str| {
        site.write("l.toml", text.as_bytes());
        site.refusal("compile m.onnx --calibrate x.npy --link l.toml")
    };
    assert_snapshot!(refusal("name = 'a'\nmbit_per_s = 100.0\nrtt_ms = nan"), @"1: error: cannot compile `m.onnx`: `l.toml`: rtt_ms is NaN; measure the link again with `mpcc profile link`");
    assert_snapshot!(refusal("name = 'a'\nmbit_per_s = 0.0\nrtt_ms = 1.0"), @"1: error: cannot compile `m.onnx`: `l.toml`: mbit_per_s is 0; measure the link again with `mpcc profile link`");
    assert_snapshot!(refusal("name = 'a'\nrtt_ms = 1.0").lines().next().unwrap(), @"1: error: cannot compile `m.onnx`: `l.toml` is not a link profile, which has the keys name, mbit_per_s, rtt_ms and perhaps after_idle_kb; give a file that `mpcc profile link` wrote: TOML parse error at line 1, column 1");
    site.write("l.toml", b"name = 'a'\nmbit_per_s = 100.0\nrtt_ms = 1.0\nafter_idle_kb = 64.0");
    site.stdout("compile m.onnx --calibrate x.npy --link l.toml");
    site.copy("l.toml", "office");
    site.stdout("compile m.onnx --calibrate x.npy --link office");
    let refusal =
        |link: &str| site.refusal(&format!("compile m.onnx --calibrate x.npy --link {link}"));
    assert_snapshot!(refusal("none.toml"), @"1: error: cannot compile `m.onnx`: `none.toml` is no link, and there is no such file: give local, lan, lan10g, lan1g, man, wan; a rate and a round trip such as 10gbit,0.2ms, with 1kbit to 10000gbit a second and up to 100s, in kbit, mbit or gbit and us, ms or s; or a file that `mpcc profile link` wrote");
    assert!(refusal("m.onnx").contains(
        "cannot read the link profile `m.onnx`; give a file that `mpcc profile link` wrote"
    ));
    assert!(
        refusal(".").contains(
            "cannot read the link profile `.`; give a file that `mpcc profile link` wrote"
        )
    );
}

#[test]
fn machine_profiles_that_are_none() {
    let site = Site::new();
    site.write("l.toml", b"name = 'a'\nmbit_per_s = 100.0\nrtt_ms = 1.0");
    let refusal = |file: &str| {
        let said = site.refusal(&format!("compile m.onnx --calibrate x.npy --machine {file}"));
        said.replace("1: error: cannot compile `m.onnx`: ", "")
    };
    let said = ["none.toml", "m.onnx", "l.toml", "."].map(refusal);
    assert_snapshot!(said.join("\n"), @"
    there is no profile `none.toml`; `mpcc profile machine -o none.toml` makes one
    `m.onnx` is not a profile of a machine; give a file that `mpcc profile machine` wrote
    `l.toml` is not a profile of a machine; give a file that `mpcc profile machine` wrote
    cannot read the profile `.`; give a file that `mpcc profile machine` wrote: Is a directory (os error 21)
    ");
}
