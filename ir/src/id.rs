//! Small typed indices. They print as they parse: `%3`, `m1`.

/// Declares a `u32` newtype index with a one-character prefix in the text form.
macro_rules! define_id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub u32);

        impl $name {
            /// The index into the table this id belongs to.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl $crate::text::Attr for $name {
            fn print(&self, out: &mut String) {
                use std::fmt::Write as _;
                let _ = write!(out, "{self}");
            }

            fn parse(lexer: &mut $crate::text::Lexer<'_>) -> Result<Self, $crate::text::ParseError> {
                lexer.prefixed($prefix).map(Self)
            }
        }
    };
}

define_id!(
    /// A node of a program, and the value it computes.
    Id,
    "%"
);
define_id!(
    /// A fresh random mask. Each is named by one opening and no other.
    MaskId,
    "m"
);
define_id!(
    /// A parameter tensor of the model (weights, biases, public constants).
    ParamId,
    "w"
);
define_id!(
    /// An input or output of the model.
    PortId,
    "port"
);
