//! A cursor over text that yields the tokens of the IR's grammar.

use crate::shape::Shape;

/// Where and why a text does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What was expected.
    pub message: String,
}

/// A cursor over the text of a program. White space and `; comments` are skipped.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// An error at the current place.
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: self.at - line_start + 1,
            message: message.into(),
        }
    }

    /// The text from the next token on.
    fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with(';') {
                return trimmed;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// Whether only white space and comments are left.
    pub fn at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Whether `token` comes next; does not consume it.
    pub fn peek(&mut self, token: &str) -> bool {
        self.rest().starts_with(token)
    }

    /// Consumes `token` if it comes next.
    pub fn try_punct(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Consumes `token`.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn punct(&mut self, token: &str) -> Result<(), ParseError> {
        if self.try_punct(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }

    /// The word that comes next, without consuming it; empty if there is none.
    fn next_word(&mut self) -> &'a str {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return "";
        }
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())]
    }

    /// A word of letters, digits, `_`, `-` and `.` that starts with a letter.
    ///
    /// # Errors
    /// No word comes next.
    pub fn word(&mut self) -> Result<&'a str, ParseError> {
        let word = self.next_word();
        if word.is_empty() {
            return Err(self.error("expected a word"));
        }
        self.at += word.len();
        Ok(word)
    }

    /// Consumes the word `word` if it comes next.
    pub fn try_keyword(&mut self, word: &str) -> bool {
        let found = self.next_word() == word;
        if found {
            self.at += word.len();
        }
        found
    }

    /// Consumes the word `word`.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.try_keyword(word) { Ok(()) } else { Err(self.error(format!("expected `{word}`"))) }
    }

    /// A decimal number.
    ///
    /// # Errors
    /// The next token is not a number of this type.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let value = rest[..len]
            .parse()
            .map_err(|_| self.error(format!("bad number `{}`", &rest[..len])))?;
        self.at += len;
        Ok(value)
    }

    /// A run of decimal digits; unlike [`Lexer::number`] it ends where `+` or a letter follows.
    ///
    /// # Errors
    /// There is no digit, or the number is too large.
    pub fn digits(&mut self) -> Result<u64, ParseError> {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let value = rest[..len].parse().map_err(|_| self.error("expected a number"))?;
        self.at += len;
        Ok(value)
    }

    /// An index behind a prefix, such as `%12`.
    ///
    /// # Errors
    /// The prefix or the number is missing.
    pub fn prefixed(&mut self, prefix: &str) -> Result<u32, ParseError> {
        self.punct(prefix)?;
        let rest = &self.text[self.at..];
        let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let value = rest[..len].parse().map_err(|_| self.error("expected an index"))?;
        self.at += len;
        Ok(value)
    }

    /// A string in double quotes with the escapes that Rust's `{:?}` writes.
    ///
    /// # Errors
    /// There is no string, it is not closed, or an escape is unknown.
    pub fn quoted(&mut self) -> Result<String, ParseError> {
        self.punct("\"")?;
        let mut value = String::new();
        loop {
            match self.next_char() {
                Some('"') => return Ok(value),
                Some('\\') => value.push(self.escape()?),
                Some(other) => value.push(other),
                None => return Err(self.error("string is not closed")),
            }
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let next = self.text[self.at..].chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The character that an escape stands for, behind its backslash.
    fn escape(&mut self) -> Result<char, ParseError> {
        match self.next_char() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('0') => Ok('\0'),
            Some(same @ ('"' | '\'' | '\\')) => Ok(same),
            Some('u') => {
                let rest = self.text[self.at..].strip_prefix('{');
                let digits = rest.and_then(|rest| rest.split_once('}')).map(|(digits, _)| digits);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.at += digits.map_or(0, |digits| digits.len() + 2);
                code.and_then(char::from_u32).ok_or_else(|| self.error("bad character code"))
            }
            _ => Err(self.error("unknown escape")),
        }
    }

    /// A shape such as `[64x112x112]`.
    ///
    /// # Errors
    /// The brackets or an extent are malformed, or there are more elements than a `usize` counts.
    pub fn shape(&mut self) -> Result<Shape, ParseError> {
        self.punct("[")?;
        let mut dims = Vec::new();
        while !self.try_punct("]") {
            if !dims.is_empty() {
                self.punct("x")?;
            }
            dims.push(self.prefixed("")? as usize);
        }
        // Strides are products too, so a zero among the extents does not help.
        let count = dims.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent.max(1)));
        match count {
            Some(_) => Ok(Shape(dims)),
            None => Err(self.error("too many elements")),
        }
    }
}
