//! Frames that wait to be written: the most urgent leaves first.
//!
//! Somebody waits for what belongs to the online phase of the oldest run; corrections and openings of later runs, and
//! weights, have time. Without an order a share for which a client waits would leave behind megabytes that nobody
//! needs yet. Control frames are short and go before all; those of one kind keep their order.

use super::frame::{Frame, Kind};
use super::link::Closed;
use mpcc_ir::plan::Phase;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A compute thread that sends waits while more bytes than this of messages of the same phase are queued.
const MAX_QUEUED: u64 = 16 << 20;

/// What leaves before what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Control,
    Online,
    Offline,
    Setup,
    /// The last words, after which nothing is written.
    Bye,
}

impl Urgency {
    fn of(frame: &Frame) -> Self {
        match (frame.header.kind, frame.header.phase) {
            (Kind::Data, Phase::Online) => Self::Online,
            (Kind::Data, Phase::Offline) => Self::Offline,
            (Kind::Data, Phase::Setup) => Self::Setup,
            (Kind::Bye, _) => Self::Bye,
            _ => Self::Control,
        }
    }
}

/// The queue of a link.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A frame has come.
    filled: Notify,
    /// A frame has been written, or none will be any more.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    /// By urgency, run and number in order of arrival.
    frames: BTreeMap<(Urgency, u64, u64), Frame>,
    arrived: u64,
    /// Bytes that are not written yet.
    unwritten: BTreeMap<Urgency, u64>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame, after a wait while there are too many bytes of its urgency.
    pub(super) fn push_patiently(&self, frame: Frame) -> Result<(), Closed> {
        let urgency = Urgency::of(&frame);
        let mut state = self.lock();
        while !state.closed && state.unwritten.get(&urgency).is_some_and(|&n| n > MAX_QUEUED) {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.push_into(&mut state, frame)
    }

    /// Adds a frame.
    pub(super) fn push(&self, frame: Frame) -> Result<(), Closed> {
        self.push_into(&mut self.lock(), frame)
    }

    fn push_into(&self, state: &mut State, frame: Frame) -> Result<(), Closed> {
        if state.closed {
            return Err(Closed);
        }
        let urgency = Urgency::of(&frame);
        let run = if frame.header.kind == Kind::Data { frame.header.run } else { 0 };
        *state.unwritten.entry(urgency).or_default() += frame.wire_bytes();
        state.frames.insert((urgency, run, state.arrived), frame);
        state.arrived += 1;
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the most urgent frame, if there is one. Its bytes count until [`Queue::written`].
    pub(super) fn pop(&self) -> Option<Frame> {
        self.lock().frames.pop_first().map(|(_, frame)| frame)
    }

    /// Takes the most urgent frame, as soon as there is one. For one task at a time.
    pub(super) async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.filled.notified().await;
        }
    }

    /// A frame that was taken has been written.
    pub(super) fn written(&self, frame: &Frame) {
        if let Some(bytes) = self.lock().unwritten.get_mut(&Urgency::of(frame)) {
            *bytes = bytes.saturating_sub(frame.wire_bytes());
        }
        self.drained.notify_all();
    }

    /// Takes no more frames; whoever waits is told.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.drained.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::Header;

    fn data(phase: Phase, run: u64, message: u32, len: u32) -> Frame {
        let header = Header { len, kind: Kind::Data, phase, message, depth: 0, run };
        Frame { header, payload: vec![0; len as usize] }
    }

    #[test]
    fn the_most_urgent_frame_leaves_first() {
        use Phase::{Offline, Online, Setup};
        let queue = Queue::default();
        let messages =
            [(Setup, 0), (Offline, 4), (Online, 4), (Online, 3), (Offline, 3), (Online, 3)];
        for (message, (phase, run)) in (0..).zip(messages) {
            queue.push(data(phase, run, message, 1)).unwrap();
            if message == 1 {
                queue.push(Frame::control(Kind::Bye, 9, vec![])).unwrap();
                queue.push(Frame::control(Kind::Ready, 9, vec![])).unwrap();
            }
        }
        queue.push(Frame::control(Kind::Abort, 1, vec![])).unwrap();
        let left: Vec<(Kind, u32)> = std::iter::from_fn(|| queue.pop())
            .map(|frame| (frame.header.kind, frame.header.message))
            .collect();
        let data = [3, 5, 2, 4, 1, 0].map(|message| (Kind::Data, message));
        assert_eq!(left[..2], [(Kind::Ready, 0), (Kind::Abort, 0)]);
        assert_eq!(left[2..8], data);
        assert_eq!(left[8..], [(Kind::Bye, 0)]);
    }

    #[test]
    fn a_sender_waits_for_messages_of_its_phase_only() {
        let queue = Queue::default();
        let len = MAX_QUEUED as u32;
        queue.push_patiently(data(Phase::Offline, 1, 0, len)).unwrap();
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| queue.push_patiently(data(Phase::Offline, 1, 1, 1)));
            // Not held up, whenever the other one comes.
            queue.push_patiently(data(Phase::Online, 1, 2, 1)).unwrap();
            for message in [2, 0] {
                let frame = queue.pop().unwrap();
                assert_eq!(frame.header.message, message);
                queue.written(&frame);
            }
            assert_eq!(patient.join().unwrap(), Ok(()));
        });
        queue.push(data(Phase::Offline, 1, 3, len)).unwrap();
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| queue.push_patiently(data(Phase::Offline, 1, 4, 1)));
            queue.close();
            assert_eq!(patient.join().unwrap(), Err(Closed));
        });
        assert_eq!(queue.push(data(Phase::Online, 1, 5, 1)), Err(Closed));
    }
}
