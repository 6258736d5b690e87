//! Secrets that a role keeps: the seeds its masks are derived from.
//!
//! Nothing here can be printed, compared or serialised by accident; what leaves this type is asked
//! for by name.

use rand::TryRng;
use rand::rngs::SysError;
use rand::rngs::SysRng;
use zeroize::ZeroizeOnDrop;

/// The seed that one compute party shares with the dealer for one deployment; wiped on drop.
///
/// Whoever has it can compute every mask share of that party.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Seed([u8; Self::LEN]);

impl Seed {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A fresh seed from the operating system.
    ///
    /// # Errors
    /// If the operating system has no randomness to give; a role must not start then.
    pub fn random() -> Result<Self, SysError> {
        let mut seed = Self([0; Self::LEN]);
        SysRng.try_fill_bytes(&mut seed.0)?;
        Ok(seed)
    }

    /// A seed received from its party, or fixed in a test.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, to send to the dealer or to derive keys. The caller takes care of the copy.
    pub const fn expose_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_seeds_differ_and_bytes_come_back() {
        let (a, b) = (Seed::random().unwrap(), Seed::random().unwrap());
        assert!(a.expose_bytes() != b.expose_bytes());
        assert_eq!(Seed::from_bytes([7; 32]).expose_bytes(), &[7; 32]);
    }
}
