//! Rates of products: measured on a grid of shapes, interpolated in between.

use mpcc_ir::Window;
use serde::{Deserialize, Serialize};

/// Rows of the left operand of the measured products.
pub(super) const M: [usize; 9] = [1, 2, 4, 7, 14, 28, 98, 392, 784];
/// Depths of the measured products.
pub(super) const K: [usize; 6] = [4, 16, 64, 256, 1024, 4096];
/// Columns of the right operand of the measured products.
pub(super) const N: [usize; 7] = [1, 8, 16, 32, 64, 256, 1024];
/// Lines and pixels of the results of measured windows of 3 x 3.
pub(super) const PATCHES: [[usize; 2]; 6] = [[1, 7], [2, 7], [4, 7], [4, 14], [14, 14], [28, 28]];
/// Pixels of those.
const PATCH_M: [usize; 6] = [7, 14, 28, 56, 196, 784];
/// Depths of those: nine times the channels.
pub(super) const PATCH_K: [usize; 4] = [36, 144, 576, 2304];
/// Channels of their results.
pub(super) const PATCH_N: [usize; 4] = [16, 64, 256, 512];
/// Widths of the results of measured depth-wise convolutions.
pub(super) const PLANES: [usize; 5] = [7, 14, 28, 56, 112];

/// Columns that kernels compute together, at most.
const MOST_LANES: usize = 64;

/// What products and convolutions cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Products {
    /// Columns that kernels compute together: others are computed along.
    pub lanes: usize,
    /// Multiply-adds per nanosecond of `[m, k] x [k, n]`: `n` runs fastest, then `k`, then `m`, over
    /// 1 2 4 7 14 28 98 392 784, 4 16 64 256 1024 4096 and 1 8 16 32 64 256 1024.
    pub rates: Vec<f64>,
    /// The same for the patches under windows of 3 x 3, which share words of the image and whose
    /// padding is written first: over 7 14 28 56 196 784 pixels, 36 144 576 2304 and 16 64 256 512.
    pub patch_rates: Vec<f64>,
    /// Nanoseconds per multiply-add of depth-wise convolutions, by width of the output: 7 14 28 56 112.
    pub plane_ns: Vec<f64>,
    /// The same for windows that move further.
    pub stride_plane_ns: Vec<f64>,
    /// Nanoseconds per multiply-add of convolutions in groups of a few channels.
    pub group_ns: f64,
}

impl Products {
    /// Whether there is a rate for every measured shape, and a number of lanes that kernels may have.
    pub(super) fn are_whole(&self) -> bool {
        let counts = [
            (&self.rates, M.len() * K.len() * N.len()),
            (&self.patch_rates, PATCHES.len() * PATCH_K.len() * PATCH_N.len()),
            (&self.plane_ns, PLANES.len()),
            (&self.stride_plane_ns, PLANES.len()),
        ];
        let is_rate = |value: &f64| (1e-6..=1e6).contains(value);
        counts.iter().all(|(rates, count)| rates.len() == *count && rates.iter().all(is_rate))
            && is_rate(&self.group_ns)
            && self.lanes.is_power_of_two()
            && self.lanes <= MOST_LANES
    }

    /// Nanoseconds of a product of matrices.
    pub fn gemm_ns(&self, mkn: [usize; 3]) -> f64 {
        self.product_ns(mkn, &Grid { m: &M, k: &K, n: &N, rates: &self.rates })
    }

    fn product_ns(&self, [m, k, n]: [usize; 3], grid: &Grid<'_>) -> f64 {
        let whole = n.next_multiple_of(self.lanes.max(1));
        let n = if n <= self.lanes / 2 { n } else { whole };
        let macs = (m * n) as f64 * k as f64;
        if macs == 0.0 { 0.0 } else { macs / grid.rate([m, k, n]) }
    }

    /// Nanoseconds of a convolution.
    pub fn conv_ns(
        &self,
        window: &Window,
        groups: usize,
        [images, h, w, channels]: [usize; 4],
        out_channels: usize,
    ) -> f64 {
        let [oh, ow] = window.output([h, w]).unwrap_or([0, 0]);
        let taps = window.kernel[0] * window.kernel[1];
        let groups = groups.max(1);
        let (cg, og, pixels) = (channels / groups, out_channels / groups, images * oh * ow);
        let macs = (pixels * out_channels) as f64 * (taps * cg) as f64;
        if cg == 1 && og <= 2 {
            let dense = window.strides[1] == 1;
            let by_width = if dense { &self.plane_ns } else { &self.stride_plane_ns };
            return along(&PLANES, by_width, ow) * macs;
        }
        if cg <= og && og < self.lanes && self.lanes.is_multiple_of(og) {
            return self.group_ns * macs;
        }
        let depth = cg * taps;
        // Patches of a few results are not worth dot products.
        let n = if depth < 32 * og { og.max(self.lanes / 2 + 1) } else { og };
        let patches = Grid { m: &PATCH_M, k: &PATCH_K, n: &PATCH_N, rates: &self.patch_rates };
        let mkn = [pixels, depth, n];
        let each = if taps == 1 { self.gemm_ns(mkn) } else { self.product_ns(mkn, &patches) };
        each * groups as f64
    }
}

/// Multiply-adds per nanosecond by extents of a product; those of `n` run fastest, then those of `k`.
struct Grid<'a> {
    m: &'a [usize],
    k: &'a [usize],
    n: &'a [usize],
    rates: &'a [f64],
}

impl Grid<'_> {
    /// The logarithm is linear in those of the extents.
    fn rate(&self, [m, k, n]: [usize; 3]) -> f64 {
        let (ms, ks, ns) = (near(self.m, m), near(self.k, k), near(self.n, n));
        let mut log = 0.0;
        for (i, wi) in ms {
            for (j, wj) in ks {
                for (l, wl) in ns {
                    let at = (i * self.k.len() + j) * self.n.len() + l;
                    let rate = self.rates.get(at).copied().unwrap_or(1.0).max(1e-6);
                    log += wi * wj * wl * rate.ln();
                }
            }
        }
        log.exp()
    }
}

/// The two grid points around `x` with their weights; the nearest alone beyond the ends.
fn near(grid: &[usize], x: usize) -> [(usize, f64); 2] {
    let last = grid.len() - 1;
    let above = grid.iter().position(|at| *at >= x).unwrap_or(last);
    if above == 0 || grid[above] <= x {
        return [(above, 1.0), (above, 0.0)];
    }
    let [low, high, x] = [grid[above - 1], grid[above], x].map(|v| (v as f64).ln());
    let weight = (x - low) / (high - low);
    [(above - 1, 1.0 - weight), (above, weight)]
}

fn along(grid: &[usize], values: &[f64], x: usize) -> f64 {
    let value = |at: usize| values.get(at).copied().unwrap_or(0.0);
    near(grid, x).iter().map(|(at, weight)| weight * value(*at)).sum()
}
