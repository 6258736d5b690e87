//! What two roles compare before anything else: version, plan, roles, deployment, kind of service.
//!
//! Each end sends a [`Hello`] and reads the other's; both compare, so both can say what is wrong. No secret
//! has been sent at that point.

use super::frame::MAX_CONTROL;
use mpcc_ir::plan::Role;

/// Version of everything that travels; it changes whenever two builds could misunderstand each other.
pub const VERSION: u16 = 3;

/// Run numbers stay below this, so that adding to one never overflows.
pub const MAX_RUN: u64 = 1 << 48;

/// Stands where a session has no deployment yet.
const NO_ID: [u8; 16] = [0; 16];
const MAGIC: [u8; 6] = *b"mpccMP";
const LEN: usize = 6 + 2 + 32 + 2 + 2 + 1 + 16 + 8;

/// What kind of session a role is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Runs with a dealer that is present.
    Live,
    /// Fills the stores of all roles.
    Fill,
    /// Runs from stores filled in the deployment with this id.
    Stored([u8; 16]),
}

/// The first frame in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// Identity of the sender's plan file.
    pub plan: [u8; 32],
    /// Who sends it.
    pub from: Role,
    /// Whom the sender takes the other end for; `None` from the end that was called.
    pub to: Option<Role>,
    /// The kind of session.
    pub mode: Mode,
    /// The lowest run number that the sender has never used.
    pub next_run: u64,
}

/// Why two roles do not work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum HandshakeError {
    #[error("the other end does not speak mpcc; check the address and the port")]
    NotMpcc,
    #[error(
        "the other end speaks protocol version {theirs}, this build {own}; install the same release everywhere"
    )]
    Version { own: u16, theirs: u16 },
    #[error("the other end's first frame is damaged")]
    Damaged,
    #[error("the other end is {theirs} like this process; check `role` in both configurations")]
    SameRole { theirs: Role },
    #[error("the address of {expected} belongs to {found}; check `peers` in this configuration")]
    WrongPeer { expected: Role, found: Role },
    #[error(
        "{from} looks for {wanted} here, but this is {own}; check `peers` in its configuration"
    )]
    WrongAddress { from: Role, wanted: Role, own: Role },
    #[error(
        "{from} has another plan (digest {theirs}) than {own_role} ({own}); copy one plan file to all"
    )]
    Plan { from: Role, own_role: Role, theirs: String, own: String },
    #[error("{from} {theirs}, but {own_role} {own}; start all roles the same way")]
    Mode { from: Role, own_role: Role, theirs: &'static str, own: &'static str },
    #[error(
        "the stores of {from} and {own_role} were filled in different sessions; run `mpcc-party fill` again at all roles"
    )]
    Deployment { from: Role, own_role: Role },
    #[error(
        "{from} has no part in this session of {own_role}; check `role` in its configuration, and start all roles the same way"
    )]
    NoPart { from: Role, own_role: Role },
}

impl HandshakeError {
    /// Whether a role that the plan needs has called, and does not fit.
    pub fn is_about_a_peer(&self) -> bool {
        match self {
            Self::Plan { from, .. } | Self::Mode { from, .. } | Self::Deployment { from, .. } => {
                *from != Role::Client
            }
            Self::NotMpcc
            | Self::Version { .. }
            | Self::Damaged
            | Self::SameRole { .. }
            | Self::WrongPeer { .. }
            | Self::WrongAddress { .. }
            | Self::NoPart { .. } => false,
        }
    }
}

impl Hello {
    /// The payload of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.plan);
        out.extend_from_slice(&role_code(Some(self.from)));
        out.extend_from_slice(&role_code(self.to));
        let (mode, id) = match self.mode {
            Mode::Live => (0, NO_ID),
            Mode::Fill => (1, NO_ID),
            Mode::Stored(id) => (2, id),
        };
        out.push(mode);
        out.extend_from_slice(&id);
        out.extend_from_slice(&self.next_run.to_le_bytes());
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`HandshakeError`] for what is not a hello of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        debug_assert!(LEN as u64 <= MAX_CONTROL);
        let rest = bytes.strip_prefix(&MAGIC).ok_or(HandshakeError::NotMpcc)?;
        let mut rest = Bytes(rest);
        let version = u16::from_le_bytes(rest.take()?);
        if version != VERSION {
            return Err(HandshakeError::Version { own: VERSION, theirs: version });
        }
        let plan = rest.take()?;
        let from = role_of(rest.take()?)?.ok_or(HandshakeError::Damaged)?;
        let to = role_of(rest.take()?)?;
        let ([mode], id) = (rest.take()?, rest.take()?);
        let mode = match (mode, id) {
            (0, NO_ID) => Mode::Live,
            (1, NO_ID) => Mode::Fill,
            (2, id) => Mode::Stored(id),
            _ => return Err(HandshakeError::Damaged),
        };
        let next_run = u64::from_le_bytes(rest.take()?);
        if rest.0.is_empty() && next_run <= MAX_RUN {
            Ok(Self { version, plan, from, to, mode, next_run })
        } else {
            Err(HandshakeError::Damaged)
        }
    }

    /// Compares the other end's hello with the own one; `partners` are the roles that have a part in the session.
    ///
    /// # Errors
    /// The first difference that matters, in words for the log of this end.
    pub fn compare(&self, theirs: &Self, partners: &[Role]) -> Result<(), HandshakeError> {
        let (own_role, from) = (self.from, theirs.from);
        if from == own_role {
            return Err(HandshakeError::SameRole { theirs: from });
        }
        if let Some(expected) = self.to.filter(|&to| to != from) {
            return Err(HandshakeError::WrongPeer { expected, found: from });
        }
        if let Some(wanted) = theirs.to.filter(|&to| to != own_role) {
            return Err(HandshakeError::WrongAddress { from, wanted, own: own_role });
        }
        if self.plan != theirs.plan {
            let short =
                |d: &[u8; 32]| format!("{:08x}", u32::from_be_bytes([d[0], d[1], d[2], d[3]]));
            let (own, theirs) = (short(&self.plan), short(&theirs.plan));
            return Err(HandshakeError::Plan { from, own_role, theirs, own });
        }
        match (self.mode, theirs.mode) {
            (Mode::Live, Mode::Live) | (Mode::Fill, Mode::Fill) => {}
            (Mode::Stored(a), Mode::Stored(b)) if a == b => {}
            (Mode::Stored(_), Mode::Stored(_)) => {
                return Err(HandshakeError::Deployment { from, own_role });
            }
            (own, other) => {
                let (own, theirs) = (describe(own), describe(other));
                return Err(HandshakeError::Mode { from, own_role, theirs, own });
            }
        }
        // A place that nobody fills must not be taken by whoever calls: who leaves it ends the session.
        if partners.contains(&from) {
            Ok(())
        } else {
            Err(HandshakeError::NoPart { from, own_role })
        }
    }
}

fn describe(mode: Mode) -> &'static str {
    match mode {
        Mode::Live => "wants a live dealer",
        Mode::Fill => "fills its store",
        Mode::Stored(_) => "runs from its store",
    }
}

fn role_code(role: Option<Role>) -> [u8; 2] {
    match role {
        None => [0, 0],
        Some(Role::Party(b)) => [1, b],
        Some(Role::Dealer) => [2, 0],
        Some(Role::Client) => [3, 0],
        Some(Role::Owner) => [4, 0],
    }
}

fn role_of(code: [u8; 2]) -> Result<Option<Role>, HandshakeError> {
    Ok(match code {
        [0, 0] => None,
        [1, b] => Some(Role::Party(b)),
        [2, 0] => Some(Role::Dealer),
        [3, 0] => Some(Role::Client),
        [4, 0] => Some(Role::Owner),
        _ => return Err(HandshakeError::Damaged),
    })
}

/// Takes arrays off the front of a slice.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(HandshakeError::Damaged)?;
        self.0 = rest;
        Ok(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn hello(from: Role, to: Option<Role>) -> Hello {
        Hello { version: VERSION, plan: [7; 32], from, to, mode: Mode::Live, next_run: 5 }
    }

    #[test]
    fn hellos_round_trip_and_damage_is_found() {
        for mode in [Mode::Live, Mode::Fill, Mode::Stored([9; 16])] {
            let own = Hello { mode, ..hello(Role::Party(2), Some(Role::Dealer)) };
            let bytes = own.encode();
            assert_eq!(bytes.len(), LEN);
            assert_eq!(Hello::decode(&bytes), Ok(own));
            for len in 0..LEN {
                assert!(Hello::decode(&bytes[..len]).is_err());
            }
        }
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(HandshakeError::NotMpcc));
    }

    #[test]
    fn every_mismatch_is_said_at_both_ends() {
        let (p0, p1) = (hello(Role::Party(0), None), hello(Role::Party(1), Some(Role::Party(0))));
        let both = |a: Hello, b: Hello| {
            let said =
                |r: Result<(), HandshakeError>| r.map_or_else(|e| e.to_string(), |()| "ok".into());
            let parties = [Role::Party(0), Role::Party(1)];
            format!("{}\n{}", said(a.compare(&b, &parties)), said(b.compare(&a, &parties)))
        };
        assert_eq!(both(p0, p1), "ok\nok");
        assert_snapshot!(both(Hello { plan: [1; 32], ..p0 }, p1), @"
        P1 has another plan (digest 07070707) than P0 (01010101); copy one plan file to all
        P0 has another plan (digest 01010101) than P1 (07070707); copy one plan file to all
        ");
        assert_snapshot!(both(hello(Role::Dealer, None), p1), @"
        P1 looks for P0 here, but this is dealer; check `peers` in its configuration
        the address of P0 belongs to dealer; check `peers` in this configuration
        ");
        assert_snapshot!(both(p1, p1), @"
        the other end is P1 like this process; check `role` in both configurations
        the other end is P1 like this process; check `role` in both configurations
        ");
        assert_snapshot!(both(Hello { mode: Mode::Fill, ..p0 }, p1), @"
        P1 wants a live dealer, but P0 fills its store; start all roles the same way
        P0 fills its store, but P1 wants a live dealer; start all roles the same way
        ");
        assert_snapshot!(both(p0, hello(Role::Owner, Some(Role::Party(0)))), @"
        owner has no part in this session of P0; check `role` in its configuration, and start all roles the same way
        ok
        ");
        let stored = |id| Mode::Stored([id; 16]);
        assert_snapshot!(both(Hello { mode: stored(1), ..p0 }, Hello { mode: stored(2), ..p1 }), @"
        the stores of P1 and P0 were filled in different sessions; run `mpcc-party fill` again at all roles
        the stores of P0 and P1 were filled in different sessions; run `mpcc-party fill` again at all roles
        ");
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic() {
        let mut bytes = hello(Role::Party(0), Some(Role::Party(1))).encode();
        let mut state = 1_u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 6 + (state >> 33) as usize % (LEN - 6);
            bytes[at] = (state >> 25) as u8;
            if let Ok(read) = Hello::decode(&bytes) {
                assert_eq!(read.encode().len(), LEN);
            }
        }
    }

    #[test]
    fn another_version_is_told_from_rubbish() {
        let mut bytes = hello(Role::Client, None).encode();
        bytes[6] = 1;
        let error = Hello::decode(&bytes).unwrap_err();
        assert_snapshot!(error, @"the other end speaks protocol version 1, this build 3; install the same release everywhere");
    }
}
