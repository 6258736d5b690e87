//! Frames that wait to be written: the most urgent leaves first.
//!
//! Somebody waits for what belongs to the online phase of the oldest run; corrections and openings of later runs have
//! time, and weights only matter to runs that have not begun their online phase. Without an order a share for which a
//! client waits would leave behind megabytes that nobody needs yet. Control frames are short and go before all; those of
//! one kind keep their order.

use super::frame::{Frame, HEADER, Header, Kind};
use super::link::Closed;
use crate::payload::Payload;
use mpcc_ir::plan::Phase;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A compute thread that sends waits while more bytes than this of messages of the same phase are queued.
pub const MAX_QUEUED: u64 = 16 << 20;

/// What leaves before what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Control,
    Online,
    /// Offline phases, and the setup that they need, which counts as run 0.
    Offline,
    /// The last words, after which nothing is written.
    Bye,
}

impl Urgency {
    fn of(header: &Header) -> Self {
        match (header.kind, header.phase) {
            (Kind::Data, Phase::Online) => Self::Online,
            (Kind::Data, Phase::Offline | Phase::Setup) => Self::Offline,
            (Kind::Bye, _) => Self::Bye,
            _ => Self::Control,
        }
    }
}

/// A frame that waits to be written, or the end of one.
pub(super) struct Outgoing {
    header: [u8; HEADER],
    /// Bytes of the header that have been written.
    skip: usize,
    /// What has not been written of the payload.
    payload: Payload,
    urgency: Urgency,
}

impl Outgoing {
    fn whole(frame: Frame) -> Self {
        let Frame { header, payload } = frame;
        Self { header: header.bytes(), skip: 0, payload, urgency: Urgency::of(&header) }
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header[self.skip..]
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload is not to be copied.
    pub(super) fn is_seed(&self) -> bool {
        self.header[4] == Kind::Seed as u8
    }

    /// Nothing follows.
    pub(super) fn is_last(&self) -> bool {
        self.urgency == Urgency::Bye
    }

    fn bytes(&self) -> u64 {
        (self.header().len() + self.payload.len()) as u64
    }
}

/// Bytes by urgency.
type Bytes = [u64; Urgency::Bye as usize + 1];

/// What has been taken out of the queue, and is not on the wire yet.
#[derive(Default)]
pub(super) struct Taken(Bytes);

impl Taken {
    pub(super) fn add(&mut self, outgoing: &Outgoing) {
        self.0[outgoing.urgency as usize] += outgoing.bytes();
    }
}

/// The queue of a link.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A frame has come.
    filled: Notify,
    /// Something has been written, or nothing will be any more.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    /// The end of a frame of which the beginning is written.
    begun: Option<Outgoing>,
    /// By urgency, run and number in order of arrival.
    frames: BTreeMap<(Urgency, u64, u64), Outgoing>,
    arrived: u64,
    /// What is not on the wire yet.
    unwritten: Bytes,
    closed: bool,
}

impl State {
    /// Makes room in the books for what is going to be queued.
    fn admit(&mut self, outgoing: &Outgoing) -> Result<(), Closed> {
        if self.closed {
            return Err(Closed);
        }
        self.unwritten[outgoing.urgency as usize] += outgoing.bytes();
        Ok(())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there are too many bytes of an urgency.
    fn lock_with_room(&self, urgency: Urgency) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !state.closed && state.unwritten[urgency as usize] > MAX_QUEUED {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Adds a frame, after a wait while there are too many bytes of its urgency.
    pub(super) fn push_patiently(&self, frame: Frame) -> Result<(), Closed> {
        self.push_into(&mut self.lock_with_room(Urgency::of(&frame.header)), frame)
    }

    /// Adds a frame.
    pub(super) fn push(&self, frame: Frame) -> Result<(), Closed> {
        self.push_into(&mut self.lock(), frame)
    }

    fn push_into(&self, state: &mut State, frame: Frame) -> Result<(), Closed> {
        let run = if frame.header.kind == Kind::Data { frame.header.run } else { 0 };
        let outgoing = Outgoing::whole(frame);
        state.admit(&outgoing)?;
        state.frames.insert((outgoing.urgency, run, state.arrived), outgoing);
        state.arrived += 1;
        self.filled.notify_one();
        Ok(())
    }

    /// Has `write` put a message on the wire, if nothing else waits for it, and adds a copy of the rest. `write` is told
    /// how many bytes of header and payload are written, and says how many more it has; `None` when the wire takes none.
    pub(super) fn push_rest(
        &self,
        header: &Header,
        payload: &[u8],
        mut write: impl FnMut(usize) -> Option<usize>,
    ) -> Result<(), Closed> {
        let (urgency, all) = (Urgency::of(header), HEADER + payload.len());
        let mut state = self.lock_with_room(urgency);
        let (free, mut done) = (!state.closed && state.unwritten == Bytes::default(), 0);
        while free && done < all {
            let Some(written) = write(done) else { break };
            done += written;
        }
        if done == 0 {
            let payload = Payload::copy_of(payload);
            return self.push_into(&mut state, Frame { header: *header, payload });
        }
        if done < all {
            let payload = Payload::copy_of(&payload[done.saturating_sub(HEADER)..]);
            let skip = done.min(HEADER);
            let rest = Outgoing { header: header.bytes(), skip, payload, urgency };
            state.admit(&rest)?;
            state.begun = Some(rest);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes what is to be written next, if there is something. It counts until [`Queue::written`].
    pub(super) fn pop(&self) -> Option<Outgoing> {
        let mut state = self.lock();
        state.begun.take().or_else(|| state.frames.pop_first().map(|(_, frame)| frame))
    }

    /// Takes what is to be written next, as soon as there is something. For one task at a time.
    pub(super) async fn next(&self) -> Outgoing {
        loop {
            if let Some(next) = self.pop() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    /// What was taken is on the wire.
    pub(super) fn written(&self, taken: &mut Taken) {
        let mut state = self.lock();
        for (unwritten, bytes) in state.unwritten.iter_mut().zip(std::mem::take(taken).0) {
            *unwritten -= bytes;
        }
        self.drained.notify_all();
    }

    /// Takes no more frames, and forgets those that it has; whoever waits is told.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.begun = None;
        let forgotten = std::mem::take(&mut state.frames);
        drop(state);
        self.drained.notify_all();
        drop(forgotten);
    }

    /// Bytes that were added and are not on the wire yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.lock().unwritten.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(phase: Phase, run: u64, message: u32, len: u32) -> Header {
        Header { len, kind: Kind::Data, phase, message, depth: 0, run }
    }

    fn data(phase: Phase, run: u64, message: u32, len: u32) -> Frame {
        let payload = vec![0; len as usize].into();
        Frame { header: header(phase, run, message, len), payload }
    }

    /// Takes all frames; their kinds and messages.
    fn drain(queue: &Queue) -> Vec<(Kind, u32)> {
        let described = |next: Outgoing| {
            let bytes = next.header().try_into().expect("a whole frame");
            let header = Header::parse(bytes, u64::MAX).expect("a header");
            let mut taken = Taken::default();
            taken.add(&next);
            queue.written(&mut taken);
            (header.kind, header.message)
        };
        std::iter::from_fn(|| queue.pop()).map(described).collect()
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
        let left = drain(&queue);
        let data = [3, 5, 2, 0, 4, 1].map(|message| (Kind::Data, message));
        assert_eq!(left[..2], [(Kind::Ready, 0), (Kind::Abort, 0)]);
        assert_eq!(left[2..8], data);
        assert_eq!(left[8..], [(Kind::Bye, 0)]);
        assert_eq!(queue.unwritten(), 0);
    }

    #[test]
    fn nothing_comes_between_the_parts_of_a_message() {
        let queue = Queue::default();
        let send = |message, takes: Option<usize>| {
            let mut takes = takes;
            queue.push_rest(&header(Phase::Offline, 1, message, 9), &[7; 9], |_| takes.take())
        };
        // All of it, then the header and one byte, and the next one nothing although the wire would take it.
        send(0, Some(HEADER + 9)).unwrap();
        assert_eq!(queue.unwritten(), 0);
        send(1, Some(HEADER + 1)).unwrap();
        send(2, Some(HEADER + 9)).unwrap();
        queue.push(data(Phase::Online, 1, 3, 1)).unwrap();
        let rest = queue.pop().unwrap();
        assert_eq!((rest.header(), rest.payload()), (&[][..], &[7; 8][..]));
        assert_eq!(drain(&queue), [(Kind::Data, 3), (Kind::Data, 2)]);
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
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!patient.is_finished());
            assert_eq!(drain(&queue)[..2], [(Kind::Data, 2), (Kind::Data, 0)]);
            assert_eq!(patient.join().unwrap(), Ok(()));
        });
        queue.push(data(Phase::Offline, 1, 3, len)).unwrap();
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| queue.push_patiently(data(Phase::Offline, 1, 4, 1)));
            queue.close();
            assert_eq!(patient.join().unwrap(), Err(Closed));
        });
        assert_eq!(queue.push(data(Phase::Online, 1, 5, 1)), Err(Closed));
        assert!(queue.pop().is_none());
    }
}
