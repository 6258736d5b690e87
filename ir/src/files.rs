//! Files that are either whole or absent: a reader never sees one that is half written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use tempfile::{Builder, NamedTempFile};

/// Creates `path`, which everybody may read that the system lets, with what `fill` writes: into a temporary file beside
/// it, which is then renamed.
///
/// # Errors
/// Whatever the file system or `fill` reports; `path` is then as it was before.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    write(path, 0o666, fill)
}

/// As [`write_atomically`], for what only the owner of the file may read.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_secret(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    write(path, 0o600, fill)
}

fn write(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = beside(path, mode)?;
    fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// Whether [`write_atomically`] can begin at `path`: to be asked before work whose result goes there.
///
/// # Errors
/// The directory is missing or closed, or `path` is a directory itself; nothing is left behind.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    beside(path, 0o600)?.close()
}

/// What people read where a file cannot be written.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`; check the directory and the free space", path.display())
}

/// The directory of a file.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file in the same directory, so that the rename stays within one file system, by a name that nobody can guess.
fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut prefix = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    prefix.push(".");
    let mut system = None;
    let create = |path: &Path| {
        let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        created.inspect_err(|error| system = error.raw_os_error())
    };
    let made = Builder::new().prefix(&prefix).suffix(".tmp").make_in(folder(path), create);
    // As the system says it, without the name of a file that nobody has heard of.
    made.map_err(|error| system.map_or(error, io::Error::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_are_for_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let mode =
            |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        write_secret(&dir.path().join("a.weights"), |f| f.write_all(b"secret")).unwrap();
        write_atomically(&dir.path().join("a.plan"), |f| f.write_all(b"public")).unwrap();
        fs::write(dir.path().join("as.usual"), b"").unwrap();
        assert_eq!((mode("a.weights"), mode("a.plan")), (0o600, mode("as.usual")));
    }

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
