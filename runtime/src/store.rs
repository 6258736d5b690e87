//! Messages of runs that were dealt ahead, so that a role can serve while the dealer is away.
//!
//! A store belongs to one role and one filling session: it has the role's seed (compute parties only), the
//! messages that it received in the setup phase, and a file per run with those of the offline phase. A run's file is
//! removed when it is taken, after the ledger has recorded the number; so a run is used at most once.
//! The files are as secret as shares: only their owner may read them.

use crate::packet::Packet;
use crate::payload::Payload;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Role};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

const META: &str = "session";
const MAGIC: &[u8; 8] = b"mpccstr1";

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum StoreError {
    #[error("cannot use the store `{path}`; check `state_dir` and its permissions")]
    Io { path: PathBuf, source: io::Error },
    #[error("there is no store in `{path}`; run `mpcc-party fill` at all roles first")]
    Absent { path: PathBuf },
    #[error("`{path}` is damaged; run `mpcc-party fill` again at all roles")]
    Damaged { path: PathBuf },
    #[error(
        "the store `{path}` was filled for another plan or role; run `mpcc-party fill` again at all roles"
    )]
    Other { path: PathBuf },
    #[error("the store has no run {run}; run `mpcc-party fill` again at all roles")]
    Exhausted { run: u64 },
}

/// What identifies a filling session at a role.
pub struct Session {
    /// Identity of the plan file.
    pub plan: [u8; 32],
    /// Whose store it is.
    pub role: Role,
    /// The session's id, the same at all roles.
    pub deployment: [u8; 16],
    /// The seed of a compute party.
    pub seed: Option<Seed>,
    /// The first run.
    pub first: u64,
    /// The number of runs.
    pub count: u64,
}

/// A filled store.
pub struct Store {
    dir: PathBuf,
    session: Session,
    plan: Arc<Plan>,
}

/// A store that is being filled; it replaces an older one when it is complete.
pub struct StoreWriter {
    fresh: PathBuf,
    dir: PathBuf,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

impl StoreWriter {
    /// Starts to fill the store in `state_dir`.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn create(state_dir: &Path) -> Result<Self, StoreError> {
        let (dir, fresh) = (state_dir.join("store"), state_dir.join("store.new"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(io_error(&fresh))?;
        }
        fs::create_dir_all(&fresh).map_err(io_error(&fresh))?;
        Ok(Self { fresh, dir })
    }

    /// Keeps the messages of the setup phase (`None`) or of a run's offline phase.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn put(&self, run: Option<u64>, packets: &[Packet]) -> Result<(), StoreError> {
        let path = self.fresh.join(file_name(run));
        let mut bytes = MAGIC.to_vec();
        for packet in packets {
            bytes.extend_from_slice(&packet.message.to_le_bytes());
            bytes.extend_from_slice(&packet.depth.to_le_bytes());
            bytes.extend_from_slice(&(packet.payload.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&packet.payload);
        }
        write_sealed(&path, bytes).map_err(io_error(&path))
    }

    /// Completes the store: from now on it is the one that [`Store::open`] finds.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn finish(self, session: &Session) -> Result<(), StoreError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&session.plan);
        bytes.extend_from_slice(format!("{:>8}", session.role.to_string()).as_bytes());
        bytes.extend_from_slice(&session.deployment);
        bytes.extend_from_slice(&session.first.to_le_bytes());
        bytes.extend_from_slice(&session.count.to_le_bytes());
        bytes.extend_from_slice(session.seed.as_ref().map_or(&[], |seed| &seed.expose_bytes()[..]));
        let done = write_sealed(&self.fresh.join(META), bytes).and_then(|()| {
            if self.dir.exists() {
                fs::remove_dir_all(&self.dir)?;
            }
            fs::rename(&self.fresh, &self.dir)?;
            self.dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        });
        done.map_err(io_error(&self.dir))
    }
}

impl Store {
    /// Opens the store in `state_dir`, which must be for this plan, whose file has the digest, and role.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with it.
    pub fn open(
        state_dir: &Path,
        plan: &Arc<Plan>,
        digest: [u8; 32],
        role: Role,
    ) -> Result<Self, StoreError> {
        let dir = state_dir.join("store");
        let path = dir.join(META);
        if !path.exists() {
            return Err(StoreError::Absent { path: state_dir.to_owned() });
        }
        let session = parse_session(&read_sealed(&path)?, role);
        let session = session.ok_or_else(|| StoreError::Damaged { path: path.clone() })?;
        if session.plan != digest || session.role != role {
            return Err(StoreError::Other { path: dir });
        }
        Ok(Self { dir, session, plan: Arc::clone(plan) })
    }

    /// The session that filled the store.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The messages of the setup phase.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn setup(&self) -> Result<Vec<Packet>, StoreError> {
        self.read(None)
    }

    /// Takes the messages of a run out of the store. The caller has recorded the number in the ledger.
    ///
    /// # Errors
    /// [`StoreError::Exhausted`] where the run is not or no longer there.
    pub fn take(&self, run: u64) -> Result<Vec<Packet>, StoreError> {
        let packets = self.read(Some(run))?;
        let path = self.dir.join(file_name(Some(run)));
        fs::remove_file(&path).map_err(io_error(&path))?;
        Ok(packets)
    }

    /// Whether the store holds `run`.
    pub fn has(&self, run: u64) -> bool {
        self.dir.join(file_name(Some(run))).exists()
    }

    fn read(&self, run: Option<u64>) -> Result<Vec<Packet>, StoreError> {
        let path = self.dir.join(file_name(run));
        if let (Some(run), false) = (run, path.exists()) {
            return Err(StoreError::Exhausted { run });
        }
        let phase = if run.is_some() { Phase::Offline } else { Phase::Setup };
        let stage = (phase, run.unwrap_or(0));
        let packets = parse_packets(&read_sealed(&path)?, &self.plan, stage, self.session.role);
        packets.ok_or(StoreError::Damaged { path })
    }
}

fn file_name(run: Option<u64>) -> String {
    run.map_or_else(|| "setup".to_owned(), |run| format!("run-{run}"))
}

/// The messages of a phase of `run` for `to`. Senders are not stored, as the plan knows them.
fn parse_packets(
    bytes: &[u8],
    plan: &Plan,
    (phase, run): (Phase, u64),
    to: Role,
) -> Option<Vec<Packet>> {
    let mut rest = bytes;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let message = u32::from_le_bytes(take(&mut rest)?);
        let from = plan.messages.get(message as usize)?.from;
        let depth = u32::from_le_bytes(take(&mut rest)?);
        let len = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
        let (payload, after) = rest.split_at_checked(len)?;
        rest = after;
        let payload = Payload::copy_of(payload);
        packets.push(Packet { from, to, phase, run, message, depth, payload });
    }
    Some(packets)
}

fn parse_session(bytes: &[u8], role: Role) -> Option<Session> {
    let mut rest = bytes;
    let plan = take(&mut rest)?;
    let name: [u8; 8] = take(&mut rest)?;
    let named = std::str::from_utf8(&name).ok()?.trim().parse().ok()?;
    let deployment = take(&mut rest)?;
    let first = u64::from_le_bytes(take(&mut rest)?);
    let count = u64::from_le_bytes(take(&mut rest)?);
    let seed = match (rest.is_empty(), role) {
        (false, Role::Party(_)) => Some(Seed::from_bytes(take(&mut rest)?)),
        (true, _) => None,
        (false, _) => return None,
    };
    rest.is_empty().then_some(Session { plan, role: named, deployment, seed, first, count })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// Writes a file that only its owner may read, with its digest behind it, onto the disk.
fn write_sealed(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
    let mut bytes = Zeroizing::new(bytes);
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// The contents of a sealed file after the magic word.
fn read_sealed(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut read = |mut file: File| {
        // So that it does not grow, and leave behind what it was.
        bytes.reserve(file.metadata()?.len() as usize + 1);
        file.read_to_end(&mut bytes)
    };
    File::open(path).and_then(&mut read).map_err(io_error(path))?;
    let damaged = || StoreError::Damaged { path: path.to_owned() };
    let (content, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*digest) {
        return Err(damaged());
    }
    Ok(content.strip_prefix(MAGIC).ok_or_else(damaged)?.to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpcc_ir::plan::{Message, MessageKind, WeightsMode, Word};

    fn packet(message: u32, run: u64) -> Packet {
        let (from, to) = (Role::Dealer, Role::Party(1));
        let phase = if run == 0 { Phase::Setup } else { Phase::Offline };
        Packet { from, to, phase, run, message, depth: 0, payload: vec![message as u8; 5].into() }
    }

    /// A plan with some messages of the dealer's.
    fn plan() -> Arc<Plan> {
        let (from, to, phase) = (Role::Dealer, Role::Party(1), Phase::Offline);
        let kind = MessageKind::Correction;
        let message = Message { from, to, phase, kind, bytes: 5, round: 0, layer: 0 };
        let messages = vec![message; 4];
        Arc::new(Plan { messages, ..Plan::empty(Word::W32, 2, WeightsMode::Public) })
    }

    fn filled(dir: &Path) {
        let writer = StoreWriter::create(dir).unwrap();
        writer.put(None, &[packet(1, 0), packet(2, 0)]).unwrap();
        writer.put(Some(5), &[packet(3, 5)]).unwrap();
        let seed = Some(Seed::from_bytes([4; 32]));
        let (plan, role, deployment) = ([1; 32], Role::Party(1), [2; 16]);
        writer.finish(&Session { plan, role, deployment, seed, first: 5, count: 1 }).unwrap();
    }

    #[test]
    fn a_run_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let store = Store::open(dir.path(), &plan(), [1; 32], Role::Party(1)).unwrap();
        assert_eq!(store.setup().unwrap(), [packet(1, 0), packet(2, 0)]);
        assert_eq!(store.session().seed.as_ref().unwrap().expose_bytes(), &[4; 32]);
        assert!(store.has(5));
        assert_eq!(store.take(5).unwrap(), [packet(3, 5)]);
        assert!(matches!(store.take(5), Err(StoreError::Exhausted { run: 5 })));
        let again = Store::open(dir.path(), &plan(), [1; 32], Role::Party(1)).unwrap();
        assert!(!again.has(5));
    }

    #[test]
    fn other_plans_roles_and_damage_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = |digest, role| Store::open(dir.path(), &plan(), digest, role).map(|_| ());
        assert!(matches!(open([1; 32], Role::Party(1)), Err(StoreError::Absent { .. })));
        filled(dir.path());
        assert!(matches!(open([9; 32], Role::Party(1)), Err(StoreError::Other { .. })));
        assert!(matches!(open([1; 32], Role::Party(0)), Err(StoreError::Other { .. })));
        let path = dir.path().join("store/run-5");
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 1;
        fs::write(&path, bytes).unwrap();
        let store = Store::open(dir.path(), &plan(), [1; 32], Role::Party(1)).unwrap();
        assert!(matches!(store.take(5), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn an_unfinished_store_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        StoreWriter::create(dir.path()).unwrap().put(Some(1), &[]).unwrap();
        let opened = Store::open(dir.path(), &plan(), [1; 32], Role::Party(1));
        assert!(matches!(opened, Err(StoreError::Absent { .. })));
    }
}
