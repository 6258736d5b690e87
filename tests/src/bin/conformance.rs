//! Runs the ONNX operator cases in the clear and privately, and prints the table that counts them.

use mpcc_tests::conformance::{judge_all, page};
use std::error::Error;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn Error>> {
    std::io::stdout().write_all(page(&judge_all()?).as_bytes())?;
    Ok(())
}
