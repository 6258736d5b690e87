//! What shows at a role that a run was given to a client: a token that only the session's roles can make.
//!
//! `P_0` sends it to the client with the run, the client to the others with its claim. Without it a client could claim
//! runs at the other roles that were given to somebody else, and so have those called off.

use std::fmt;

/// The secret that the roles of a session share, and no client knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ClaimKey(pub(super) [u8; 32]);

impl ClaimKey {
    /// What the client gets that `run` is given to.
    pub(super) fn token(&self, run: u64) -> [u8; 32] {
        *self.hash(run).as_bytes()
    }

    /// Whether `token` is that of `run`; takes the same time whatever its bytes are.
    pub(super) fn fits(&self, run: u64, token: &[u8]) -> bool {
        <[u8; 32]>::try_from(token).is_ok_and(|token| self.hash(run) == blake3::Hash::from(token))
    }

    fn hash(&self, run: u64) -> blake3::Hash {
        blake3::keyed_hash(&self.0, &run.to_le_bytes())
    }
}

impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_run_alone() {
        let (key, other) = (ClaimKey([7; 32]), ClaimKey([8; 32]));
        let token = key.token(5);
        assert!(key.fits(5, &token));
        assert!(!key.fits(6, &token) && !other.fits(5, &token));
        assert!(!key.fits(5, &token[..31]) && !key.fits(5, &[]));
        assert_eq!(format!("{key:?}"), "ClaimKey");
    }
}
