//! The weights file: the owner's quantised parameters, apart from the plan, which is public.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `mpccwght` |
//! | 4 | format version, little-endian |
//! | 4 | bits of a word, 32 or 64 |
//! | 32 | salt |
//! | 8 | number of parameters |
//! | per parameter | number of bytes (8), then little-endian words |
//! | 32 | BLAKE3 of everything before; the plan names it |
//!
//! Parameters are in the order of the plan. One that the plan carries itself, as a public constant,
//! has no bytes here. The salt is random, so that nobody can confirm a guess of the weights with the digests
//! in the public plan. Files have hundreds of megabytes, so they are hashed while they are read, and
//! nothing passes through a buffer that is not wiped.

use crate::files::write_secret;
use crate::plan::{ParamInfo, Plan, Word};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

const MAGIC: [u8; 8] = *b"mpccwght";
const FORMAT_VERSION: u32 = 2;
/// Bytes that are read or written and hashed at a time: few system calls, still in cache.
const PIECE: usize = 1 << 20;

/// The parameters of a model in ring words. Wiped on drop.
pub struct Weights {
    /// Width of the words.
    pub word: Word,
    /// Random bytes that go into the digests.
    pub salt: [u8; 32],
    /// Per parameter of the plan: its elements as little-endian words, row-major. Empty for a
    /// parameter that is public in the plan.
    pub params: Vec<Vec<u8>>,
}

/// Shows sizes only: weights are a secret of their owner.
impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({:?}, {} parameters)", self.word, self.params.len())
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        self.salt.zeroize();
        self.params.iter_mut().for_each(Vec::zeroize);
    }
}

impl ZeroizeOnDrop for Weights {}

/// Why a weights file cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum WeightsError {
    #[error("cannot read the weights `{path}`: check that the file exists and may be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the weights `{path}`: check the directory and the free space")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "`{path}` does not begin with `mpccwght`: give the weights file that `mpcc compile` wrote beside the plan"
    )]
    NotWeights { path: PathBuf },
    #[error(
        "`{path}` has weights format {found}, but this build reads format {FORMAT_VERSION}: compile the model again with this build"
    )]
    Version { path: PathBuf, found: u32 },
    #[error(
        "`{path}` has {found}-bit words, the plan {expected}-bit ones: it belongs to another plan; use the files of one `mpcc compile`"
    )]
    Word { path: PathBuf, found: u32, expected: u8 },
    #[error(
        "`{path}` has {found} parameters, the plan {expected}: it belongs to another plan; use the files of one `mpcc compile`"
    )]
    Count { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "`{path}` has {found} bytes for parameter `{param}`, the plan {expected}: it belongs to another plan; use the files of one `mpcc compile`"
    )]
    Length { path: PathBuf, param: String, found: u64, expected: u64 },
    #[error("`{path}` ends too early or has bytes after its end: copy the file again")]
    Size { path: PathBuf },
    #[error("`{path}` is damaged: its digest does not match its contents; copy the file again")]
    Digest { path: PathBuf },
    #[error(
        "`{path}` holds the weights of another model or compilation; use the files of one `mpcc compile`"
    )]
    OtherModel { path: PathBuf },
}

impl Weights {
    /// What [`Plan::weights_digest`] is for these weights.
    pub fn digest(&self) -> [u8; 32] {
        let mut sink = Hashed::new(io::sink());
        // A sink takes everything, so there is no error to report.
        let _ = self.write_to(&mut sink);
        sink.digest()
    }

    /// What [`Plan::model_digest`] is for these weights and an ONNX file.
    pub fn model_digest(&self, onnx: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.salt, onnx).as_bytes()
    }

    /// Writes the file, for its owner alone to read, and returns its digest. The file is whole or absent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<[u8; 32], WeightsError> {
        let mut digest = [0; 32];
        let written = write_secret(path, |file| {
            let mut out = Hashed::new(&mut *file);
            self.write_to(&mut out)?;
            digest = out.digest();
            file.write_all(&digest)
        });
        written.map_err(|source| WeightsError::Write { path: path.to_owned(), source })?;
        Ok(digest)
    }

    /// Everything but the digest at the end.
    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&FORMAT_VERSION.to_le_bytes())?;
        out.write_all(&u32::from(self.word.bits()).to_le_bytes())?;
        out.write_all(&self.salt)?;
        out.write_all(&(self.params.len() as u64).to_le_bytes())?;
        for param in &self.params {
            out.write_all(&(param.len() as u64).to_le_bytes())?;
            for piece in param.chunks(PIECE) {
                out.write_all(piece)?;
            }
        }
        Ok(())
    }

    /// Reads the weights that belong to `plan`, which has been verified.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or belongs to another plan.
    pub fn read(path: &Path, plan: &Plan) -> Result<Self, WeightsError> {
        let mut reader = Reader::open(path)?;
        reader.header(plan)?;
        let salt = reader.salt;
        let mut weights =
            Self { word: plan.word, salt, params: Vec::with_capacity(plan.params.len()) };
        for param in &plan.params {
            let length = reader.length(param, plan.word)?;
            // Pushed first, so that the bytes are wiped even where reading them fails.
            weights.params.push(vec![0; length]);
            if let Some(words) = weights.params.last_mut() {
                reader.words(words)?;
            }
        }
        reader.end(plan)?;
        Ok(weights)
    }
}

/// Bytes that the weights file has for a parameter.
fn expected_bytes(param: &ParamInfo, word: Word) -> u64 {
    if param.public.is_some() { 0 } else { param.elements.saturating_mul(word.bytes()) }
}

/// A file that is hashed while it is read.
struct Reader<'a> {
    path: &'a Path,
    input: Hashed<File>,
    /// Bytes not yet read, so that no length is believed that the file cannot hold.
    left: u64,
    salt: [u8; 32],
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, WeightsError> {
        let fail = |source| WeightsError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let left = file.metadata().map_err(fail)?.len();
        Ok(Self { path, input: Hashed::new(file), left, salt: [0; 32] })
    }

    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn header(&mut self, plan: &Plan) -> Result<(), WeightsError> {
        if self.array().ok() != Some(MAGIC) {
            return Err(WeightsError::NotWeights { path: self.path() });
        }
        let found = u32::from_le_bytes(self.array()?);
        if found != FORMAT_VERSION {
            return Err(WeightsError::Version { path: self.path(), found });
        }
        let (found, expected) = (u32::from_le_bytes(self.array()?), plan.word.bits());
        if found != u32::from(expected) {
            return Err(WeightsError::Word { path: self.path(), found, expected });
        }
        self.salt = self.array()?;
        let (found, expected) = (u64::from_le_bytes(self.array()?), plan.params.len() as u64);
        if found != expected {
            return Err(WeightsError::Count { path: self.path(), found, expected });
        }
        Ok(())
    }

    fn length(&mut self, param: &ParamInfo, word: Word) -> Result<usize, WeightsError> {
        let found = u64::from_le_bytes(self.array()?);
        let expected = expected_bytes(param, word);
        if found != expected {
            let (path, param) = (self.path(), param.name.clone());
            return Err(WeightsError::Length { path, param, found, expected });
        }
        if found > self.left {
            return Err(WeightsError::Size { path: self.path() });
        }
        Ok(found as usize)
    }

    fn words(&mut self, words: &mut [u8]) -> Result<(), WeightsError> {
        words.chunks_mut(PIECE).try_for_each(|piece| self.fill(piece))
    }

    fn end(&mut self, plan: &Plan) -> Result<(), WeightsError> {
        let computed = self.input.digest();
        let stored: [u8; 32] = self.array()?;
        if self.left > 0 {
            return Err(WeightsError::Size { path: self.path() });
        }
        if stored != computed {
            return Err(WeightsError::Digest { path: self.path() });
        }
        if computed != plan.weights_digest {
            return Err(WeightsError::OtherModel { path: self.path() });
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), WeightsError> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| WeightsError::Size { path: self.path.to_owned() })?;
        self.input
            .read_exact(bytes)
            .map_err(|source| WeightsError::Read { path: self.path.to_owned(), source })
    }
}

/// Hashes what passes through.
struct Hashed<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }

    fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::WeightsMode;
    use insta::assert_snapshot;

    fn weights() -> Weights {
        Weights {
            word: Word::W32,
            salt: [7; 32],
            params: vec![vec![1, 2, 3, 4, 5, 6, 7, 8], vec![]],
        }
    }

    fn plan_of(weights: &Weights) -> Plan {
        let param = |name: &str, elements, public| ParamInfo {
            name: name.to_owned(),
            elements,
            frac: 8,
            public,
            masked: vec![],
            mask: None,
        };
        Plan {
            weights_digest: weights.digest(),
            params: vec![param("w", 2, None), param("scale", 3, Some(vec![1, 2, 3]))],
            ..Plan::empty(weights.word, 2, WeightsMode::Party0)
        }
    }

    /// What reading `bytes` as the weights of `plan` reports, with the directory cut off.
    fn refusal(bytes: &[u8], plan: &Plan) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.weights");
        std::fs::write(&path, bytes).unwrap();
        let error = Weights::read(&path, plan).unwrap_err();
        error.to_string().replace(&format!("{}/", dir.path().display()), "")
    }

    fn file() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.weights");
        assert_eq!(weights().write(&path).unwrap(), weights().digest());
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.weights");
        weights().write(&path).unwrap();
        let read = Weights::read(&path, &plan_of(&weights())).unwrap();
        assert_eq!((read.word, &read.params), (Word::W32, &weights().params));
    }

    #[test]
    fn debug_shows_no_weight() {
        assert_snapshot!(format!("{:?}", weights()), @"Weights(W32, 2 parameters)");
    }

    #[test]
    fn damage_is_told_from_a_mix_up() {
        let plan = plan_of(&weights());
        let mut flipped = file();
        flipped[34] ^= 1;
        assert_snapshot!(refusal(&flipped, &plan), @"`a.weights` is damaged: its digest does not match its contents; copy the file again");
        let other = Plan { weights_digest: [9; 32], ..plan.clone() };
        assert_snapshot!(refusal(&file(), &other), @"`a.weights` holds the weights of another model or compilation; use the files of one `mpcc compile`");
        let wide = Plan { word: Word::W64, ..plan.clone() };
        assert_snapshot!(refusal(&file(), &wide), @"`a.weights` has 32-bit words, the plan 64-bit ones: it belongs to another plan; use the files of one `mpcc compile`");
        let mut longer = plan.clone();
        longer.params[0].elements = 3;
        assert_snapshot!(refusal(&file(), &longer), @"`a.weights` has 8 bytes for parameter `w`, the plan 12: it belongs to another plan; use the files of one `mpcc compile`");
        assert_snapshot!(refusal(b"\x7fELF", &plan), @"`a.weights` does not begin with `mpccwght`: give the weights file that `mpcc compile` wrote beside the plan");
    }

    #[test]
    fn every_truncation_is_refused() {
        let (file, plan) = (file(), plan_of(&weights()));
        for len in 0..file.len() {
            assert!(!refusal(&file[..len], &plan).is_empty());
        }
        assert_snapshot!(refusal(&file[..file.len() - 1], &plan), @"`a.weights` ends too early or has bytes after its end: copy the file again");
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        let mut plan = plan_of(&weights());
        plan.params[0].elements = u64::MAX;
        let mut file = file();
        file[56..64].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_snapshot!(refusal(&file, &plan), @"`a.weights` ends too early or has bytes after its end: copy the file again");
    }
}
