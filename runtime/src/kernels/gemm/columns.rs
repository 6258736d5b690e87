//! Right operands: matrices as they lie, and the patches of an image without making them all.

use crate::kernels::RingWord;
use mpcc_ir::Window;
use std::ops::Range;

/// A right operand that is read line by line.
pub(in crate::kernels) trait Columns<W> {
    /// Columns `cols` of row `row` where they lie in memory, if they do.
    fn lying(&self, row: usize, cols: &Range<usize>) -> Option<Lying<'_, W>>;
    /// Writes columns `cols` of row `row` to `line`.
    fn line(&self, row: usize, cols: Range<usize>, line: &mut [W]);
    /// The whole as a row-major matrix, if it is one.
    fn as_rows(&self) -> Option<&[W]>;
}

/// A part of a row as it lies in memory. Where it is a moved image, columns that came over an edge count as zero.
pub(in crate::kernels) struct Lying<'a, W> {
    pub(super) words: &'a [W],
    frame: Frame,
}

impl<W> Lying<'_, W> {
    /// The ranges of `words` that count as zero.
    pub(super) fn outside(&self) -> impl Iterator<Item = Range<usize>> + use<W> {
        self.frame.clone().outside(self.words.len())
    }
}

/// Rows of an image one after another, from some column on, and the columns of each that are right.
#[derive(Clone)]
struct Frame {
    row: usize,
    first: usize,
    inside: Range<usize>,
}

impl Frame {
    /// The places of the other columns among `len` of them, counted from the first.
    fn outside(self, len: usize) -> impl Iterator<Item = Range<usize>> {
        let Self { row, first, inside } = self;
        // Where all columns are right there is no row to look at.
        let end = if inside == (0..row) { 0 } else { first + len };
        (first / row * row..end).step_by(row).flat_map(move |start| {
            [0..inside.start, inside.end..row].map(|columns| {
                let at = |column: usize| (start + column).saturating_sub(first).min(len);
                at(columns.start)..at(columns.end)
            })
        })
    }
}

/// A row-major matrix of `n` columns.
pub(in crate::kernels) struct Rows<'a, W> {
    pub(in crate::kernels) b: &'a [W],
    pub(in crate::kernels) n: usize,
}

impl<W: RingWord> Columns<W> for Rows<'_, W> {
    fn lying(&self, row: usize, cols: &Range<usize>) -> Option<Lying<'_, W>> {
        let words = &self.b[row * self.n..][cols.clone()];
        Some(Lying { words, frame: Frame { row: self.n, first: cols.start, inside: 0..self.n } })
    }

    fn line(&self, row: usize, cols: Range<usize>, line: &mut [W]) {
        line.copy_from_slice(&self.b[row * self.n..][cols]);
    }

    fn as_rows(&self) -> Option<&[W]> {
        Some(self.b)
    }
}

/// The patches under a sliding window: a row per channel and tap, a column per output pixel.
pub(in crate::kernels) struct Patches<'a, W> {
    /// The image, `[channels, height, width]`.
    pub(in crate::kernels) x: &'a [W],
    /// Geometry.
    pub(in crate::kernels) window: &'a Window,
    /// Height and width of the image.
    pub(in crate::kernels) input: [usize; 2],
    /// Height and width of the result.
    pub(in crate::kernels) output: [usize; 2],
}

/// A channel of the image and the place of a word under the window.
struct Tap<'a, W> {
    plane: &'a [W],
    ky: usize,
    kx: usize,
}

impl<W: RingWord> Columns<W> for Patches<'_, W> {
    fn lying(&self, row: usize, cols: &Range<usize>) -> Option<Lying<'_, W>> {
        if !self.is_moved() {
            return None;
        }
        let Tap { plane, ky, kx } = self.tap(row);
        let (ahead, behind) = self.moved(ky, kx, cols.start);
        let from = ahead.checked_sub(behind)?;
        let words = plane.get(from..from + cols.len())?;
        Some(Lying { words, frame: self.frame(kx, cols.start) })
    }

    fn line(&self, row: usize, cols: Range<usize>, line: &mut [W]) {
        let ([ih, iw], [_, ow]) = (self.input, self.output);
        let tap = self.tap(row);
        if self.is_moved() {
            return self.shifted(line, &tap, cols.start);
        }
        let Tap { plane, ky, kx } = tap;
        let inside = self.inside(kx);
        let (mut oy, mut ox, mut line) = (cols.start / ow, cols.start % ow, line);
        while !line.is_empty() {
            let len = (ow - ox).min(line.len());
            let (segment, rest) = line.split_at_mut(len);
            match self.window.input_at(0, oy, ky, ih) {
                Some(y) => self.segment(segment, &plane[y * iw..][..iw], kx, ox, &inside),
                None => segment.fill(W::ZERO),
            }
            (oy, ox, line) = (oy + 1, 0, rest);
        }
    }

    fn as_rows(&self) -> Option<&[W]> {
        None
    }
}

impl<W: RingWord> Patches<'_, W> {
    /// The output columns for which horizontal tap `kx` lies inside the image.
    fn inside(&self, kx: usize) -> Range<usize> {
        let (pad, step) = (self.window.pads[1], self.window.strides[1]);
        let ([_, iw], [_, ow]) = (self.input, self.output);
        let at = kx * self.window.dilations[1];
        let start = pad.saturating_sub(at).div_ceil(step).min(ow);
        let end = (iw + pad).saturating_sub(at).div_ceil(step).clamp(start, ow);
        start..end
    }

    /// The channel and the tap that a row of patches belongs to.
    fn tap(&self, row: usize) -> Tap<'_, W> {
        let [kh, kw] = self.window.kernel;
        let size = self.input[0] * self.input[1];
        let plane = &self.x[row / (kh * kw) * size..][..size];
        Tap { plane, ky: row / kw % kh, kx: row % kw }
    }

    /// Whether a row of patches is the image moved by a tap: where its rows are as long as those of the result.
    fn is_moved(&self) -> bool {
        self.window.strides == [1, 1] && self.input[1] == self.output[1]
    }

    /// Output column `first` of a moved image is the word `ahead - behind` of the image, if there is one.
    fn moved(&self, ky: usize, kx: usize, first: usize) -> (usize, usize) {
        let (iw, dilations, pads) = (self.input[1], self.window.dilations, self.window.pads);
        (first + ky * dilations[0] * iw + kx * dilations[1], pads[0] * iw + pads[1])
    }

    fn frame(&self, kx: usize, first: usize) -> Frame {
        Frame { row: self.input[1], first, inside: self.inside(kx) }
    }

    /// A moved image: one copy, and zeros for what lies beyond the image or came over an edge.
    fn shifted(&self, line: &mut [W], &Tap { plane, ky, kx }: &Tap<'_, W>, first: usize) {
        let (ahead, behind) = self.moved(ky, kx, first);
        let start = behind.saturating_sub(ahead).min(line.len());
        let from = (ahead + start).saturating_sub(behind).min(plane.len());
        let end = (start + plane.len() - from).min(line.len());
        line[..start].fill(W::ZERO);
        line[start..end].copy_from_slice(&plane[from..from + end - start]);
        line[end..].fill(W::ZERO);
        for outside in self.frame(kx, first).outside(line.len()) {
            line[outside].fill(W::ZERO);
        }
    }

    /// Writes output columns `ox..` of one row of patches from one row of the image.
    fn segment(&self, segment: &mut [W], row: &[W], kx: usize, ox: usize, inside: &Range<usize>) {
        let len = segment.len();
        let start = inside.start.saturating_sub(ox).min(len);
        let end = inside.end.saturating_sub(ox).clamp(start, len);
        segment[..start].fill(W::ZERO);
        segment[end..].fill(W::ZERO);
        if start == end {
            return;
        }
        let step = self.window.strides[1];
        let from = (ox + start) * step + kx * self.window.dilations[1] - self.window.pads[1];
        every(&mut segment[start..end], &row[from..], step);
    }
}

/// Copies every `step`-th word of `from`; the loops for small steps become vector instructions.
pub(in crate::kernels) fn every<W: RingWord>(to: &mut [W], from: &[W], step: usize) {
    match (step, to.split_last_mut()) {
        (1, _) => to.copy_from_slice(&from[..to.len()]),
        (2, Some((last, to))) => {
            *last = from[2 * to.len()];
            for (word, pair) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                *word = pair[0];
            }
        }
        _ => {
            for (word, &pixel) in to.iter_mut().zip(from.iter().step_by(step)) {
                *word = pixel;
            }
        }
    }
}
