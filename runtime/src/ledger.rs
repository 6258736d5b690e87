//! Run numbers: each is used once, also after a crash and when two processes try.
//!
//! A mask depends on the seed and the run number, so a number that comes twice would use masks
//! twice. The ledger is a file with a number such that it and all above were never used. It is written, and forced
//! to the disk together with its directory, before a number below is handed out; a crash can lose numbers but not
//! repeat one. Several numbers may be recorded at once, since the disk takes longer than a small model's run; those
//! that are left are given back when the ledger is closed. A lock, which the system releases when the process ends,
//! keeps a second process away.

use crate::net::handshake::MAX_RUN;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Why a run number cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum LedgerError {
    #[error("cannot use the directory `{path}`; check `state_dir` and its permissions")]
    Io { path: PathBuf, source: io::Error },
    #[error("another process uses `{path}`; stop it, or give this one another `state_dir`")]
    Busy { path: PathBuf },
    #[error(
        "`{path}` is damaged; masks could repeat, so move the directory away and start a new deployment at all roles"
    )]
    Damaged { path: PathBuf },
    #[error("run {run} has been used already; the next free one is {next}")]
    Used { run: u64, next: u64 },
}

fn io_error(dir: &Path) -> impl Fn(io::Error) -> LedgerError + '_ {
    move |source| LedgerError::Io { path: dir.to_owned(), source }
}

/// The run numbers of one role.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    next: u64,
    /// What the file says: `next`, or more.
    recorded: u64,
    /// Numbers that are recorded at once.
    batch: u64,
    _lock: File,
}

impl Ledger {
    /// Opens or creates the ledger in `dir`, which is created too if absent.
    ///
    /// # Errors
    /// Where another process has it, or it cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let io = io_error(dir);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(&io)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.map_err(&io)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LedgerError::Busy { path: dir.to_owned() },
            TryLockError::Error(source) => io(source),
        })?;
        let mut ledger = Self { dir: dir.to_owned(), next: 1, recorded: 1, batch: 1, _lock: lock };
        // Run 0 stands for the setup phase in frames.
        let next = ledger.read()?.unwrap_or(1);
        (ledger.next, ledger.recorded) = (next, next);
        Ok(ledger)
    }

    /// What the file says, if there is one.
    fn read(&self) -> Result<Option<u64>, LedgerError> {
        let path = self.dir.join("next_run");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&self.dir)(error)),
            Ok(text) => {
                let number = text.strip_suffix('\n').and_then(|n| n.parse().ok());
                let number = number
                    .filter(|n| (1..=MAX_RUN).contains(n))
                    .ok_or(LedgerError::Damaged { path })?;
                Ok(Some(number))
            }
        }
    }

    /// Records so many numbers at once, at least one. A crash loses those that are left, so it is one where a store has
    /// messages for each.
    pub fn record_at_once(&mut self, numbers: u64) {
        self.batch = numbers.max(1);
    }

    /// The lowest number never used.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes `run` and all numbers below it out of use for ever, on the disk when this returns.
    ///
    /// # Errors
    /// [`LedgerError::Used`] for a number that was reserved before; or the disk does not take it, and the number must not be used.
    pub fn reserve(&mut self, run: u64) -> Result<(), LedgerError> {
        let after = run.checked_add(1).filter(|_| run >= self.next);
        let Some(after) = after else {
            return Err(LedgerError::Used { run, next: self.next });
        };
        if after > self.recorded {
            let recorded = run.saturating_add(self.batch);
            self.write(recorded).map_err(io_error(&self.dir))?;
            self.recorded = recorded;
        }
        self.next = after;
        Ok(())
    }

    fn write(&self, next: u64) -> io::Result<()> {
        let (path, fresh) = (self.dir.join("next_run"), self.dir.join("next_run.new"));
        let mut file = File::create(&fresh)?;
        writeln!(file, "{next}")?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Gives numbers back that were recorded and not used.
impl Drop for Ledger {
    fn drop(&mut self) {
        // Another file is somebody else's. If this fails, some numbers are lost, as in a crash.
        if self.recorded > self.next && self.read().is_ok_and(|found| found == Some(self.recorded))
        {
            drop(self.write(self.next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_handed_out_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.next(), 1);
        ledger.reserve(1).unwrap();
        ledger.reserve(4).unwrap();
        for run in [0, 1, 3, 4, u64::MAX] {
            let refused = ledger.reserve(run);
            assert!(matches!(refused, Err(LedgerError::Used { next: 5, .. })), "{run}");
        }
        drop(ledger);
        assert_eq!(Ledger::open(dir.path()).unwrap().next(), 5);
    }

    /// What a process would find that began now.
    fn recorded(dir: &Path) -> String {
        fs::read_to_string(dir.join("next_run")).unwrap()
    }

    #[test]
    fn numbers_are_recorded_before_they_are_used_and_given_back_if_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.record_at_once(8);
        for (run, on_disk) in [(1, "9\n"), (2, "9\n"), (8, "9\n"), (9, "17\n"), (30, "38\n")] {
            ledger.reserve(run).unwrap();
            assert_eq!(recorded(dir.path()), on_disk, "{run}");
        }
        assert!(matches!(ledger.reserve(30), Err(LedgerError::Used { next: 31, .. })));
        drop(ledger);
        assert_eq!(recorded(dir.path()), "31\n");
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.record_at_once(8);
        ledger.reserve(u64::MAX - 2).unwrap();
        assert_eq!(ledger.next(), u64::MAX - 1);
        // A crash.
        std::mem::forget(ledger);
        assert_eq!(recorded(dir.path()), format!("{}\n", u64::MAX));
    }

    #[test]
    fn a_directory_that_is_another_deployments_by_now_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.record_at_once(8);
        ledger.reserve(1).unwrap();
        fs::write(dir.path().join("next_run"), "40\n").unwrap();
        drop(ledger);
        assert_eq!(recorded(dir.path()), "40\n");
    }

    #[test]
    fn a_second_process_is_kept_away() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ledger::open(dir.path()).unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Busy { .. })));
        drop(first);
        assert!(Ledger::open(dir.path()).is_ok());
    }

    #[test]
    fn a_crash_between_writing_and_renaming_repeats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        Ledger::open(dir.path()).unwrap().reserve(7).unwrap();
        fs::write(dir.path().join("next_run.new"), "3").unwrap();
        assert_eq!(Ledger::open(dir.path()).unwrap().next(), 8);
    }

    #[test]
    fn damage_is_refused_rather_than_guessed() {
        for text in ["", "x\n", "0\n", "5", "-1\n", "99999999999999999999\n", "281474976710657\n"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("next_run"), text).unwrap();
            let opened = Ledger::open(dir.path());
            assert!(matches!(opened, Err(LedgerError::Damaged { .. })), "{text:?}");
        }
    }
}
