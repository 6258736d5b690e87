//! The simulated network: every role has one uplink, first come, first served.
//!
//! On long links a sender may not have more bytes under way than TCP trusts the path with; that
//! starts small, grows with what is acknowledged, and shrinks when a connection is idle.

use super::simulate::Nanos;
use crate::cost::Link;
use mpcc_ir::plan::Role;
use std::collections::{BTreeMap, VecDeque};

/// Bytes that Linux sends on a fresh connection before the first acknowledgement.
const FIRST_WINDOW: f64 = 14_480.0;

/// Round trips below this many microseconds are acknowledged before windows matter.
const SHORT_RTT_US: f64 = 5_000.0;

/// Microseconds, besides a round trip, after which an idle connection halves its window.
const IDLE_US: f64 = 200_000.0;

pub(super) struct Network<'a> {
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
    last_us: f64,
}

impl<'a> Network<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self { link, free: BTreeMap::new(), connections: BTreeMap::new(), busy_us: BTreeMap::new() }
    }

    /// When the last byte of a message arrives that is handed to the transport now.
    pub(super) fn send(&mut self, now: Nanos, from: Role, to: Role, bytes: u64) -> Nanos {
        let now_us = now as f64 / 1e3;
        let uplink = self.free.entry(from).or_insert(0.0);
        let start = now_us.max(*uplink);
        let takes = self.link.send_us(bytes);
        *self.busy_us.entry(from).or_insert(0.0) += takes;
        let end = if self.link.one_way_us() * 2.0 < SHORT_RTT_US {
            start + takes
        } else {
            let fresh = || Connection {
                window: FIRST_WINDOW,
                under_way: 0.0,
                acknowledged: VecDeque::new(),
                last_us: start,
            };
            self.connections.entry((from, to)).or_insert_with(fresh).send(start, bytes, self.link)
        };
        *uplink = end;
        ((end + self.link.one_way_us()) * 1e3).round() as Nanos
    }
}

impl Connection {
    /// When the last byte leaves that may leave from `start` on.
    fn send(&mut self, start: f64, bytes: u64, link: &Link) -> f64 {
        let (rtt, rate) = (link.one_way_us() * 2.0, link.bytes_per_us());
        let mut idle = start - self.last_us;
        while idle > IDLE_US + rtt && self.window > FIRST_WINDOW {
            self.window = (self.window / 2.0).max(FIRST_WINDOW);
            idle -= IDLE_US + rtt;
        }
        let (mut now, mut left) = (start, link.send_us(bytes) * rate);
        while left > 0.0 {
            while let Some((_, bytes)) = self.acknowledged.front().filter(|(at, _)| *at <= now) {
                self.under_way -= bytes;
                self.acknowledged.pop_front();
            }
            let room = self.window - self.under_way;
            if room < 1.0 {
                // Growth is for connections that the window holds up.
                let Some((at, bytes)) = self.acknowledged.pop_front() else { break };
                now = now.max(at);
                self.under_way -= bytes;
                self.window += bytes;
                continue;
            }
            let piece = left.min(room);
            now += piece / rate;
            self.under_way += piece;
            self.acknowledged.push_back((now + rtt, piece));
            left -= piece;
        }
        self.last_us = now;
        now
    }
}
