//! The help of every verb.

use crate::site::Site;
use insta::assert_snapshot;

#[test]
fn help_of_mpcc() {
    assert_snapshot!(Site::new().stdout("--help"));
}

#[test]
fn help_of_inspect() {
    assert_snapshot!(Site::new().stdout("inspect --help"));
}

#[test]
fn help_of_compile() {
    assert_snapshot!(Site::new().stdout("compile --help"));
}

#[test]
fn help_of_explain() {
    assert_snapshot!(Site::new().stdout("explain --help"));
}

#[test]
fn help_of_bench() {
    assert_snapshot!(Site::new().stdout("bench --help"));
}

#[test]
fn help_of_run() {
    assert_snapshot!(Site::new().stdout("run --help"));
}

#[test]
fn help_of_profile_link() {
    assert_snapshot!(Site::new().stdout("profile link --help"));
}

#[test]
fn a_verb_that_is_not_there() {
    let said = Site::new().refusal("infer");
    assert_snapshot!(said, @r"
    2: error: unrecognized subcommand 'infer'

    Usage: mpcc <COMMAND>

    For more information, try '--help'.
    ");
}
