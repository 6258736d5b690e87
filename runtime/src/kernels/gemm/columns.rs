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
    /// Words of an image row, and the column that the part begins at.
    row: usize,
    first: usize,
    /// The columns of an image row that are right.
    inside: Range<usize>,
}

impl<W> Lying<'_, W> {
    /// Calls `zero` with the place in `words` of every column that counts as zero.
    pub(super) fn outside(&self, mut zero: impl FnMut(usize)) {
        if self.inside == (0..self.row) {
            return;
        }
        let end = self.first + self.words.len();
        for row in (self.first / self.row * self.row..end).step_by(self.row) {
            for column in (0..self.inside.start).chain(self.inside.end..self.row) {
                let at = row + column;
                if (self.first..end).contains(&at) {
                    zero(at - self.first);
                }
            }
        }
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
        Some(Lying { words, row: self.n, first: cols.start, inside: 0..self.n })
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

impl<W: RingWord> Columns<W> for Patches<'_, W> {
    fn lying(&self, row: usize, cols: &Range<usize>) -> Option<Lying<'_, W>> {
        let ([ih, iw], [_, ow]) = (self.input, self.output);
        if self.window.strides != [1, 1] || iw != ow {
            return None;
        }
        let [kh, kw] = self.window.kernel;
        let (channel, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
        let plane = &self.x[channel * ih * iw..][..ih * iw];
        let (dilations, pads) = (self.window.dilations, self.window.pads);
        let ahead = cols.start + ky * dilations[0] * iw + kx * dilations[1];
        let from = ahead.checked_sub(pads[0] * iw + pads[1])?;
        let words = plane.get(from..from + cols.len())?;
        Some(Lying { words, row: iw, first: cols.start, inside: self.inside(kx) })
    }

    fn line(&self, row: usize, cols: Range<usize>, line: &mut [W]) {
        let ([ih, iw], [_, ow]) = (self.input, self.output);
        let [kh, kw] = self.window.kernel;
        let (channel, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
        let plane = &self.x[channel * ih * iw..][..ih * iw];
        let inside = self.inside(kx);
        if self.window.strides == [1, 1] && iw == ow {
            return self.shifted(line, plane, [ky, kx], cols.start, &inside);
        }
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

    /// A row of patches as the image moved by a tap: where its rows are as long as those of the result, that
    /// is one copy, and zeros for the columns that came over the edge.
    fn shifted(
        &self,
        line: &mut [W],
        plane: &[W],
        [ky, kx]: [usize; 2],
        first: usize,
        inside: &Range<usize>,
    ) {
        let iw = self.input[1];
        let (dilations, pads) = (self.window.dilations, self.window.pads);
        let ahead = first + ky * dilations[0] * iw + kx * dilations[1];
        let behind = pads[0] * iw + pads[1];
        let start = behind.saturating_sub(ahead).min(line.len());
        let from = (ahead + start).saturating_sub(behind).min(plane.len());
        let end = (start + plane.len() - from).min(line.len());
        line[..start].fill(W::ZERO);
        line[start..end].copy_from_slice(&plane[from..from + end - start]);
        line[end..].fill(W::ZERO);
        if *inside == (0..iw) {
            return;
        }
        let len = line.len();
        for row in (first / iw * iw..first + len).step_by(iw) {
            for outside in [0..inside.start, inside.end..iw] {
                let at = |column: usize| (row + column).saturating_sub(first).min(len);
                line[at(outside.start)..at(outside.end)].fill(W::ZERO);
            }
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
