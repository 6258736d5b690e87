//! What a link between two hosts is like.

use mpcc_runtime::net::probe::{AfterIdle, Measured};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Rate and delay of every link between two roles.
///
/// A host's uplink is shared by all that it sends; each direction has its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What the user calls it.
    pub name: String,
    /// Megabits per second, as the hardware counts them.
    pub mbit_per_s: f64,
    /// Milliseconds to the other host and back.
    pub rtt_ms: f64,
    /// Kilobytes that leave at once after a long pause, from where TCP's window grows again; what Linux has
    /// without settings of its own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_idle_kb: Option<f64>,
}

/// Megabits per second of the slowest and the fastest link, and milliseconds of the longest round trip.
const RATES: (f64, f64) = (1e-3, 1e7);
const LONGEST_RTT_MS: f64 = 1e5;

/// Part of the rate that is left for payload: a packet of 1,500 bytes carries 1,448.
const PAYLOAD: f64 = 0.965;

/// Bytes of a frame's header.
const FRAME: u64 = mpcc_runtime::net::frame::HEADER as u64;

/// Links by name: megabits per second and milliseconds.
const NAMED: [(&str, f64, f64); 6] = [
    ("local", 20_000.0, 0.0),
    ("lan", 10_000.0, 0.03),
    ("lan10g", 10_000.0, 0.2),
    ("lan1g", 1_000.0, 1.0),
    ("man", 1_000.0, 10.0),
    ("wan", 100.0, 40.0),
];

/// Why a link cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum LinkError {
    #[error(
        "`{text}` is no link, and there is no such file: give {}; a rate and a round trip such as 10gbit,0.2ms, with 1kbit \
         to 10000gbit a second and up to 100s, in kbit, mbit or gbit and us, ms or s; or a file that `mpcc profile link` wrote",
        Link::names().join(", ")
    )]
    Unknown { text: String },
    #[error("cannot read the link profile `{path}`; give a file that `mpcc profile link` wrote")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "`{path}` is not a link profile, which has the keys name, mbit_per_s, rtt_ms and perhaps after_idle_kb; give a file \
         that `mpcc profile link` wrote"
    )]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("`{path}`: {key} is {value}; measure the link again with `mpcc profile link`")]
    Value { path: PathBuf, key: &'static str, value: f64 },
    #[error("cannot write the link profile")]
    Write { source: Box<toml::ser::Error> },
}

impl Link {
    /// Microseconds that a message of `bytes` occupies the sender, with its header.
    pub fn send_us(&self, bytes: u64) -> f64 {
        (bytes + FRAME) as f64 / self.bytes_per_us()
    }

    /// Payload bytes per microsecond.
    pub fn bytes_per_us(&self) -> f64 {
        self.mbit_per_s / 8.0 * PAYLOAD
    }

    /// Microseconds from one host to the other.
    pub fn one_way_us(&self) -> f64 {
        self.rtt_ms * 500.0
    }

    /// The links that have a name.
    pub fn names() -> [&'static str; 6] {
        NAMED.map(|(name, ..)| name)
    }

    /// A name, or a rate and a round trip, or a file.
    ///
    /// # Errors
    /// [`LinkError`] where it is none of them.
    pub fn open(text: &str) -> Result<Self, LinkError> {
        let path = Path::new(text);
        match text.parse() {
            Err(LinkError::Unknown { .. }) if path.exists() => Self::read(path),
            known => known,
        }
    }

    /// Whether a new profile may have this place: nothing is there, or a profile of a link.
    pub fn may_replace(path: &Path) -> bool {
        super::is_free_or_has(path, "mbit_per_s")
    }

    fn read(path: &Path) -> Result<Self, LinkError> {
        let own = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|source| LinkError::Read { path: own(), source })?;
        let link: Self = toml::from_str(&text)
            .map_err(|source| LinkError::Parse { path: own(), source: Box::new(source) })?;
        let wrong = [
            ("mbit_per_s", link.mbit_per_s, RATES),
            ("rtt_ms", link.rtt_ms, (0.0, LONGEST_RTT_MS)),
            ("after_idle_kb", link.after_idle_kb.unwrap_or(1.0), (f64::MIN_POSITIVE, f64::MAX)),
        ]
        .into_iter()
        .find(|(_, value, (least, most))| !(least..=most).contains(&value));
        match wrong {
            None => Ok(link),
            Some((key, value, _)) => Err(LinkError::Value { path: own(), key, value }),
        }
    }

    /// What was measured, by the name of the other end. Both directions are taken to be as the slower one.
    pub fn measured(name: &str, measured: &Measured) -> Self {
        let [up, down] = measured.bytes_per_s;
        let window_kb = |(window, rate): (&AfterIdle, f64)| match window {
            AfterIdle::Unknown => None,
            AfterIdle::Window(bytes) => Some(*bytes as f64 / 1e3),
            // What two round trips carry holds nothing up.
            AfterIdle::Open => Some(rate * measured.rtt_us / 1e6 * 2.0 / 1e3),
        };
        let windows = measured.after_idle.iter().zip([up, down]).filter_map(window_kb);
        Self {
            name: name.to_owned(),
            mbit_per_s: rounded(up.min(down) * 8.0 / PAYLOAD / 1e6),
            rtt_ms: rounded(measured.rtt_us / 1e3),
            after_idle_kb: windows.reduce(f64::min).map(rounded),
        }
    }

    /// The text of a profile.
    ///
    /// # Errors
    /// Where a number cannot be written.
    pub fn to_toml(&self) -> Result<String, LinkError> {
        toml::to_string(self).map_err(|source| LinkError::Write { source: Box::new(source) })
    }
}

/// To four digits: a measurement has no more.
fn rounded(value: f64) -> f64 {
    let scale = 10_f64.powi(3 - value.abs().max(1e-9).log10().floor() as i32);
    (value * scale).round() / scale
}

impl Default for Link {
    fn default() -> Self {
        let (name, mbit_per_s, rtt_ms) = NAMED[1];
        Self { name: name.to_owned(), mbit_per_s, rtt_ms, after_idle_kb: None }
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let named = NAMED.iter().find(|(name, ..)| *name == text);
        let values = named.map(|(_, rate, rtt)| (*rate, *rtt)).or_else(|| numbers(text));
        let (mbit_per_s, rtt_ms) =
            values.ok_or_else(|| LinkError::Unknown { text: text.to_owned() })?;
        Ok(Self { name: text.to_owned(), mbit_per_s, rtt_ms, after_idle_kb: None })
    }
}

/// `10gbit,0.2ms` in megabits per second and milliseconds.
fn numbers(text: &str) -> Option<(f64, f64)> {
    let (rate, rtt) = text.split_once(',')?;
    let rate = with_unit(rate, &[("gbit", 1e3), ("mbit", 1.0), ("kbit", 1e-3)])?;
    let rtt = with_unit(rtt, &[("ms", 1.0), ("us", 1e-3), ("s", 1e3)])?;
    let known = (RATES.0..=RATES.1).contains(&rate) && rtt <= LONGEST_RTT_MS;
    known.then_some((rate, rtt))
}

fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    let value: f64 = digits.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value * scale)
}
