//! Sliding windows over images: the geometry of convolution and pooling, stated once.

use crate::text::{Attr, Lexer, ParseError};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// How a two-dimensional window moves over an image. One-dimensional windows have a height of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
    /// Step between outputs, in input pixels.
    pub strides: [usize; 2],
    /// Distance between taps, in input pixels.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right, in input pixels.
    pub pads: [usize; 4],
}

impl Window {
    /// Output height and width for an input of `[height, width]`; `None` where no window fits.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for axis in 0..2 {
            // Checked: windows also come from files.
            let padded = input[axis].checked_add(self.pads[axis])?;
            let padded = padded.checked_add(self.pads[axis + 2])?;
            let reach = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?;
            let last = padded.checked_sub(reach)?.checked_sub(1)?;
            out[axis] = last.checked_div(self.strides[axis])?.checked_add(1)?;
        }
        Some(out)
    }

    /// Whether an image of `[height, width]` pixels with its padding is at most sixteen times as large, beyond the first
    /// 2^24 elements: kernels have memory for it that no plan names.
    pub fn pads_modestly(&self, input: [usize; 2], channels: usize) -> bool {
        let elements =
            |sides: [u128; 2]| sides[0].saturating_mul(sides[1]).saturating_mul(channels as u128);
        let sides = input.map(|side| side as u128);
        let padded =
            [0, 1].map(|axis| sides[axis] + self.pads[axis] as u128 + self.pads[axis + 2] as u128);
        elements(padded) <= elements(sides).saturating_mul(16).saturating_add(1 << 24)
    }

    /// The input coordinate that tap `tap` of output `out` reads along `axis`; `None` in the padding.
    pub fn input_at(&self, axis: usize, out: usize, tap: usize, extent: usize) -> Option<usize> {
        let at = out * self.strides[axis] + tap * self.dilations[axis];
        at.checked_sub(self.pads[axis]).filter(|&i| i < extent)
    }
}

impl Attr for Window {
    fn print(&self, out: &mut String) {
        let Self { kernel, strides, dilations, pads } = self;
        let ([kh, kw], [sh, sw], [dh, dw]) = (kernel, strides, dilations);
        let _ = write!(out, "{kh}x{kw} stride {sh}x{sw} dilate {dh}x{dw} pad ");
        pads.print(out);
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let kernel = pair(lexer)?;
        lexer.keyword("stride")?;
        let strides = pair(lexer)?;
        lexer.keyword("dilate")?;
        let dilations = pair(lexer)?;
        lexer.keyword("pad")?;
        Ok(Self { kernel, strides, dilations, pads: Attr::parse(lexer)? })
    }
}

fn pair(lexer: &mut Lexer<'_>) -> Result<[usize; 2], ParseError> {
    let first = lexer.prefixed("")? as usize;
    Ok([first, lexer.prefixed("x")? as usize])
}
