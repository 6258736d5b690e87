//! The simulated network: every role has one uplink, which carries one message after the other.
//!
//! A sender may not have more bytes under way than TCP trusts the path with. As Linux does it: that window starts
//! small, grows by what is acknowledged as long as it is used, and halves for every timeout that the connection is
//! idle or uses little of it. `rounds`, a program of the tests, compares this with the transport on emulated links.

use super::simulate::Nanos;
use crate::cost::Link;
use mpcc_ir::plan::Role;
use std::collections::{BTreeMap, VecDeque};

/// Bytes that Linux sends on a fresh connection, or after a long pause, before the first acknowledgement.
const FIRST_WINDOW: f64 = 14_480.0;

/// Payload bytes of a packet.
const PACKET: f64 = 1_448.0;

/// Windows are played from this round trip on, in microseconds; on shorter links acknowledgements come before they matter.
/// What a link profile does not say of them, since the round trip is too short to measure it, is as Linux has it.
const LEAST_WINDOW_RTT_US: f64 = 100.0;

/// Microseconds, besides a round trip, after which an idle connection halves its window.
const IDLE_US: f64 = 200_000.0;

/// A window of this many round trips' worth of bytes grows no more: its queue shows in the round trip.
const ENOUGH: f64 = 1.5;

/// All roles' uplinks and connections, and how far they are.
pub struct Network<'a> {
    link: &'a Link,
    /// When each role's uplink is free, in microseconds.
    free: BTreeMap<Role, f64>,
    connections: BTreeMap<(Role, Role), Connection>,
    /// Microseconds that each role's uplink was in use.
    pub(super) busy_us: BTreeMap<Role, f64>,
}

/// What TCP knows of a path in one direction.
struct Connection {
    window: f64,
    under_way: f64,
    /// When bytes are acknowledged, in order.
    acknowledged: VecDeque<(f64, f64)>,
    /// The most bytes under way since all that was sent before has been acknowledged.
    peak: f64,
    /// When that time ends.
    peak_until: f64,
    /// The most bytes under way since the window last held something up or shrank.
    used: f64,
    used_since: f64,
    last_us: f64,
}

impl<'a> Network<'a> {
    /// Hosts of which every two have such a link, and no connection yet.
    pub fn new(link: &'a Link) -> Self {
        Self { link, free: BTreeMap::new(), connections: BTreeMap::new(), busy_us: BTreeMap::new() }
    }

    /// When a role's uplink is free, in nanoseconds.
    pub(super) fn free(&self, role: Role) -> Nanos {
        self.free.get(&role).map_or(0, |us| (us * 1e3).ceil() as Nanos)
    }

    /// When the last byte of a message arrives that is handed to the transport at `now`; both in nanoseconds.
    pub fn send(&mut self, now: Nanos, from: Role, to: Role, bytes: u64) -> Nanos {
        let now_us = now as f64 / 1e3;
        let uplink = self.free.entry(from).or_insert(0.0);
        let start = now_us.max(*uplink);
        let takes = self.link.send_us(bytes);
        *self.busy_us.entry(from).or_insert(0.0) += takes;
        let end = if self.link.rtt_ms * 1e3 < LEAST_WINDOW_RTT_US {
            start + takes
        } else {
            let fresh = || Connection::new(start);
            self.connections.entry((from, to)).or_insert_with(fresh).send(start, bytes, self.link)
        };
        *uplink = end;
        ((end + self.link.one_way_us()) * 1e3).round() as Nanos
    }
}

impl Connection {
    fn new(now: f64) -> Self {
        Self {
            window: FIRST_WINDOW,
            under_way: 0.0,
            acknowledged: VecDeque::new(),
            peak: 0.0,
            peak_until: now,
            used: 0.0,
            used_since: now,
            last_us: now,
        }
    }

    /// When the last byte leaves that may leave from `start` on.
    fn send(&mut self, start: f64, bytes: u64, link: &Link) -> f64 {
        let (rtt, rate) = (link.one_way_us() * 2.0, link.bytes_per_us());
        let enough = rate * rtt * ENOUGH;
        while self.acknowledged.front().is_some_and(|(at, _)| *at <= start) {
            self.acknowledge(enough);
        }
        self.rest(start, link);
        let (mut now, mut left) = (start, link.send_us(bytes) * rate);
        while left > 0.0 {
            while self.acknowledged.front().is_some_and(|(at, _)| *at <= now) {
                self.acknowledge(enough);
            }
            let room = self.window - self.under_way;
            if room < 1.0 {
                let Some((at, _)) = self.acknowledged.front() else { break };
                now = now.max(*at);
                (self.used, self.used_since) = (0.0, now);
                continue;
            }
            // As many packets at a time as keeps the simulation quick.
            let piece = left.min(room).min((self.window / 8.0).max(2.0 * PACKET));
            now += piece / rate;
            self.leave(now, piece, rtt);
            left -= piece;
        }
        self.last_us = now;
        now
    }

    /// Puts bytes on the way that have left by now.
    fn leave(&mut self, now: f64, bytes: f64, rtt: f64) {
        self.under_way += bytes;
        self.acknowledged.push_back((now + rtt, bytes));
        if now >= self.peak_until || self.under_way > self.peak {
            (self.peak, self.peak_until) = (self.under_way, now + rtt);
        }
        self.used = self.used.max(self.under_way);
    }

    /// Takes the next acknowledgement; the window grows by it while less than half of it is idle.
    fn acknowledge(&mut self, enough: f64) {
        let Some((_, bytes)) = self.acknowledged.pop_front() else { return };
        self.under_way -= bytes;
        if self.window < enough && self.window < self.peak * 2.0 {
            self.window += bytes;
        }
    }

    /// What a pause, or a long time of small messages, does to the window.
    fn rest(&mut self, now: f64, link: &Link) {
        let timeout = IDLE_US + link.one_way_us() * 2.0;
        let least = link.after_idle_kb.map_or(FIRST_WINDOW, |kb| kb * 1e3);
        let mut idle = now - self.last_us;
        while idle > timeout && self.window > least {
            self.window = (self.window / 2.0).max(least);
            idle -= timeout;
        }
        if now - self.used_since > timeout {
            let used = self.used.max(least);
            self.window = self.window.min(self.window.midpoint(used));
            (self.used, self.used_since) = (0.0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds that messages of these bytes take, each sent a pause in milliseconds after the one before has come.
    fn times(link: &Link, messages: &[(u64, u64)]) -> Vec<f64> {
        let (mut network, mut now) = (Network::new(link), 0);
        let mut send = |(pause_ms, bytes): &(u64, u64)| {
            let start = now + pause_ms * 1_000_000;
            now = network.send(start, Role::Party(0), Role::Party(1), *bytes);
            ((now - start) as f64 / 1e5).round() / 10.0
        };
        messages.iter().map(&mut send).collect()
    }

    fn wan() -> Link {
        "wan".parse().unwrap()
    }

    #[test]
    fn a_fresh_connection_starts_slowly() {
        // 14 kB leave at once, 29 kB a round trip later, the rest another one later; then the window is large enough.
        assert_eq!(times(&wan(), &[(0, 10_000)]), [20.8]);
        assert_eq!(times(&wan(), &[(0, 100_000), (40, 100_000)]), [105.2, 28.3]);
    }

    #[test]
    fn a_pause_makes_it_start_again() {
        let warm = (0, 1_000_000);
        let after = |pause_ms| times(&wan(), &[warm, warm, (pause_ms, 100_000)])[2];
        assert_eq!([100, 700, 5_000].map(after), [28.3, 28.3, 105.2]);
    }

    #[test]
    fn a_measured_window_is_what_is_left_after_a_pause() {
        let link = |kb| Link { after_idle_kb: Some(kb), ..wan() };
        let messages = [(0, 1_000_000), (5_000, 100_000)];
        assert_eq!(
            [14.48, 29.0, 1_000.0].map(|kb| times(&link(kb), &messages)[1]),
            [105.2, 101.7, 28.3]
        );
    }

    #[test]
    fn windows_do_not_matter_on_short_links() {
        let lan = "10gbit,0.03ms".parse().unwrap();
        assert_eq!(times(&lan, &[(0, 10_000_000)]), [8.3]);
    }
}
