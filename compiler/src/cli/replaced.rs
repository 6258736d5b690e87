//! Refuses outputs that would take the place of what a command reads, or of each other, before the work begins.

use anyhow::bail;
use mpcc_ir::files::folder;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file of a command: what it is to it, in the words of an error, and its path.
pub(crate) type Named<'a> = (&'a str, &'a Path);

/// Refuses outputs of which one is the file of another, or of something in `kept`, by whatever path.
pub(crate) fn check_apart(outputs: &[Named<'_>], kept: &[Named<'_>]) -> anyhow::Result<()> {
    for (at, (option, path)) in outputs.iter().enumerate() {
        let same = |(_, other): &&Named<'_>| is_same(path, other);
        let shown = path.display();
        if let Some((what, other)) = kept.iter().find(same) {
            bail!(
                "{option} `{shown}` would replace {what} `{}`; give {option} another name",
                other.display()
            );
        }
        if let Some((what, other)) = outputs[..at].iter().find(same) {
            bail!(
                "{what} `{}` and {option} `{shown}` are one file; give two names",
                other.display()
            );
        }
    }
    Ok(())
}

/// What a path leads to.
#[derive(PartialEq, Eq)]
enum Place {
    /// Device and inode.
    File(u64, u64),
    /// Nothing yet: its folder and its name there.
    Free(PathBuf, Option<OsString>),
}

fn is_same(a: &Path, b: &Path) -> bool {
    place(a) == place(b)
}

fn place(path: &Path) -> Place {
    if let Ok(found) = path.metadata() {
        return Place::File(found.dev(), found.ino());
    }
    let folder = folder(path);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Place::Free(folder, path.file_name().map(OsString::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("sub")).unwrap();
        std::fs::write(path("a.plan"), b"").unwrap();
        std::fs::hard_link(path("a.plan"), path("hard.plan")).unwrap();
        symlink(path("a.plan"), path("soft.plan")).unwrap();
        symlink(path("sub"), path("other")).unwrap();
        let same = |a: &str, b: &str| {
            let (a, b) = (path(a), path(b));
            check_apart(&[("--timeline", &a)], &[("the plan", &b)]).is_err()
                && check_apart(&[("--trace", &b), ("--timeline", &a)], &[]).is_err()
        };
        for name in ["./a.plan", "sub/../a.plan", "hard.plan", "soft.plan"] {
            assert!(same(name, "a.plan"), "{name}");
        }
        assert!(same("sub/new", "other/./new"), "where there is no file yet");
        assert!(!same("sub/new", "new") && !same("new", "a.plan"));
    }
}
