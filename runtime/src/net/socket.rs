//! What is asked of the kernel for every connection.
//!
//! Little: buffers are left to the kernel, whose own choice grows with the path and was never short on emulated
//! links; a size of ours would end that. So is congestion control: BBR keeps its rate over a pause, but
//! underestimates it where messages are small (100 kB on 100 Mbit/s and 40 ms: rounds of 82 instead of 57 ms).

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

/// Tells the other end that nothing follows.
pub(super) fn end(stream: &impl AsFd) {
    // It may have hung up, which is an end as well.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// A host that is gone while nothing is on its way to it is noticed after about twice as long.
const SILENCE: Duration = Duration::from_secs(60);

/// Sets a connection's options.
pub(super) fn tune(stream: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // A host that vanishes does not hang up.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 8))?;
    // Small messages are waited for: they must not wait for the acknowledgement of others.
    socket.set_tcp_nodelay(true)
}
