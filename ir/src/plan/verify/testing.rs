//! A small valid plan in text form, and what the verifier says when it is changed.

use crate::plan::{Plan, PlanError};

/// Two parties multiply an input by `P_0`'s weight and open the product, truncated to 25 bits.
pub(crate) const SMALL: &str = include_str!("small.plan.txt");

pub(crate) fn small() -> Plan {
    Plan::parse(SMALL).unwrap()
}

/// What the verifier says about [`SMALL`] after replacing text that occurs in it once.
pub(crate) fn changed(changes: &[(&str, &str)]) -> Result<(), PlanError> {
    let mut text = SMALL.to_owned();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "`{from}` occurs once");
        text = text.replace(from, to);
    }
    Plan::parse(&text).unwrap_or_else(|e| panic!("{e}")).verify()
}

/// How the verifier refuses what [`changed`] makes.
pub(crate) fn broken(changes: &[(&str, &str)]) -> String {
    changed(changes).unwrap_err().to_string()
}
