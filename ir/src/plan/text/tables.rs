//! Text form of everything in a plan but the steps.

use super::expect_index;
use super::small::field;
use crate::plan::{
    Forecast, InputPort, Layer, Message, OutputPort, ParamInfo, Plan, TileOp, TileProgram,
};
use crate::text::{Attr, Lexer, OpText, ParseError};
use std::fmt::Write as _;

/// A struct that prints as `name value` for every field.
macro_rules! record {
    ($T:ident { $($f:ident),* }) => {
        impl Attr for $T {
            fn print(&self, out: &mut String) {
                let Self { $($f),* } = self;
                $(
                    out.push_str(concat!(" ", stringify!($f), " "));
                    $f.print(out);
                )*
            }

            fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
                Ok(Self { $( $f: field(stringify!($f), lexer)? ),* })
            }
        }
    };
}
record!(InputPort { name, shape, ring, frac, lo, hi, mask, masked });
record!(OutputPort { name, shape, ring, frac, masked, shares, clear, error });
record!(ParamInfo { name, elements, frac, public, masked, mask });
record!(Layer { name, op, shape, format, rounds, online_bytes, correction_bytes });
record!(Forecast {
    schedule,
    link,
    kernels,
    bytes_per_us,
    threads,
    cores,
    offline_us,
    online_us,
    compute_us,
    wire_us,
    latency_us,
    run_latency_us,
    run_compute_us,
    run_wire_us,
    run_us,
    run_online_us,
    choices
});
record!(Message { from, to, phase, kind, bytes, round, layer });

impl Plan {
    pub(super) fn print_header(&self, out: &mut String) {
        let _ = writeln!(out, "  name {:?}", self.name);
        let _ = writeln!(out, "  model_digest \"{}\"", hex(&self.model_digest));
        let _ = writeln!(out, "  weights_digest \"{}\"", hex(&self.weights_digest));
        let Self { parties, weights, depth, .. } = self;
        let word = self.word.bits();
        let _ = writeln!(out, "  word {word} parties {parties} weights {weights} depth {depth}");
    }

    /// A plan with everything up to `depth`, the rest empty.
    pub(super) fn parse_header(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            name: field("name", lexer)?,
            model_digest: parse_digest("model_digest", lexer)?,
            weights_digest: parse_digest("weights_digest", lexer)?,
            word: field("word", lexer)?,
            parties: field("parties", lexer)?,
            weights: field("weights", lexer)?,
            depth: field("depth", lexer)?,
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            programs: Vec::new(),
            messages: Vec::new(),
            roles: Vec::new(),
            layers: Vec::new(),
            forecast: None,
        })
    }

    pub(super) fn print_tables(&self, out: &mut String) {
        print_table("input", &self.inputs, out);
        print_table("output", &self.outputs, out);
        print_table("param", &self.params, out);
        print_table("layer", &self.layers, out);
        print_table("forecast", self.forecast.as_slice(), out);
        print_table("program", &self.programs, out);
        print_table("message", &self.messages, out);
    }

    pub(super) fn parse_tables(&mut self, lexer: &mut Lexer<'_>) -> Result<(), ParseError> {
        self.inputs = parse_table("input", lexer)?;
        self.outputs = parse_table("output", lexer)?;
        self.params = parse_table("param", lexer)?;
        self.layers = parse_table("layer", lexer)?;
        self.forecast = parse_table("forecast", lexer)?.pop();
        self.programs = parse_table("program", lexer)?;
        self.messages = parse_table("message", lexer)?;
        Ok(())
    }
}

fn print_table<T: Attr>(name: &str, items: &[T], out: &mut String) {
    for (at, item) in items.iter().enumerate() {
        let _ = write!(out, "  {name} {at}:");
        item.print(out);
        out.push('\n');
    }
}

fn parse_table<T: Attr>(name: &str, lexer: &mut Lexer<'_>) -> Result<Vec<T>, ParseError> {
    let mut items = Vec::new();
    while lexer.try_keyword(name) {
        expect_index(lexer, items.len())?;
        items.push(T::parse(lexer)?);
    }
    Ok(items)
}

impl Attr for TileProgram {
    fn print(&self, out: &mut String) {
        let Self { operands, values, word_regs, bit_regs, ops } = self;
        let _ = writeln!(out, " values {values} word_regs {word_regs} bit_regs {bit_regs} {{");
        for operand in operands {
            out.push_str("    ");
            operand.print(out);
            out.push('\n');
        }
        for op in ops {
            let _ = write!(out, "    {}", op.mnemonic());
            op.print_fields(out);
            out.push('\n');
        }
        out.push_str("  }");
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let mut program = Self {
            operands: Vec::new(),
            values: field("values", lexer)?,
            word_regs: field("word_regs", lexer)?,
            bit_regs: field("bit_regs", lexer)?,
            ops: Vec::new(),
        };
        lexer.punct("{")?;
        while lexer.peek("read ") || lexer.peek("write ") {
            program.operands.push(Attr::parse(lexer)?);
        }
        while !lexer.try_punct("}") {
            let mnemonic = lexer.word()?;
            program.ops.push(TileOp::parse_fields(mnemonic, lexer)?);
        }
        Ok(program)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn parse_digest(name: &str, lexer: &mut Lexer<'_>) -> Result<[u8; 32], ParseError> {
    let digits: String = field(name, lexer)?;
    digest_from_hex(&digits).ok_or_else(|| lexer.error("a digest has 64 hexadecimal digits"))
}

fn digest_from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}
