//! One connection to another role: a queue of frames out, a task that reads frames in.

use super::frame::{Frame, FrameError, HEADER, Header, Kind};
use super::handshake::{HandshakeError, Hello};
use super::queue::{Queue, Taken};
use super::socket;
use crate::executor::{Landing, Unwanted};
use crate::payload::Payload;
use mpcc_ir::plan::Role;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

/// Frames are gathered up to this many bytes and leave in one call.
const GATHERED: usize = 64 << 10;
/// How long a peer may take for its first frame.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// A link that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// The sending side of a connection.
pub struct Link {
    /// Number of the connection in this process.
    pub id: u64,
    /// Who is at the other end.
    pub peer: Role,
    /// What the other end said of itself.
    pub hello: Hello,
    queue: Queue,
    /// Where to write; `None` when the connection is gone.
    half: Mutex<Option<Arc<OwnedWriteHalf>>>,
    sent: AtomicU64,
    /// Bytes that the task that writes has put on the wire.
    written: AtomicU64,
    /// Most bytes that may wait for a peer that does not read them.
    most_unread: AtomicU64,
    /// The peer does not read.
    gave_up: Notify,
}

impl Link {
    pub(super) fn new(id: u64, hello: Hello, half: &Arc<OwnedWriteHalf>) -> Self {
        let half = Mutex::new(Some(Arc::clone(half)));
        let (queue, sent, written) = (Queue::default(), AtomicU64::new(0), AtomicU64::new(0));
        let (most_unread, gave_up) = (AtomicU64::new(u64::MAX), Notify::new());
        Self { id, peer: hello.from, hello, queue, half, sent, written, most_unread, gave_up }
    }

    /// Gives the link up when more bytes than that wait for the peer to read them.
    pub fn give_up_beyond(&self, bytes: u64) {
        self.most_unread.store(bytes, Ordering::Relaxed);
    }

    /// Waits until more bytes wait for the peer than may.
    pub(super) async fn gave_up(&self) {
        self.gave_up.notified().await;
    }

    /// Queues a frame; waits while too many of its phase are queued. Not for the network thread.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send(&self, frame: Frame) -> Result<(), Closed> {
        self.count(frame.wire_bytes(), || self.queue.push_patiently(frame))
    }

    /// Queues a frame without waiting.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone, or the peer does not read: see [`Link::give_up_beyond`].
    pub fn send_now(&self, frame: Frame) -> Result<(), Closed> {
        if self.unwritten() > self.most_unread.load(Ordering::Relaxed) {
            self.gave_up.notify_one();
            return Err(Closed);
        }
        self.count(frame.wire_bytes(), || self.queue.push(frame))
    }

    /// Sends a message: what the connection takes at once from where it is, if nothing is before it, and a copy of
    /// the rest through the queue, as [`Link::send`]. Not for the network thread.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send_from(&self, header: &Header, payload: &[u8]) -> Result<(), Closed> {
        let bytes = header.bytes();
        let write = |done| {
            // An error is for the thread that writes to find.
            let half = self.half.lock().unwrap_or_else(PoisonError::into_inner);
            try_write_both(half.as_ref()?, &bytes, payload, done).ok()
        };
        self.count((HEADER + payload.len()) as u64, || self.queue.push_rest(header, payload, write))
    }

    /// Counts bytes before `send` queues them: once it has, they may be on the wire, and somebody may ask.
    fn count(&self, bytes: u64, send: impl FnOnce() -> Result<(), Closed>) -> Result<(), Closed> {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        let sent = send();
        if sent.is_err() {
            self.sent.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// Bytes that the task that writes has put on the wire so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes that are queued and not on the wire yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.queue.unwritten()
    }

    /// Bytes queued for this link so far, with headers.
    pub fn wire_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.queue.close();
        *self.half.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why a connection did not come about or ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum LinkError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the other end closed the connection")]
    HungUp,
    #[error("the other end was silent for {} seconds", HELLO_WITHIN.as_secs())]
    Silent,
    #[error("{0}")]
    Unexpected(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Exchanges hellos on a fresh connection; `own.to` says whom this end expects.
pub(super) async fn shake_hands(
    stream: &mut TcpStream,
    own: &Hello,
    partners: &[Role],
) -> Result<Hello, LinkError> {
    socket::tune(stream)?;
    let exchange = async {
        let frame = Frame::control(Kind::Hello, 0, own.encode());
        stream.write_all(&[&frame.header.bytes()[..], &frame.payload].concat()).await?;
        let mut header = [0; HEADER];
        read_start(stream, &mut header).await?;
        let header = Header::parse(&header, 0).map_err(|_| HandshakeError::NotMpcc)?;
        if header.kind != Kind::Hello {
            return Err(HandshakeError::NotMpcc.into());
        }
        let mut payload = vec![0; header.len as usize];
        stream.read_exact(&mut payload).await?;
        let theirs = Hello::decode(&payload)?;
        own.compare(&theirs, partners)?;
        Ok(theirs)
    };
    tokio::time::timeout(HELLO_WITHIN, exchange).await.unwrap_or(Err(LinkError::Silent))
}

async fn read_start(stream: &mut TcpStream, header: &mut [u8]) -> Result<(), LinkError> {
    match stream.read_exact(header).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(LinkError::HungUp),
        Err(error) => Err(error.into()),
    }
}

/// Writes queued frames until a `Bye` has been written. Dropping this in the middle of a frame breaks the connection,
/// which the other end notices.
///
/// Small frames that are queued at once leave together; a large one leaves with its header and what was
/// gathered before it, not a packet behind them. So does a seed: what is gathered is a copy, and is not wiped.
pub(super) async fn write_frames(link: &Link, half: &OwnedWriteHalf) -> io::Result<()> {
    let (mut small, mut taken) = (Vec::with_capacity(GATHERED), Taken::default());
    loop {
        let next = if let Some(next) = link.queue.pop() {
            next
        } else {
            write_both(link, half, &small, &[]).await?;
            link.queue.written(&mut taken);
            small.clear();
            link.queue.next().await
        };
        taken.add(&next);
        small.extend_from_slice(next.header());
        if !next.is_seed() && small.len() + next.payload().len() <= GATHERED {
            small.extend_from_slice(next.payload());
        } else {
            write_both(link, half, &small, next.payload()).await?;
            link.queue.written(&mut taken);
            small.clear();
        }
        if next.is_last() {
            break;
        }
    }
    write_both(link, half, &small, &[]).await?;
    link.queue.written(&mut taken);
    Ok(())
}

/// Writes two slices, one behind the other.
async fn write_both(
    link: &Link,
    half: &OwnedWriteHalf,
    first: &[u8],
    second: &[u8],
) -> io::Result<()> {
    let mut done = 0;
    while done < first.len() + second.len() {
        match try_write_both(half, first, second, done) {
            Ok(written) => {
                done += written;
                link.written.fetch_add(written as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes some of two slices, without the bytes that have been `done`: as many as it returns.
fn try_write_both(
    half: &OwnedWriteHalf,
    first: &[u8],
    second: &[u8],
    done: usize,
) -> io::Result<usize> {
    let (first, second) = match done.checked_sub(first.len()) {
        None => (&first[done..], second),
        Some(done) => (&second[done..], &[][..]),
    };
    match half.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)])? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// What was read.
pub(super) enum Read {
    /// A frame, whole.
    Frame(Frame),
    /// A message that is in its place.
    Landed,
}

/// Reads the next frame; `None` where the other end closed the connection between frames. `landing` tells where the
/// payload of a message goes, if not into the frame.
///
/// `expects` says why the link must be closed where a message should not come: before memory is taken for it.
pub(super) async fn read_frame(
    half: &mut OwnedReadHalf,
    data_limit: u64,
    expects: impl FnOnce(&Header) -> Result<(), String>,
    landing: impl FnOnce(&Header) -> Option<Landing>,
) -> Result<Option<Read>, LinkError> {
    let mut header = [0; HEADER];
    let read = half.read(&mut header).await?;
    if read == 0 {
        return Ok(None);
    }
    half.read_exact(&mut header[read..]).await?;
    let header = Header::parse(&header, data_limit)?;
    if header.kind == Kind::Data {
        expects(&header).map_err(LinkError::Unexpected)?;
        if let Some(landing) = landing(&header) {
            land(half, landing).await?;
            return Ok(Some(Read::Landed));
        }
    }
    let payload = read_payload(half, u64::from(header.len)).await?;
    Ok(Some(Read::Frame(Frame { header, payload })))
}

/// Reads a payload into memory that nobody has cleared before.
async fn read_payload(half: &mut OwnedReadHalf, len: u64) -> Result<Payload, LinkError> {
    let mut payload = Payload::with_room(len as usize);
    let mut rest = half.take(len);
    while rest.limit() > 0 {
        if rest.read_buf(payload.bytes_mut()).await? == 0 {
            return Err(ends_early());
        }
    }
    Ok(payload)
}

/// Reads a payload into its place. When its phase ends before it is there, the rest is read and forgotten.
async fn land(half: &mut OwnedReadHalf, mut landing: Landing) -> Result<(), LinkError> {
    while landing.left() > 0 {
        half.readable().await?;
        match landing.put(|room| half.try_read(room)) {
            Ok(Ok(0)) => return Err(ends_early()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(Unwanted) => return read_payload(half, landing.left()).await.map(drop),
        }
    }
    landing.finish();
    Ok(())
}

fn ends_early() -> LinkError {
    io::Error::new(io::ErrorKind::UnexpectedEof, "early eof").into()
}

#[cfg(test)]
mod tests {
    use super::super::handshake::{Mode, VERSION};
    use super::*;
    use mpcc_ir::plan::Phase;
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::thread;

    /// A connection to a peer that has said `hello` and never reads.
    async fn unread(hello: Hello) -> (Link, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (_, half) = near.into_split();
        (Link::new(0, hello, &Arc::new(half)), far)
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let (from, mode, plan) = (Role::Client, Mode::Live, [0; 32]);
        let hello = Hello { version: VERSION, plan, from, to: None, mode, next_run: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (link, _far) = unread(hello).await;
            let frame = || Frame::control(Kind::Abort, 1, vec![0; 76]);
            assert!((0..50).all(|_| link.send_now(frame()).is_ok()));
            link.give_up_beyond(6000);
            let taken = (0..1000).take_while(|_| link.send_now(frame()).is_ok()).count();
            assert_eq!((taken, link.wire_bytes()), (11, 6100));
            link.gave_up().await;
        });
    }

    const SENDERS: u32 = 3;
    const FRAMES: u32 = 40;

    /// From a few bytes to more than a connection takes at once.
    fn payload(sender: u32, frame: u32) -> Vec<u8> {
        let len = [3, 700, 70_000, 1 << 20][(sender + frame) as usize % 4] + frame as usize;
        vec![(sender * FRAMES + frame) as u8; len]
    }

    fn send_all(link: &Link, sender: u32) {
        for frame in 0..FRAMES {
            let payload = payload(sender, frame);
            let (len, kind, phase, depth) = (payload.len() as u32, Kind::Data, Phase::Online, 0);
            let run = u64::from(sender);
            let header = Header { len, kind, phase, message: frame, depth, run };
            if frame % 5 == 0 {
                link.send(Frame { header, payload: payload.into() }).unwrap();
            } else {
                link.send_from(&header, &payload).unwrap();
            }
        }
    }

    /// What a peer reads that is slow at first.
    fn read_all(listener: &TcpListener) -> Vec<u8> {
        let (mut stream, _) = listener.accept().unwrap();
        thread::sleep(Duration::from_millis(50));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_are_whole_and_in_order_whoever_writes_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reader = thread::spawn(move || read_all(&listener));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (from, mode) = (Role::Dealer, Mode::Live);
        let hello = Hello { version: VERSION, plan: [0; 32], from, to: None, mode, next_run: 1 };
        let sent = runtime.block_on(async {
            let (_incoming, half) = TcpStream::connect(address).await.unwrap().into_split();
            let half = Arc::new(half);
            let link = Arc::new(Link::new(0, hello, &half));
            let own = Arc::clone(&link);
            thread::spawn(move || {
                thread::scope(|scope| {
                    for sender in 0..SENDERS {
                        let link = &*own;
                        scope.spawn(move || send_all(link, sender));
                    }
                });
                own.send(Frame::control(Kind::Bye, 0, vec![])).unwrap();
            });
            write_frames(&link, &half).await.unwrap();
            socket::end((*half).as_ref());
            assert_eq!(link.unwritten(), 0);
            link.wire_bytes()
        });
        let read = reader.join().unwrap();
        assert_eq!(read.len() as u64, sent);
        let (mut rest, mut next) = (&read[..], [0; SENDERS as usize]);
        while let Some((header, after)) = rest.split_first_chunk() {
            let header = Header::parse(header, u64::MAX).unwrap();
            let (bytes, after) = after.split_at(header.len as usize);
            rest = after;
            if header.kind == Kind::Bye {
                break;
            }
            let frame = &mut next[header.run as usize];
            assert_eq!(header.message, *frame);
            assert!(bytes == payload(header.run as u32, *frame));
            *frame += 1;
        }
        assert!(rest.is_empty() && next == [FRAMES; SENDERS as usize]);
    }
}
