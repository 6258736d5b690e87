//! The text form of a plan: `parse(print(p)) == p`, one step per line.
//!
//! ```text
//! role P0 deploy_bytes 0 run_bytes 128 {
//!   online
//!     0: receive message 2 dst run@0+64
//!     1: map program 0 first 0 count 16 values [3] spans [run@0+64, run@64+64] after [0] layer 1
//! }
//! ```
//! A span is `region@start+length` in bytes. Numbers of steps, messages and programs are there for the
//! reader and are checked. What is zero or empty at the end of a step's line is left out.

mod small;
mod tables;

use super::{Phase, Plan, Role, RolePlan, Step, StepOp};
use crate::text::{Attr, Lexer, OpText, ParseError};
use std::fmt::{self, Write as _};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::from("plan {\n");
        self.print_header(&mut out);
        self.print_tables(&mut out);
        for role in &self.roles {
            role.print(&mut out);
        }
        out.push('}');
        f.write_str(&out)
    }
}

impl Plan {
    /// Reads the text form. The plan is not verified.
    ///
    /// # Errors
    /// Says at which line and column the text is not a plan.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut lexer = Lexer::new(text);
        lexer.keyword("plan")?;
        lexer.punct("{")?;
        let mut plan = Self::parse_header(&mut lexer)?;
        plan.parse_tables(&mut lexer)?;
        while lexer.try_keyword("role") {
            plan.roles.push(RolePlan::parse(&mut lexer)?);
        }
        lexer.punct("}")?;
        if lexer.at_end() { Ok(plan) } else { Err(lexer.error("text after the plan")) }
    }
}

impl RolePlan {
    fn print(&self, out: &mut String) {
        let Self { role, deploy_bytes, run_bytes, setup: _, offline: _, online: _ } = self;
        let _ = writeln!(out, "  role {role} deploy_bytes {deploy_bytes} run_bytes {run_bytes} {{");
        for phase in Phase::ALL.into_iter().filter(|&phase| !self.steps(phase).is_empty()) {
            let _ = writeln!(out, "    {phase}");
            for (at, step) in self.steps(phase).iter().enumerate() {
                let _ = write!(out, "      {at}: ");
                step.print(out);
                out.push('\n');
            }
        }
        out.push_str("  }\n");
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let role = Role::parse(lexer)?;
        lexer.keyword("deploy_bytes")?;
        let deploy_bytes = lexer.number()?;
        lexer.keyword("run_bytes")?;
        let run_bytes = lexer.number()?;
        lexer.punct("{")?;
        let [setup, offline, online] = [
            parse_phase(lexer, Phase::Setup)?,
            parse_phase(lexer, Phase::Offline)?,
            parse_phase(lexer, Phase::Online)?,
        ];
        lexer.punct("}")?;
        Ok(Self { role, deploy_bytes, run_bytes, setup, offline, online })
    }
}

fn parse_phase(lexer: &mut Lexer<'_>, phase: Phase) -> Result<Vec<Step>, ParseError> {
    let mut steps = Vec::new();
    if lexer.try_keyword(&phase.to_string()) {
        while !["}", "offline", "online"].iter().any(|end| lexer.peek(end)) {
            expect_index(lexer, steps.len())?;
            steps.push(Step::parse(lexer)?);
        }
    }
    Ok(steps)
}

/// Reads the number that a table entry carries for the reader.
fn expect_index(lexer: &mut Lexer<'_>, expected: usize) -> Result<(), ParseError> {
    if lexer.prefixed("")? as usize != expected {
        return Err(lexer.error(format!("expected number {expected}")));
    }
    lexer.punct(":")
}

impl Attr for Step {
    fn print(&self, out: &mut String) {
        let Self { op, after, priority, layer, predicted_us } = self;
        out.push_str(op.mnemonic());
        op.print_fields(out);
        optional("after", after, out);
        optional("priority", priority, out);
        optional("layer", layer, out);
        optional("predicted_us", &[predicted_us.0, predicted_us.1], out);
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let mnemonic = lexer.word()?;
        let op = StepOp::parse_fields(mnemonic, lexer)?;
        let after = or_default("after", lexer)?;
        let priority = or_default("priority", lexer)?;
        let layer = or_default("layer", lexer)?;
        let [start, end]: [f64; 2] = or_default("predicted_us", lexer)?;
        Ok(Self { op, after, priority, layer, predicted_us: (start, end) })
    }
}

fn optional<T: Attr + Default + PartialEq>(name: &str, value: &T, out: &mut String) {
    if *value != T::default() {
        let _ = write!(out, " {name} ");
        value.print(out);
    }
}

fn or_default<T: Attr + Default>(name: &str, lexer: &mut Lexer<'_>) -> Result<T, ParseError> {
    if lexer.try_keyword(name) { T::parse(lexer) } else { Ok(T::default()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::small;
    use insta::assert_snapshot;

    #[test]
    fn a_plan_reads_back() {
        let plan = small();
        let text = plan.to_string();
        assert_eq!(Plan::parse(&text), Ok(plan));
    }

    #[test]
    fn steps_print_on_a_line() {
        let plan = small();
        let mut text = String::new();
        plan.roles[2].print(&mut text);
        assert_snapshot!(text, @r"
        role dealer deploy_bytes 64 run_bytes 192 {
          setup
            0: map program 1 first 0 count 4 values [1] spans [deploy@0+16]
          offline
            0: map program 2 first 0 count 4 values [2] spans [run@0+16, run@64+16]
            1: send message 0 src run@0+16 after [0]
            2: map program 3 first 0 count 4 values [3] spans [run@64+16, deploy@0+16, run@128+16] after [0]
            3: send message 4 src run@128+16 after [2]
        }
        ");
    }

    #[test]
    fn every_field_reads_back() {
        let mut plan = small();
        plan.name = "a \"name\"\r\n\u{7f}é".to_owned();
        plan.params[0].public = Some(vec![-1, i64::MIN]);
        plan.params[0].mask = Some(3);
        plan.roles[0].online[1].predicted_us = (0.5, 1e300);
        plan.roles[0].online[1].priority = 7;
        assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    }

    #[test]
    fn errors_say_where() {
        let text = small().to_string();
        let refusal = |from, to| Plan::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert_snapshot!(refusal("word 32", "word 16"), @"line 5, column 10: a word has 32 or 64 bits, not 16");
        assert_snapshot!(refusal("message 1:", "message 2:"), @"line 96, column 12: expected number 1");
        assert_snapshot!(refusal("deploy@0", "stack@0"), @"line 107, column 32: expected deploy or run, found `stack`");
        assert_snapshot!(refusal("kind mask", "kind secret"), @"line 95, column 61: `secret` is not a kind of message");
        assert_snapshot!(refusal("0101", "01"), @"line 3, column 80: a digest has 64 hexadecimal digits");
    }
}
