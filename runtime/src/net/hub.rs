//! All connections of a process: accepts and makes them, checks who is there, and moves frames.
//!
//! One thread runs everything here. What frames mean is the business of a [`Receiver`].

use super::frame::{Frame, Header, Kind};
use super::handshake::{HandshakeError, Hello};
use super::link::{Link, LinkError, Read, read_frame, shake_hands, write_frames};
use super::socket;
use crate::executor::Landing;
use mpcc_ir::plan::Role;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// What a process does with its links. Called on the network thread, so it must not block.
pub trait Receiver: Send + Sync + 'static {
    /// A role has passed the handshake.
    ///
    /// # Errors
    /// Why it is not wanted; it is told so.
    fn joined(&self, link: &Arc<Link>) -> Result<(), String>;
    /// A message is about to be read.
    ///
    /// # Errors
    /// Why it should not come; the link is closed, and the other end told so.
    fn expects(&self, link: &Arc<Link>, header: &Header) -> Result<(), String> {
        let _ = (link, header);
        Ok(())
    }
    /// Where the payload of a message goes that is about to be read; `None` where it should come with its frame.
    fn landing(&self, link: &Arc<Link>, header: &Header) -> Option<Landing> {
        let _ = (link, header);
        None
    }
    /// A frame has come.
    ///
    /// # Errors
    /// Why the link must be closed; the other end is told so.
    fn frame(&self, link: &Arc<Link>, frame: Frame) -> Result<(), String>;
    /// Whether frames of data from `peer` should wait on the network: there is no room for more of them now.
    fn is_full(&self, peer: Role) -> bool {
        let _ = peer;
        false
    }
    /// A link is gone.
    fn closed(&self, link: &Arc<Link>, why: &str);
    /// A handshake failed; `called` is whom this process had called.
    fn refused(&self, called: Option<Role>, error: &HandshakeError);
    /// A role could not be reached in time.
    fn unreachable(&self, role: Role, address: &str, why: &str);
}

/// How to reach the others and what to tell them.
pub struct HubOptions {
    /// What this process says of itself.
    pub hello: Hello,
    /// The roles that have a part in the session: others are refused.
    pub partners: Vec<Role>,
    /// Longest message of the plan for this role.
    pub data_limit: u64,
    /// Where others call, if they do.
    pub listener: Option<TcpListener>,
    /// Whom to call, and where.
    pub connect: BTreeMap<Role, String>,
    /// How long to try.
    pub connect_within: Duration,
}

/// However slowly somebody reads.
const LONGEST_FAREWELL: Duration = Duration::from_mins(10);

/// Connections that may be in the middle of their handshake.
const MOST_STRANGERS: usize = 128;

/// The last words on every link: the first run not finished, and why, if something went wrong.
type Farewell = (u64, String);

/// The running network thread. Dropping it closes all links.
pub struct Hub {
    shared: Arc<Shared>,
    stop: watch::Sender<Option<Farewell>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    hello: Hello,
    partners: Vec<Role>,
    data_limit: u64,
    receiver: Arc<dyn Receiver>,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    next_id: AtomicU64,
    closed_bytes: AtomicU64,
    /// What is said to whoever comes while the links end.
    farewell: OnceLock<Farewell>,
}

impl Hub {
    /// Starts the network thread.
    ///
    /// # Errors
    /// Where the system gives no thread or no event queue.
    pub fn start(options: HubOptions, receiver: Arc<dyn Receiver>) -> io::Result<Self> {
        let HubOptions { hello, partners, data_limit, listener, connect, connect_within } = options;
        let shared = Arc::new(Shared {
            hello,
            partners,
            data_limit,
            receiver,
            links: Mutex::default(),
            next_id: AtomicU64::new(0),
            closed_bytes: AtomicU64::new(0),
            farewell: OnceLock::new(),
        });
        let (stop, stopped) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        let own = Arc::clone(&shared);
        let body = async move {
            if let Some(listener) = listener {
                tokio::spawn(accept(Arc::clone(&own), listener));
            }
            for (role, address) in connect {
                tokio::spawn(call(Arc::clone(&own), role, address, connect_within));
            }
            let mut stopped = stopped;
            // An error means that the hub was dropped, which stops it as well.
            let words = match stopped.wait_for(Option::is_some).await {
                Ok(words) => words.clone().unwrap_or_default(),
                Err(_) => Farewell::default(),
            };
            own.farewell(&words).await;
            own.links().values().for_each(|link| link.close());
        };
        let spawn = std::thread::Builder::new().name("mpcc-net".into());
        let thread = spawn.spawn(move || runtime.block_on(body))?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// Bytes sent on all links so far, with headers.
    pub fn wire_bytes(&self) -> u64 {
        let links = self.shared.links();
        let open: u64 = links.values().map(|link| link.wire_bytes()).sum();
        open + self.shared.closed_bytes.load(Ordering::Relaxed)
    }

    /// Says goodbye on all links, waits until what is queued has been written, and ends the thread.
    /// `next_run` is the first run that this role has not finished; `why` is empty for an orderly end.
    pub fn shut_down(&mut self, next_run: u64, why: &str) {
        let _ = self.stop.send(Some((next_run, why.to_owned())));
        if let Some(thread) = self.thread.take() {
            // A panic of the network thread has been printed; there is nothing left to do here.
            let _ = thread.join();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shut_down(0, "");
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every link and gives their queues time to drain.
    async fn farewell(&self, words: &Farewell) {
        let (_, why) = self.farewell.get_or_init(|| words.clone());
        self.links().values().for_each(|link| say_farewell(link, words));
        // Who reads the last words closes the link. After an error the other end may not read any more.
        let patience = Duration::from_secs(if why.is_empty() { 20 } else { 2 });
        let (start, mut since, mut most) = (Instant::now(), Instant::now(), 0);
        loop {
            let written = self.links().values().map(|link| link.written()).sum();
            if written > most {
                (since, most) = (Instant::now(), written);
            }
            let over = since.elapsed() >= patience || start.elapsed() >= LONGEST_FAREWELL;
            if over || self.links().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Serves one connection that has passed the handshake until it ends.
    async fn serve(self: Arc<Self>, stream: TcpStream, hello: Hello) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (mut incoming, outgoing) = stream.into_split();
        let outgoing = Arc::new(outgoing);
        let link = Arc::new(Link::new(id, hello, &outgoing));
        self.links().insert(id, Arc::clone(&link));
        if let Some(words) = self.farewell.get() {
            say_farewell(&link, words);
        }
        let written = {
            let link = Arc::clone(&link);
            tokio::spawn(async move {
                let _ = write_frames(&link, &outgoing).await;
                socket::end((*outgoing).as_ref());
                link.close();
            })
        };
        let why = match self.receiver.joined(&link) {
            Ok(()) => tokio::select! {
                end = self.read(&link, &mut incoming) => end,
                () = link.gave_up() => Err("it does not read what it is sent".into()),
            },
            Err(why) => Err(why),
        };
        let words = why.as_ref().err().map_or(vec![], |why| last_words(why));
        let _ = link.send_now(Frame::control(Kind::Bye, u64::MAX, words));
        self.receiver.closed(&link, why.as_ref().err().map_or("it closed the connection", |w| w));
        let _ = tokio::time::timeout(Duration::from_secs(10), written).await;
        link.close();
        self.closed_bytes.fetch_add(link.wire_bytes(), Ordering::Relaxed);
        self.links().remove(&id);
    }

    async fn read(
        &self,
        link: &Arc<Link>,
        reads: &mut tokio::net::tcp::OwnedReadHalf,
    ) -> Result<(), String> {
        loop {
            while self.receiver.is_full(link.peer) {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            let expects = |header: &Header| self.receiver.expects(link, header);
            let landing = |header: &Header| self.receiver.landing(link, header);
            match read_frame(reads, self.data_limit, expects, landing).await {
                Ok(Some(Read::Landed)) => {}
                Ok(Some(Read::Frame(frame))) => {
                    let last = frame.header.kind == Kind::Bye;
                    self.receiver.frame(link, frame)?;
                    if last {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// What went wrong inside is for those who run the session, not for its clients.
fn say_farewell(link: &Link, (next_run, why): &Farewell) {
    let for_clients = if why.is_empty() { "" } else { "it had to end; its log says why" };
    let why = if link.peer == Role::Client { for_clients } else { why };
    let _ = link.send_now(Frame::control(Kind::Bye, *next_run, last_words(why)));
}

fn last_words(why: &str) -> Vec<u8> {
    let bytes = why.as_bytes();
    bytes[..bytes.len().min(512)].to_vec()
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MOST_STRANGERS));
    loop {
        // Who does not say hello soon leaves its place to others.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of file handles, most likely: try again when some have been given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let met = shake_hands(&mut stream, &shared.hello, &shared.partners).await;
            drop(place);
            match met {
                Ok(theirs) => shared.serve(stream, theirs).await,
                Err(LinkError::Handshake(error)) => shared.receiver.refused(None, &error),
                // Someone who said nothing of use: a port scan, or a peer that gave up.
                Err(_) => {}
            }
        });
    }
}

async fn call(shared: Arc<Shared>, role: Role, address: String, within: Duration) {
    let hello = Hello { to: Some(role), ..shared.hello };
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let error = match try_call(&address, &hello, &shared.partners).await {
            Ok((stream, theirs)) => return shared.serve(stream, theirs).await,
            Err(LinkError::Handshake(error)) => return shared.receiver.refused(Some(role), &error),
            Err(error) => error,
        };
        if start.elapsed() >= within {
            return shared.receiver.unreachable(role, &address, &error.to_string());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

async fn try_call(
    address: &str,
    hello: &Hello,
    partners: &[Role],
) -> Result<(TcpStream, Hello), LinkError> {
    let connect = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address));
    let mut stream = connect.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let theirs = shake_hands(&mut stream, hello, partners).await?;
    Ok((stream, theirs))
}
