//! One connection to another role: a queue of frames out, a task that reads frames in.

use super::frame::{Frame, FrameError, HEADER, Header, Kind};
use super::handshake::{HandshakeError, Hello};
use super::queue::Queue;
use super::socket;
use mpcc_ir::plan::Role;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

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
    sent: AtomicU64,
}

impl Link {
    pub(super) fn new(id: u64, hello: Hello) -> Self {
        Self { id, peer: hello.from, hello, queue: Queue::default(), sent: AtomicU64::new(0) }
    }

    /// Queues a frame; waits while too many of its phase are queued. Not for the network thread.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send(&self, frame: Frame) -> Result<(), Closed> {
        let bytes = frame.wire_bytes();
        self.queue.push_patiently(frame)?;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Queues a frame without waiting.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub fn send_now(&self, frame: Frame) -> Result<(), Closed> {
        let bytes = frame.wire_bytes();
        self.queue.push(frame)?;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Bytes queued for this link so far, with headers.
    pub fn wire_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.queue.close();
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

/// Writes queued frames until a `Bye` has been written. Dropping this in the middle of a frame breaks the connection,
/// which the other end notices.
///
/// Small frames that are queued at once leave together; a large one leaves with its header and what was
/// gathered before it, not a packet behind them.
pub(super) async fn write_frames(link: &Link, mut half: OwnedWriteHalf) -> io::Result<()> {
    let mut small = Vec::with_capacity(GATHERED);
    loop {
        let frame = if let Some(frame) = link.queue.pop() {
            frame
        } else {
            half.write_all(&small).await?;
            small.clear();
            link.queue.next().await
        };
        small.extend_from_slice(&frame.header.bytes());
        if small.len() + frame.payload.len() <= GATHERED {
            small.extend_from_slice(&frame.payload);
        } else {
            write_both(&mut half, &small, &frame.payload).await?;
            small.clear();
        }
        link.queue.written(&frame);
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

/// Reads the next frame; `None` where the other end closed the connection between frames.
pub(super) async fn read_frame(
    half: &mut OwnedReadHalf,
    data_limit: u64,
) -> Result<Option<Frame>, LinkError> {
    let mut header = [0; HEADER];
    let read = half.read(&mut header).await?;
    if read == 0 {
        return Ok(None);
    }
    half.read_exact(&mut header[read..]).await?;
    let header = Header::parse(&header, data_limit)?;
    let mut payload = vec![0; header.len as usize];
    half.read_exact(&mut payload).await?;
    Ok(Some(Frame { header, payload }))
}
