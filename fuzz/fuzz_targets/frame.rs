//! What comes over a link before anything is known about the other end: frames and hellos.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_runtime::net::frame::{HEADER, Header};
use mpcc_runtime::net::handshake::Hello;
use mpcc_runtime::net::probe::Request;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = bytes.first_chunk().and_then(Request::parse) {
        assert_eq!(bytes[..24], request.bytes());
    }
    if let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() {
        if let Ok(read) = Header::parse(header, 1 << 20) {
            assert_eq!(read.bytes(), *header);
        }
        if let Ok(hello) = Hello::decode(payload) {
            assert_eq!(hello.encode(), payload);
        }
    }
});
