//! Broken plan files and texts: always an error or a plan that verifies, never a panic.
//!
//! The loops are seeded, so a failure repeats; `fuzz/` searches further.

use mpcc_ir::codec::{decode, encode};
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::nn::Nn;
use mpcc_ir::plan::Plan;
use mpcc_ir::ssa::Program;
use mpcc_ir::views::ViewsProgram;

const SMALL: &str = include_str!("../src/plan/verify/small.plan.txt");
const HEADER: usize = 44;

/// Marsaglia's xorshift: enough for tests, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn small() -> Plan {
    Plan::parse(SMALL).expect("the small plan parses")
}

/// Gives the payload the digest that it should have, so that the decoder sees it.
fn seal(bytes: &mut [u8]) {
    if let Some((header, payload)) = bytes.split_at_mut_checked(HEADER) {
        header[12..].copy_from_slice(blake3::hash(payload).as_bytes());
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(&small());
    for len in 0..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        assert!(decode(&cut).is_err(), "{len} bytes");
        seal(&mut cut);
        assert!(decode(&cut).is_err(), "{len} bytes, sealed");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = encode(&small());
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn sealed_edits_are_refused_or_verify() {
    let bytes = encode(&small());
    let mut random = Random(1);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..20_000 {
        let mut edited = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = HEADER + random.below(edited.len() - HEADER);
            match random.below(4) {
                0 => edited[at] ^= 1 << random.below(8),
                1 => edited[at] = random.pick(&[0, 1, 2, 250, 251, 252, 253, 254, 255]),
                2 => edited.insert(at, random.below(256) as u8),
                _ => drop(edited.remove(at)),
            }
        }
        seal(&mut edited);
        match decode(&edited) {
            Ok(plan) => {
                assert_eq!(plan.verify(), Ok(()));
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10_000 && accepted > 0, "{refused} refused, {accepted} accepted");
}

/// Changes some words of a text: drops, doubles, swaps, and puts in numbers at the edge.
fn garbled(text: &str, random: &mut Random) -> String {
    let numbers = ["0", "1", "2", "31", "32", "64", "65", "4294967295", "18446744073709551615"];
    let mut words: Vec<&str> = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).collect();
    for _ in 0..=random.below(2) {
        let at = random.below(words.len());
        match random.below(5) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at]),
            2 => words.swap(at, random.below(at + 1)),
            _ => {
                // Half of all changes, and only where a number was.
                let digits = words[at].trim_end_matches(|c: char| !c.is_ascii_digit());
                if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                    let rest = &words[at][digits.len()..];
                    words[at] = random.pick(&numbers);
                    words.insert(at + 1, rest);
                }
            }
        }
    }
    words.concat()
}

#[test]
fn garbled_plan_texts_never_panic() {
    let mut random = Random(2);
    let (mut unread, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let text = garbled(SMALL, &mut random);
        match Plan::parse(&text) {
            Ok(plan) => refused += usize::from(plan.verify().is_err()),
            Err(_) => unread += 1,
        }
    }
    assert!(unread > 500 && refused > 500, "{unread} unread, {refused} refused");
}

const NN: &str = "nn {
  name \"conv\"
  %0 = input port port0 : secret[1x3x8x8] in [-1, 1]
  %1 = param id w0 : weight[4x3x3x3]
  %2 = conv %0, %1 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x4x8x8] @0
  %3 = slice %2 starts [0, 0, 0, 0] steps [1, 1, 2, -1] : secret[1x4x4x1]
  return %3
}";
const MASKED: &str = "program {
  %0 = input port port0 mask m0 : masked<32q12>[4x4]
  %1 = to_shares %0 : shares<32q12>[4x4]
  %2 = rescale %1 by 7 mask m1 : masked<25q5>[4x4]
  return %2
}";
const VIEWS: &str = "views {
  %0 = random value 0 once false p0 false : mask<32>[4]
  %1 = input_delta %0 port port0 : delta<32>[4]
  %2 = reveal %1, %0 port port0 : delta<32>[4]
  return %2
}";

#[test]
fn garbled_programs_never_panic_when_read() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let _ = Program::<Nn>::parse(&garbled(NN, &mut random));
        let _ = MaskedProgram::parse(&garbled(MASKED, &mut random));
        let _ = ViewsProgram::parse(&garbled(VIEWS, &mut random));
    }
    for text in [NN, MASKED, VIEWS] {
        let read = match text.split_whitespace().next() {
            Some("nn") => Program::<Nn>::parse(text).map(|p| p.to_string()),
            Some("program") => MaskedProgram::parse(text).map(|p| p.to_string()),
            _ => ViewsProgram::parse(text).map(|p| p.to_string()),
        };
        assert_eq!(read.as_deref(), Ok(text));
    }
}
