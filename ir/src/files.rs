//! Files that are either whole or absent: a reader never sees one that is half written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Creates `path` with what `fill` writes: into a temporary file beside it, which is then renamed.
///
/// # Errors
/// Whatever the file system or `fill` reports; `path` is then as it was before.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = beside(path);
    let written = fill_file(&temporary, fill).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error that counts is the first one; a left-over temporary file does no harm.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether [`write_atomically`] can begin at `path`: to be asked before work whose result goes there.
///
/// # Errors
/// The directory is missing or closed, or `path` is a directory itself; nothing is left behind.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let temporary = beside(path);
    File::create(&temporary)?;
    fs::remove_file(&temporary)
}

/// What people read where a file cannot be written.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`; check the directory and the free space", path.display())
}

fn fill_file(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut created = File::create(path)?;
    fill(&mut created)?;
    created.sync_all()
}

/// A name in the same directory, so that the rename stays within one file system.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.plan");
        write_atomically(&path, |f| f.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |f| {
            f.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn asking_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        check_writable(&dir.path().join("a.plan")).unwrap();
        assert!(check_writable(&dir.path().join("none/a.plan")).is_err());
        assert!(check_writable(dir.path()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
