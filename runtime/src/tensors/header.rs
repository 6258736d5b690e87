//! A look at the header of an `.npy` array before anything is computed from it: it may announce any size.

use std::io::{self, Cursor, Read};

/// How a file begins.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read: numpy pads to a multiple of 64 bytes, and a shape is short.
const MOST_BYTES: usize = 1 << 16;
/// Brackets within brackets: the library takes twice as long for each, and a list of fields with extents has four.
const MOST_NESTED: usize = 8;
/// Most elements of an array, times the bytes of one.
const MOST_ELEMENTS: u64 = 1 << 43;

/// The same bytes again, after a check that header and shape are of a size that can be.
///
/// # Errors
/// Where they are not, or the header ends early. What is no header at all is left for others to say.
pub(super) fn checked<R: Read>(mut file: R) -> io::Result<impl Read> {
    let mut bytes = vec![0; 8];
    file.read_exact(&mut bytes)?;
    if !bytes.starts_with(MAGIC) {
        return Ok(Cursor::new(bytes).chain(file));
    }
    let width = if bytes[6] == 1 { 2 } else { 4 };
    bytes.resize(8 + width, 0);
    file.read_exact(&mut bytes[8..])?;
    let len = bytes[8..].iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte));
    if len > MOST_BYTES {
        return Err(io::Error::other(format!("a header of {len} bytes")));
    }
    bytes.resize(8 + width + len, 0);
    file.read_exact(&mut bytes[8 + width..])?;
    let text = String::from_utf8_lossy(&bytes[8 + width..]);
    if depth(&text) > MOST_NESTED {
        return Err(io::Error::other("a header with too many brackets"));
    }
    if product(&text).is_none_or(|product| product > MOST_ELEMENTS) {
        return Err(io::Error::other("a shape of too many elements"));
    }
    Ok(Cursor::new(bytes).chain(file))
}

/// How many brackets are open at most at a time.
fn depth(header: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for c in header.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// The product of all numbers in a header, in its shape and elsewhere: whoever reads it finds no more elements. `None`
/// beyond 64 bits, and for numbers that are not decimal.
fn product(header: &str) -> Option<u64> {
    let header = header.to_ascii_lowercase();
    if ["0x", "0o", "0b"].iter().any(|base| header.contains(base)) {
        return None;
    }
    let between = |c: char| !(c.is_ascii_digit() || c == '_');
    let numbers = header.split(between).map(|n| n.replace('_', "")).filter(|n| !n.is_empty());
    // An extent of 0 makes none of the others possible.
    let mut factors = numbers.map(|n| n.parse::<u64>().map(|n| n.max(1)));
    factors.try_fold(1_u64, |all, n| all.checked_mul(n.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, shape: &str) -> Vec<u8> {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let len = (text.len() as u32).to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len };
        [b"\x93NUMPY", &[version, 0][..], len, text.as_bytes(), &[1, 2, 3]].concat()
    }

    #[test]
    fn a_header_that_can_be_changes_nothing() {
        for version in [1, 2] {
            for shape in ["()", "(3,)", "(2, 0, 5)", "(1024, 1048576)", "[7, 5]"] {
                let bytes = file(version, shape);
                let mut again = Vec::new();
                checked(&bytes[..]).unwrap().read_to_end(&mut again).unwrap();
                assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let refusal = |bytes: &[u8]| checked(bytes).map(drop).unwrap_err().to_string();
        for shape in [
            "(1099511627776, 1099511627776)",
            "[1099511627776, 1099511627776]",
            "(0, 99999999999999999999)",
            "(4194305, 1048576)",
            "(0xffff, 2)",
            "(9999999999_9999999999,)",
            "(1,), \"shape\": (1099511627776, 1099511627776)",
        ] {
            assert_eq!(refusal(&file(1, shape)), "a shape of too many elements", "{shape}");
        }
        assert_eq!(refusal(&file(1, "((((((((3,)")), "a header with too many brackets");
        let mut long = file(2, "(3,)");
        long[10] = 0xff;
        assert!(refusal(&long).starts_with("a header of "));
        assert!(checked(&file(1, "(3,)")[..30]).is_err());
        assert!(checked(&b"what is no array"[..]).is_ok());
    }
}
