//! Who takes part.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A process that takes part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Compute party `P_b`.
    Party(u8),
    /// Deals correlated randomness; sees no input, weight or opened value.
    Dealer,
    /// Owns the inputs and receives the outputs.
    Client,
    /// Owns the weights without being a compute party.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Party(b) => write!(f, "P{b}"),
            Self::Dealer => f.write_str("dealer"),
            Self::Client => f.write_str("client"),
            Self::Owner => f.write_str("owner"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "dealer" => Ok(Self::Dealer),
            "client" => Ok(Self::Client),
            "owner" => Ok(Self::Owner),
            other => {
                other.strip_prefix('P').and_then(|b| b.parse().ok()).map(Self::Party).ok_or_else(
                    || format!("`{other}` is not a role: P0, P1, ..., dealer, client or owner"),
                )
            }
        }
    }
}

/// Who knows the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightsMode {
    /// Compute party 0 owns them; it alone has an online product.
    Party0,
    /// An outside owner shares them with all compute parties; no compute party knows them.
    Owner,
    /// Every compute party has them in the clear.
    Public,
}

impl fmt::Display for WeightsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Party0 => "party0",
            Self::Owner => "owner",
            Self::Public => "public",
        })
    }
}
