//! Left operands: matrices, and the patches of an image read where its pixels lie.

use super::DEPTH;
use crate::kernels::RingWord;
use std::ops::Range;

/// A left operand: word `k` of row `i` lies at the place of the row plus the place of the depth.
///
/// A row of a matrix is one run of words. A row of patches is an output pixel, its depth the taps of
/// a window and the channels under each: so the patches of an image with its padding around it are
/// never made.
pub(in crate::kernels) struct Left<'a, W> {
    /// The matrix or the image.
    pub(in crate::kernels) words: &'a [W],
    /// Images, lines and pixels of the result: the rows.
    pub(in crate::kernels) rows: [usize; 3],
    /// Words between those.
    pub(in crate::kernels) row_steps: [usize; 3],
    /// Lines and columns of taps, and the words that follow one another there: the depth.
    pub(in crate::kernels) taps: [usize; 3],
    /// Words between lines and columns of taps.
    pub(in crate::kernels) tap_steps: [usize; 2],
}

/// Words of the depth that follow one another: where they begin in a row, and how many.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) at: usize,
    pub(super) len: usize,
}

impl<'a, W: RingWord> Left<'a, W> {
    /// A row-major matrix of `k` columns.
    pub(in crate::kernels) fn matrix(words: &'a [W], [m, k]: [usize; 2]) -> Self {
        Self { words, rows: [1, 1, m], row_steps: [0, 0, k], taps: [1, 1, k], tap_steps: [0; 2] }
    }

    /// Rows and depth.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.rows.iter().product(), self.taps.iter().product()]
    }

    /// The words of a row-major matrix, if it is one.
    pub(super) fn as_matrix(&self) -> Option<&'a [W]> {
        let [m, k] = self.shape();
        let plain = self.rows[2] == m && self.row_steps[2] == k && self.taps[2] == k;
        plain.then(|| &self.words[..m * k])
    }

    /// Writes where the rows from `first` on begin.
    pub(super) fn places(&self, first: usize, places: &mut [usize]) {
        let [_, lines, pixels] = self.rows;
        let [images, between, step] = self.row_steps;
        let (mut line, mut pixel) = (first / pixels, first % pixels);
        let mut places = places;
        while !places.is_empty() {
            let (now, rest) = places.split_at_mut((pixels - pixel).min(places.len()));
            let mut at = line / lines * images + line % lines * between + pixel * step;
            for place in now {
                *place = at;
                at += step;
            }
            (places, line, pixel) = (rest, line + 1, 0);
        }
    }

    /// Writes the parts of a range of the depth; returns how many there are, no more than it has words.
    pub(super) fn parts(&self, depth: Range<usize>, parts: &mut [Part]) -> usize {
        let [_, columns, run] = self.taps;
        let mut at = depth.start;
        let mut count = 0;
        while at < depth.end {
            let (tap, from) = (at / run, at % run);
            let len = (run - from).min(depth.end - at);
            let place = tap / columns * self.tap_steps[0] + tap % columns * self.tap_steps[1];
            parts[count] = Part { at: place + from, len };
            (at, count) = (at + len, count + 1);
        }
        count
    }

    /// Copies a part of a row's depth to where its words follow one another.
    pub(super) fn copy(&self, place: usize, parts: &[Part], to: &mut [W]) {
        let mut to = to;
        for part in parts {
            let (now, rest) = to.split_at_mut(part.len);
            now.copy_from_slice(&self.words[place + part.at..][..part.len]);
            to = rest;
        }
    }

    /// Copies whole rows from `first` on, one after another.
    pub(super) fn copy_rows(&self, first: usize, to: &mut [W]) {
        let [_, k] = self.shape();
        let (mut places, mut parts) = ([0; 64], [Part::default(); DEPTH]);
        for (block, to) in to.chunks_mut(places.len() * k).enumerate() {
            let places = &mut places[..to.len() / k];
            self.places(first + block * 64, places);
            for top in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - top);
                let count = self.parts(top..top + depth, &mut parts);
                for (&place, row) in places.iter().zip(to.chunks_exact_mut(k)) {
                    self.copy(place, &parts[..count], &mut row[top..top + depth]);
                }
            }
        }
    }
}
