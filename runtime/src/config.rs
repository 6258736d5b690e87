//! The configuration file of `mpcc-party`.
//!
//! ```toml
//! role = "P1"                      # P0, P1, .., dealer, owner or client
//! plan = "resnet50.plan"           # paths are relative to this file
//! weights = "resnet50.weights"     # only where the plan says that this role knows them
//! listen = "0.0.0.0:7001"          # compute parties and dealer
//! state_dir = "state"              # run numbers and stored runs; kept for ever, used by one process
//! threads = 1
//! store = false                    # true: run from a store filled by `mpcc-party fill`
//! connect_s = 30
//! stall_s = 120                    # 0: wait for ever
//! [peers]                          # the roles before this one in P0, P1, .., dealer, owner, client
//! P0 = "p0.example:7000"
//! ```

use mpcc_ir::plan::{Plan, Role, WeightsMode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A configuration, with paths made absolute or relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which role.
    pub role: Role,
    /// The plan file.
    pub plan: PathBuf,
    /// The weights file.
    pub weights: Option<PathBuf>,
    /// Where to be called.
    pub listen: Option<String>,
    /// Where run numbers and stores are kept.
    pub state_dir: PathBuf,
    /// Compute threads.
    pub threads: usize,
    /// Whether to run from a store.
    pub store: bool,
    /// Seconds to wait for the other roles to start.
    pub connect_s: u64,
    /// Seconds that a message may be late; 0 for ever.
    pub stall_s: u64,
    /// Addresses.
    pub peers: BTreeMap<Role, String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum ConfigError {
    #[error("cannot read the configuration `{path}`; check the path")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}`: {message}")]
    Toml { path: PathBuf, message: String },
    #[error("`{path}`: `{key}`: {message}")]
    Key { path: PathBuf, key: String, message: String },
    #[error("cannot listen at {address}; stop the process that uses the port, or change `listen`")]
    Listen { address: String, source: io::Error },
    #[error("the plan has {parties} compute parties and no {role}; correct `role` in `{path}`")]
    NoSuchRole { role: Role, parties: u8, path: PathBuf },
    #[error("{role} does not know the weights of this plan; remove `weights` from `{path}`")]
    NeedlessWeights { role: Role, path: PathBuf },
    #[error("{role} must know the weights of this plan; set `weights` in `{path}`")]
    MissingWeights { role: Role, path: PathBuf },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: String,
    plan: PathBuf,
    weights: Option<PathBuf>,
    listen: Option<String>,
    state_dir: Option<PathBuf>,
    #[serde(default = "one")]
    threads: usize,
    #[serde(default)]
    store: bool,
    #[serde(default = "half_a_minute")]
    connect_s: u64,
    #[serde(default = "two_minutes")]
    stall_s: u64,
    #[serde(default)]
    peers: BTreeMap<String, String>,
}

fn one() -> usize {
    1
}

fn half_a_minute() -> u64 {
    30
}

fn two_minutes() -> u64 {
    120
}

/// Most compute threads: more is a slip of the keyboard.
pub const MAX_THREADS: usize = 1024;
/// Longest configuration, in bytes; what is longer is cut, and makes no sense then.
const MAX_BYTES: u64 = 1 << 20;
/// Longest time in seconds: a day.
const MAX_SECONDS: u64 = 86_400;

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what to write.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a configuration; `path` is its file, for messages and relative paths.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].lines().count().max(1));
            let at = line.map_or(String::new(), |line| format!("line {line}: "));
            let message = format!("{at}{}", error.message());
            ConfigError::Toml { path: path.to_owned(), message }
        })?;
        let wrong = |key: &str, message: String| ConfigError::Key {
            path: path.to_owned(),
            key: key.to_owned(),
            message,
        };
        let role = |key: &str, word: &str| word.parse::<Role>().map_err(|e| wrong(key, e));
        let mut peers = BTreeMap::new();
        for (name, address) in &raw.peers {
            if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(wrong(&format!("peers.{name}"), "write \"host:port\"".into()));
            }
            peers.insert(role(&format!("peers.{name}"), name)?, address.clone());
        }
        if !(1..=MAX_THREADS).contains(&raw.threads) {
            return Err(wrong("threads", format!("write 1 to {MAX_THREADS}")));
        }
        for (key, seconds) in [("connect_s", raw.connect_s), ("stall_s", raw.stall_s)] {
            if seconds > MAX_SECONDS {
                return Err(wrong(key, format!("write at most {MAX_SECONDS} seconds")));
            }
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let role = role("role", &raw.role)?;
        let default_state = || PathBuf::from(format!("{role}.state"));
        Ok(Self {
            role,
            plan: base.join(raw.plan),
            weights: raw.weights.map(|weights| base.join(weights)),
            listen: raw.listen,
            state_dir: base.join(raw.state_dir.unwrap_or_else(default_state)),
            threads: raw.threads,
            store: raw.store,
            connect_s: raw.connect_s,
            stall_s: raw.stall_s,
            peers,
        })
    }

    /// Opens the port that others call.
    ///
    /// # Errors
    /// [`ConfigError::Listen`] where it is in use or not this machine's.
    pub fn listener(&self) -> Result<Option<TcpListener>, ConfigError> {
        let bind = |address: &String| {
            let failed = |source| ConfigError::Listen { address: address.clone(), source };
            TcpListener::bind(address).map_err(failed)
        };
        self.listen.as_ref().map(bind).transpose()
    }

    /// Checks that `plan` has this role.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchRole`].
    pub fn check_role(&self, plan: &Plan, path: &Path) -> Result<(), ConfigError> {
        let (role, parties) = (self.role, plan.parties);
        let has = match role {
            Role::Party(b) => b < parties,
            Role::Owner => plan.weights == WeightsMode::Owner,
            Role::Dealer | Role::Client => true,
        };
        if has {
            Ok(())
        } else {
            Err(ConfigError::NoSuchRole { role, parties, path: path.to_owned() })
        }
    }

    /// The weights file, if `plan` gives the weights to this role.
    ///
    /// # Errors
    /// Where the configuration has one and the role should not, or the other way round.
    pub fn weights_file(&self, plan: &Plan, path: &Path) -> Result<Option<&Path>, ConfigError> {
        let (role, path) = (self.role, path.to_owned());
        let knows = match plan.weights {
            WeightsMode::Party0 => role == Role::Party(0),
            WeightsMode::Owner => role == Role::Owner,
            WeightsMode::Public => matches!(role, Role::Party(_) | Role::Dealer),
        };
        let secret = plan.params.iter().any(|param| param.public.is_none());
        match (&self.weights, knows) {
            (Some(_), false) => Err(ConfigError::NeedlessWeights { role, path }),
            (None, true) if secret => Err(ConfigError::MissingWeights { role, path }),
            (weights, _) => Ok(weights.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/mpcc/p1.toml"))
    }

    fn refusal(text: &str) -> String {
        parse(&format!("plan = 'a.plan'\n{text}")).unwrap_err().to_string()
    }

    #[test]
    fn a_short_file_has_defaults_and_relative_paths() {
        let text = "role = 'P1'\nplan = 'a.plan'\nlisten = ':7'\n[peers]\nP0 = 'h:7000'";
        let config = parse(text).unwrap();
        assert_eq!(config.plan, Path::new("/etc/mpcc/a.plan"));
        assert_eq!(config.state_dir, Path::new("/etc/mpcc/P1.state"));
        assert_eq!((config.threads, config.store, config.stall_s), (1, false, 120));
        assert_eq!(config.peers[&Role::Party(0)], "h:7000");
    }

    #[test]
    fn mistakes_are_named_by_key() {
        assert_snapshot!(refusal("role = 'P1'\nthread = 2"), @"`/etc/mpcc/p1.toml`: line 2: unknown field `thread`, expected one of `role`, `plan`, `weights`, `listen`, `state_dir`, `threads`, `store`, `connect_s`, `stall_s`, `peers`");
        assert_snapshot!(refusal("role = 'server'"), @"`/etc/mpcc/p1.toml`: `role`: `server` is not a role: P0, P1, ..., dealer, client or owner");
        assert_snapshot!(refusal("role = 'P1'\nthreads = 0"), @"`/etc/mpcc/p1.toml`: `threads`: write 1 to 1024");
        assert_snapshot!(refusal("role = 'P1'\npeers = { P0 = 'nowhere' }"), @r#"`/etc/mpcc/p1.toml`: `peers.P0`: write "host:port""#);
        assert_snapshot!(refusal("role = 'P1'\npeers = { Q0 = 'h:1' }"), @"`/etc/mpcc/p1.toml`: `peers.Q0`: `Q0` is not a role: P0, P1, ..., dealer, client or owner");
        assert_snapshot!(refusal("listen = ':7'"), @"`/etc/mpcc/p1.toml`: line 1: missing field `role`");
        assert_snapshot!(refusal("role = 'P1'\nstall_s = 1e9"), @"`/etc/mpcc/p1.toml`: line 3: invalid type: floating point `1000000000.0`, expected u64");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap().to_string();
        let config = parse(&format!("role = 'P1'\nplan = 'a'\nlisten = '{address}'")).unwrap();
        let said = config.listener().unwrap_err().to_string();
        assert!(said.starts_with(&format!("cannot listen at {address}; ")), "{said}");
        assert!(
            said.ends_with("stop the process that uses the port, or change `listen`"),
            "{said}"
        );
    }
}
