//! Convolutions.

use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// `out = conv(x, w)`: `x: [n, c, h, w]`, `w: [o, c / groups, kh, kw]`, `out: [n, o, oh, ow]`.
///
/// Same time for all values.
///
/// # Panics
/// If a length does not match its shape. The plan loader has checked them, so it would be a bug.
#[expect(clippy::too_many_arguments, reason = "the fields of the plan's step")]
pub fn conv<W: RingWord>(
    out: &mut [W],
    x: &[W],
    w: &[W],
    window: &Window,
    groups: usize,
    x_shape: [usize; 4],
    out_channels: usize,
    _scratch: &mut Scratch,
) {
    let [n, c, ih, iw] = x_shape;
    let [oh, ow] = window.output([ih, iw]).expect("the plan loader checks that a window fits");
    let [kh, kw] = window.kernel;
    let (cg, og) = (c / groups, out_channels / groups);
    assert_eq!(
        [out.len(), x.len(), w.len()],
        [n * out_channels * oh * ow, n * c * ih * iw, out_channels * cg * kh * kw]
    );
    for (at, out) in out.iter_mut().enumerate() {
        let (ox, oy, o, b) =
            (at % ow, at / ow % oh, at / ow / oh % out_channels, at / ow / oh / out_channels);
        let mut sum = W::ZERO;
        for ci in 0..cg {
            for ky in 0..kh {
                let Some(y) = window.input_at(0, oy, ky, ih) else { continue };
                for kx in 0..kw {
                    let Some(xx) = window.input_at(1, ox, kx, iw) else { continue };
                    let pixel = x[((b * c + o / og * cg + ci) * ih + y) * iw + xx];
                    sum = sum.add(w[((o * cg + ci) * kh + ky) * kw + kx].mul(pixel));
                }
            }
        }
        *out = sum;
    }
}
