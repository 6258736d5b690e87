//! The plan's file format.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `mpccplan` |
//! | 4 | format version, little-endian |
//! | 32 | BLAKE3 of the payload |
//! | rest | the payload: bincode's standard configuration (little-endian, variable-length integers) |
//!
//! This is the only file that names bincode. Its 2.x line no longer has a maintainer
//! (RUSTSEC-2025-0141), so it is pinned to 2.0.1, and a wire-compatible successor can replace it here.
//! Whatever is read is limited in size before it is decoded, and a decoded plan is verified before
//! anyone sees it.

use crate::files::write_atomically;
use crate::plan::{Plan, PlanError};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Counts incompatible changes of the payload; `CHANGELOG.md` says what each one was.
pub const FORMAT_VERSION: u32 = 3;

/// A file of more bytes than this is refused unread.
pub const MAX_PLAN_BYTES: usize = 128 << 20;

const MAGIC: [u8; 8] = *b"mpccplan";
const HEADER: usize = MAGIC.len() + 4 + blake3::OUT_LEN;

/// Why bytes are not a plan that can be run. Every message says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum CodecError {
    #[error("cannot read the plan; check that the file exists and may be read")]
    Read { source: io::Error },
    #[error("cannot write the plan `{path}`: check the directory and the free space")]
    Write { path: PathBuf, source: io::Error },
    #[error("not a plan: it does not begin with `mpccplan`; give a file that `mpcc compile` wrote")]
    NotAPlan,
    #[error(
        "plan format {found}, but this build reads format {FORMAT_VERSION}: compile the model again with this build, or use the build that wrote the plan"
    )]
    Version { found: u32 },
    #[error("the plan is damaged: its digest does not match its contents; copy the file again")]
    Digest,
    #[error("the plan has {bytes} bytes, more than the limit of {MAX_PLAN_BYTES}")]
    TooLarge { bytes: u64 },
    #[error("the plan's payload does not decode ({reason}); compile the model again")]
    Payload { reason: String },
    #[error("the plan has {bytes} byte(s) after its end; compile the model again")]
    Trailing { bytes: usize },
    #[error("the plan breaks a rule, do not run it: {0}; compile the model again")]
    Rule(#[from] PlanError),
}

/// The bytes of a plan file.
pub fn encode(plan: &Plan) -> Vec<u8> {
    let payload = payload(plan);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(blake3::hash(&payload).as_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

fn payload(plan: &Plan) -> Vec<u8> {
    bincode::serde::encode_to_vec(plan, bincode::config::standard())
        .expect("a plan is plain data, and memory is the only thing that its encoding needs")
}

/// Reads and verifies a plan. Safe on any input: never panics, and needs memory in proportion to
/// the length of `bytes`.
///
/// # Errors
/// Says what is wrong with the bytes, or which rule the plan breaks.
pub fn decode(bytes: &[u8]) -> Result<Plan, CodecError> {
    if bytes.len() > MAX_PLAN_BYTES {
        return Err(CodecError::TooLarge { bytes: bytes.len() as u64 });
    }
    let rest = bytes.strip_prefix(&MAGIC).ok_or(CodecError::NotAPlan)?;
    let (version, rest) = rest.split_first_chunk().ok_or(CodecError::Digest)?;
    let found = u32::from_le_bytes(*version);
    if found != FORMAT_VERSION {
        return Err(CodecError::Version { found });
    }
    let (digest, payload) = rest.split_first_chunk().ok_or(CodecError::Digest)?;
    if blake3::hash(payload) != blake3::Hash::from_bytes(*digest) {
        return Err(CodecError::Digest);
    }
    let plan = decode_payload(payload)?;
    plan.verify()?;
    Ok(plan)
}

/// bincode's limit is a constant and counts decoded bytes, at most eight for each byte of payload.
/// A small payload gets a small limit, so that it cannot ask for a large buffer.
fn decode_payload(payload: &[u8]) -> Result<Plan, CodecError> {
    const SMALL: usize = 64 << 10;
    const MEDIUM: usize = 4 << 20;
    let decoded = if payload.len() <= SMALL {
        decode_within::<{ 8 * SMALL }>(payload)
    } else if payload.len() <= MEDIUM {
        decode_within::<{ 8 * MEDIUM }>(payload)
    } else {
        decode_within::<{ 8 * MAX_PLAN_BYTES }>(payload)
    };
    let (plan, read) = decoded.map_err(|e| CodecError::Payload { reason: e.to_string() })?;
    match payload.len() - read {
        0 => Ok(plan),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

fn decode_within<const LIMIT: usize>(
    payload: &[u8],
) -> Result<(Plan, usize), bincode::error::DecodeError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    bincode::serde::decode_from_slice(payload, config)
}

/// What identifies a plan file: roles compare it before they do anything else.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Reads and verifies the plan in a file; with it, the file's [`digest`].
///
/// # Errors
/// The file cannot be read, or is not a plan that can be run; the caller names the file.
pub fn read_file(path: &Path) -> Result<(Plan, [u8; 32]), CodecError> {
    let bytes = read_bytes(path)?;
    Ok((decode(&bytes)?, digest(&bytes)))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, CodecError> {
    let fail = |source| CodecError::Read { source };
    let file = File::open(path).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    if bytes > MAX_PLAN_BYTES as u64 {
        return Err(CodecError::TooLarge { bytes });
    }
    let mut contents = Vec::with_capacity(bytes as usize);
    // The limit holds even where the file is a pipe or grows while it is read.
    file.take(MAX_PLAN_BYTES as u64 + 1).read_to_end(&mut contents).map_err(fail)?;
    Ok(contents)
}

/// Writes a plan file and returns its identity. The file is whole or absent.
///
/// # Errors
/// The file cannot be written.
pub fn write_file(path: &Path, plan: &Plan) -> Result<[u8; 32], CodecError> {
    let bytes = encode(plan);
    write_atomically(path, |file| file.write_all(&bytes))
        .map_err(|source| CodecError::Write { path: path.to_owned(), source })?;
    Ok(digest(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::small;
    use insta::assert_snapshot;

    fn refusal(bytes: &[u8]) -> String {
        decode(bytes).unwrap_err().to_string()
    }

    /// The bytes with a digest that fits their payload.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let digest = blake3::hash(&bytes[HEADER..]);
        bytes[12..HEADER].copy_from_slice(digest.as_bytes());
        bytes
    }

    #[test]
    fn a_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.plan");
        let identity = write_file(&path, &small()).unwrap();
        assert_eq!(read_file(&path).unwrap().0, small());
        assert_eq!(identity, digest(&encode(&small())));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let bytes = encode(&small());
        assert_snapshot!(refusal(b"PK"), @"not a plan: it does not begin with `mpccplan`; give a file that `mpcc compile` wrote");
        let mut older = bytes.clone();
        older[8] = 1;
        assert_snapshot!(refusal(&older), @"plan format 1, but this build reads format 3: compile the model again with this build, or use the build that wrote the plan");
        let mut flipped = bytes.clone();
        flipped[HEADER] ^= 1;
        assert_snapshot!(refusal(&flipped), @"the plan is damaged: its digest does not match its contents; copy the file again");
        let mut longer = bytes;
        longer.push(0);
        assert_snapshot!(refusal(&sealed(longer)), @"the plan has 1 byte(s) after its end; compile the model again");
    }

    #[test]
    fn a_length_beyond_the_payload_is_refused() {
        let mut bytes = encode(&small());
        // The name's length, as a nine-byte integer of 2^62.
        bytes.splice(HEADER..=HEADER, [253, 0, 0, 0, 0, 0, 0, 0, 0x40]);
        assert_snapshot!(refusal(&sealed(bytes)), @"the plan's payload does not decode (LimitExceeded); compile the model again");
    }

    #[test]
    fn a_missing_file_is_refused() {
        let error = read_file(Path::new("/nowhere/a.plan")).unwrap_err();
        assert_snapshot!(error, @"cannot read the plan; check that the file exists and may be read");
    }
}
