//! The macro that declares an operation enum with its text form.

/// Declares an enum whose variants carry a mnemonic: `Rescale = "rescale" { by: u8, mask: MaskId }`.
macro_rules! ops {
    (
        $(#[$meta:meta])*
        pub enum $Op:ident {
            $(
                $(#[$vmeta:meta])*
                $V:ident = $text:literal $({ $( $(#[$fmeta:meta])* $f:ident : $t:ty ),* $(,)? })?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $Op {
            $( $(#[$vmeta])* $V $({ $( $(#[$fmeta])* $f : $t ),* })? ),*
        }

        impl $crate::text::OpText for $Op {
            fn mnemonic(&self) -> &'static str {
                match self {
                    $( Self::$V { .. } => $text, )*
                }
            }

            fn print_fields(&self, out: &mut String) {
                let _ = &out;
                match self {
                    $( Self::$V { $($($f),*)? } => {
                        $($(
                            out.push_str(concat!(" ", stringify!($f), " "));
                            $crate::text::Attr::print($f, out);
                        )*)?
                    } )*
                }
            }

            fn parse_fields(
                mnemonic: &str,
                lexer: &mut $crate::text::Lexer<'_>,
            ) -> Result<Self, $crate::text::ParseError> {
                match mnemonic {
                    $( $text => Ok(Self::$V { $($(
                        $f: {
                            lexer.keyword(stringify!($f))?;
                            $crate::text::Attr::parse(lexer)?
                        }
                    ),*)? }), )*
                    _ => Err(lexer.error(format!("unknown operation `{mnemonic}`"))),
                }
            }
        }
    };
}
pub(crate) use ops;
