//! What the compiler expects of a plan: for people and reports; nothing that runs depends on it.

use serde::{Deserialize, Serialize};

/// Predicted times, and what they were predicted for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// How computation and communication overlap: sequential, layer or pipelined.
    pub schedule: String,
    /// Name of the link profile.
    pub link: String,
    /// Kernels of the machine profile.
    pub kernels: String,
    /// Payload bytes that the link carries in a microsecond.
    pub bytes_per_us: f64,
    /// Compute threads of each role.
    pub threads: u32,
    /// Processor cores of the one host that all roles share, if they do.
    pub cores: Option<u32>,
    /// Microseconds of the offline phase at the slowest role.
    pub offline_us: f64,
    /// Microseconds from sending the input to the output.
    pub online_us: f64,
    /// Microseconds that the compute threads of the busiest role work online, shared evenly; or all shared cores.
    pub compute_us: f64,
    /// Microseconds that the busiest role's uplink is in use online.
    pub wire_us: f64,
    /// Microseconds that messages travel on the longest chain of openings, with the input and the output.
    pub latency_us: f64,
    /// Microseconds that messages travel on the longest chain of a run, both phases, one after the other.
    pub run_latency_us: f64,
    /// Microseconds that the compute threads of the busiest role work on a run, both phases, shared evenly; or all
    /// shared cores.
    pub run_compute_us: f64,
    /// Microseconds that the busiest role's uplink is in use for a run, both phases.
    pub run_wire_us: f64,
    /// Microseconds from one output to the next in the steady state, with as many runs in flight as the plan says.
    pub run_us: f64,
    /// Microseconds from an input to its output then, the median.
    pub run_online_us: f64,
    /// In how many pieces each layer is computed and sent, and why, by index.
    pub choices: Vec<String>,
}

impl Forecast {
    /// No schedule of the same work can take less.
    pub fn bound_us(&self) -> f64 {
        self.compute_us.max(self.wire_us).max(self.latency_us)
    }

    /// No schedule of the same work can take less for each of many runs, `depth` of them in flight through both phases.
    pub fn bound_us_per_run(&self, depth: u8) -> f64 {
        // What runs cannot do at the same time.
        let shared_us = self.run_compute_us.max(self.run_wire_us);
        shared_us.max(self.bound_us().max(self.run_latency_us) / f64::from(depth))
    }
}
