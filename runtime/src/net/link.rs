//! One connection to another role: a queue of frames out, a task that reads frames in.

use super::frame::{Frame, FrameError, HEADER, Header, Kind};
use super::handshake::{HandshakeError, Hello};
use super::socket;
use crate::executor::{Landing, Unwanted};
use crate::payload::Payload;
use mpcc_ir::plan::Role;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError};

/// A compute thread that sends waits while more bytes than this are queued on the link.
const MAX_QUEUED: u64 = 16 << 20;
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
    queue: UnboundedSender<Frame>,
    queued: Mutex<u64>,
    drained: Condvar,
    closed: AtomicBool,
    sent: AtomicU64,
}

impl Link {
    pub(super) fn new(id: u64, hello: Hello, queue: UnboundedSender<Frame>) -> Self {
        Self {
            id,
            peer: hello.from,
            hello,
            queue,
            queued: Mutex::new(0),
            drained: Condvar::new(),
            closed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        }
    }

    /// Queues a frame; waits while the queue is full. Not for the network thread.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send(&self, frame: Frame) -> Result<(), Closed> {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        while *queued > MAX_QUEUED && !self.is_closed() {
            queued = self.drained.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queued);
        self.send_now(frame)
    }

    /// Queues a frame without waiting.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send_now(&self, frame: Frame) -> Result<(), Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        let bytes = frame.wire_bytes();
        *self.queued.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.queue.send(frame).map_err(|_| Closed)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Bytes queued for this link so far, with headers.
    pub fn wire_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Taking the lock makes sure that a waiting thread sees the flag.
        drop(self.queued.lock().unwrap_or_else(PoisonError::into_inner));
        self.drained.notify_all();
    }

    fn written(&self, bytes: u64) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        *queued = queued.saturating_sub(bytes);
        self.drained.notify_all();
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
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Exchanges hellos on a fresh connection; `own.to` says whom this end expects.
pub(super) async fn shake_hands(
    stream: &mut TcpStream,
    own: &Hello,
    parties: u8,
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
        own.compare(&theirs, parties)?;
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

/// Writes queued frames until a `Bye` has been written or the queue's other end is gone. Dropping this in the
/// middle of a frame breaks the connection, which the other end notices.
///
/// Small frames that are queued at once leave together; a large one leaves with its header and what was
/// gathered before it, not a packet behind them.
pub(super) async fn write_frames(
    link: &Link,
    mut half: OwnedWriteHalf,
    mut queue: UnboundedReceiver<Frame>,
) -> io::Result<()> {
    let mut small = Vec::with_capacity(GATHERED);
    loop {
        let frame = match queue.try_recv() {
            Ok(frame) => frame,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                half.write_all(&small).await?;
                small.clear();
                let Some(frame) = queue.recv().await else { break };
                frame
            }
        };
        small.extend_from_slice(&frame.header.bytes());
        if small.len() + frame.payload.len() <= GATHERED {
            small.extend_from_slice(&frame.payload);
        } else {
            write_both(&mut half, &small, &frame.payload).await?;
            small.clear();
        }
        link.written(frame.wire_bytes());
        if frame.header.kind == Kind::Bye {
            break;
        }
    }
    half.write_all(&small).await?;
    half.shutdown().await
}

/// Writes two slices, one behind the other.
async fn write_both(half: &mut OwnedWriteHalf, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < first.len() {
        let slices = [IoSlice::new(&first[done..]), IoSlice::new(second)];
        match half.write_vectored(&slices).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => done += written,
        }
    }
    half.write_all(&second[done - first.len()..]).await
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
pub(super) async fn read_frame(
    half: &mut OwnedReadHalf,
    data_limit: u64,
    landing: impl FnOnce(&Header) -> Option<Landing>,
) -> Result<Option<Read>, LinkError> {
    let mut header = [0; HEADER];
    let read = half.read(&mut header).await?;
    if read == 0 {
        return Ok(None);
    }
    half.read_exact(&mut header[read..]).await?;
    let header = Header::parse(&header, data_limit)?;
    if header.kind == Kind::Data
        && let Some(landing) = landing(&header)
    {
        land(half, landing).await?;
        return Ok(Some(Read::Landed));
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
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
