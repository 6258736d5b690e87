//! What is asked of the kernel for every connection.

use socket2::SockRef;
use std::io;
use std::os::fd::AsFd;

/// Sets a connection's options.
pub(super) fn tune(stream: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // Small messages are waited for: they must not wait for the acknowledgement of others.
    socket.set_tcp_nodelay(true)
}
