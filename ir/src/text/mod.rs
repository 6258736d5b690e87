//! The text form shared by all levels: `%2 = rescale %0 by 12 mask m0 : masked<25>[4x4]`.
//!
//! A line is a result, a mnemonic, operands, `name value` pairs for the fields of the operation, and
//! the result's type. The `ops!` macro declares an operation enum together with both directions of
//! this form, so that the two cannot drift apart.

mod attr;
mod lexer;
mod ops;

pub use attr::Attr;
pub use lexer::{Lexer, ParseError};
pub(crate) use ops::ops;

/// An operation enum that prints and parses its mnemonic and fields.
pub trait OpText: Sized {
    /// The word that names the operation.
    fn mnemonic(&self) -> &'static str;

    /// Appends ` name value` for every field.
    fn print_fields(&self, out: &mut String);

    /// Reads the fields of the operation called `mnemonic`.
    ///
    /// # Errors
    /// The word is unknown, or a field is missing or malformed.
    fn parse_fields(mnemonic: &str, lexer: &mut Lexer<'_>) -> Result<Self, ParseError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn read_back<T: Attr + PartialEq + std::fmt::Debug>(value: &T) {
        let mut text = String::new();
        value.print(&mut text);
        let mut lexer = Lexer::new(&text);
        assert_eq!(T::parse(&mut lexer).as_ref(), Ok(value), "{text}");
        assert!(lexer.at_end(), "{text}");
    }

    #[test]
    fn field_values_read_back() {
        read_back(&i64::MIN);
        read_back(&u64::MAX);
        read_back(&f64::NEG_INFINITY);
        read_back(&f64::MIN_POSITIVE);
        read_back(&vec![Some(true), None]);
        read_back(&Vec::<u8>::new());
        read_back(&[[1_u8, 2], [3, 4]]);
        read_back(&"a \"b\" \\ \n\r\t\0 \u{7f} \u{2028} é ; %".to_owned());
    }

    #[test]
    fn malformed_values_are_refused_in_place() {
        let refusal = |text| Vec::<u8>::parse(&mut Lexer::new(text)).unwrap_err().to_string();
        assert_snapshot!(refusal("[1 2]"), @"line 1, column 4: expected `,`");
        assert_snapshot!(refusal("[1,\n 256]"), @"line 2, column 2: bad number `256`");
        assert_snapshot!(refusal("1"), @"line 1, column 1: expected `[`");
        let quoted = |text| Lexer::new(text).quoted().unwrap_err().to_string();
        assert_snapshot!(quoted(r#""a\q""#), @"line 1, column 5: unknown escape");
        assert_snapshot!(quoted(r#""a\u{110000}""#), @"line 1, column 13: bad character code");
        assert_snapshot!(quoted(r#""a\u{2"#), @"line 1, column 5: bad character code");
    }

    #[test]
    fn a_keyword_is_a_whole_word() {
        let mut lexer = Lexer::new("  maskless ; rest\n next");
        assert!(!lexer.try_keyword("mask"));
        assert!(lexer.try_keyword("maskless"));
        assert_eq!(lexer.word(), Ok("next"));
        assert!(lexer.at_end() && lexer.word().is_err());
    }
}
