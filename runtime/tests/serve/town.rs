//! A deployment on this machine, one thread per role.

use crate::common::{product_data, product_plan};
use mpcc_ir::codec;
use mpcc_ir::plan::{Plan, Role, Word};
use mpcc_runtime::serve::{
    InferOptions, InferOutcome, Report, ServeError, ServeOptions, StopHandle, serve,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const N: usize = 700;

/// For what must come: a test fails that waits longer, however slow the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Roles that serve, each in a thread of its own.
pub(crate) type Threads = BTreeMap<Role, JoinHandle<Result<Report, ServeError>>>;

/// A deployment on this machine.
pub(crate) struct Town {
    pub(crate) plan: Arc<Plan>,
    pub(crate) digest: [u8; 32],
    pub(crate) peers: BTreeMap<Role, String>,
    pub(crate) listeners: BTreeMap<Role, TcpListener>,
    pub(crate) dir: tempfile::TempDir,
}

impl Town {
    pub(crate) fn new(parties: u8) -> Self {
        Self::with_depth(parties, 1)
    }

    /// With that many runs in flight.
    pub(crate) fn with_depth(parties: u8, depth: u8) -> Self {
        let plan = Plan { depth, ..product_plan(parties, Word::W32, N as u64) };
        let plan = Arc::new(plan);
        let digest = codec::digest(&codec::encode(&plan));
        let mut town = Self {
            plan,
            digest,
            peers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        town.listen();
        town
    }

    pub(crate) fn listen(&mut self) {
        for role in self.plan.compute_parties().chain([Role::Dealer]) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            self.peers.insert(role, listener.local_addr().unwrap().to_string());
            self.listeners.insert(role, listener);
        }
    }

    pub(crate) fn options(&mut self, role: Role) -> ServeOptions {
        let (_, weights, _) = product_data(Word::W32, N);
        ServeOptions {
            role,
            plan: Arc::clone(&self.plan),
            plan_digest: self.digest,
            weights: (role == Role::Owner).then_some(weights),
            listener: self.listeners.remove(&role),
            peers: self.peers.clone(),
            state_dir: self.state_dir(role),
            threads: 1,
            runs: None,
            stored: false,
            fill: None,
            connect_within: PATIENCE,
            stall: Some(PATIENCE),
            trace: None,
            log: Arc::new(|_| ()),
            stop: StopHandle::default(),
        }
    }

    pub(crate) fn state_dir(&self, role: Role) -> PathBuf {
        self.dir.path().join(role.to_string())
    }

    pub(crate) fn roles(&self) -> Vec<Role> {
        self.plan.compute_parties().chain([Role::Dealer, Role::Owner]).collect()
    }

    pub(crate) fn start(&mut self, roles: &[Role], change: impl Fn(&mut ServeOptions)) -> Threads {
        let mut threads = BTreeMap::new();
        for &role in roles {
            let mut options = self.options(role);
            change(&mut options);
            threads.insert(role, std::thread::spawn(move || serve(options)));
        }
        threads
    }

    /// As `start`, with what stops the role `at`.
    pub(crate) fn start_stoppable(&mut self, roles: &[Role], at: Role) -> (Threads, StopHandle) {
        let stop = StopHandle::default();
        let threads = self.start(roles, |options| {
            if options.role == at {
                options.stop = stop.clone();
            }
        });
        (threads, stop)
    }

    pub(crate) fn client(&self, runs: u64) -> InferOptions {
        InferOptions {
            plan: Arc::clone(&self.plan),
            plan_digest: self.digest,
            peers: self.peers.clone(),
            state_dir: self.state_dir(Role::Client),
            stored: false,
            runs,
            keep: None,
            connect_within: PATIENCE,
            stall: Some(PATIENCE),
            trace: None,
            log: Arc::new(|_| ()),
        }
    }
}

/// The input of the only run that these tests know.
pub(crate) fn input() -> Vec<f32> {
    product_data(Word::W32, N).0
}

pub(crate) fn run_numbers(outcome: &InferOutcome) -> Vec<u64> {
    outcome.report.runs.iter().map(|run| run.run).collect()
}

pub(crate) fn check(outcome: &InferOutcome, runs: usize) {
    let (_, _, y) = product_data(Word::W32, N);
    assert_eq!(outcome.outputs.len(), runs);
    for outputs in &outcome.outputs {
        assert_eq!(outputs[0].raw, y);
    }
}

pub(crate) fn join(threads: Threads) -> BTreeMap<Role, Result<Report, ServeError>> {
    threads.into_iter().map(|(role, thread)| (role, thread.join().unwrap())).collect()
}

pub(crate) fn all_are_well(threads: Threads) {
    for (role, report) in join(threads) {
        assert!(report.is_ok(), "{role}: {report:?}");
    }
}
