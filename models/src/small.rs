//! Small networks, one per family: a test compiles and runs each in well under a second.

use crate::Model;
use crate::net::{Conv, Net, Value};

/// A builder of a model from a seed.
pub type Build = fn(u64) -> Model;

/// All of them.
pub const ALL: [Build; 4] = [lenet, small_resnet, small_mobilenet, small_vgg];

/// LeNet-5 with ReLU: two convolutions with mean pooling, three dense layers, 10 classes of 28 x 28
/// grey images.
pub fn lenet(seed: u64) -> Model {
    let (mut net, x) = Net::new("lenet", seed, &[1, 1, 28, 28]);
    let x = net.conv(&x, 6, Conv::same(5));
    let x = net.relu(&x);
    let x = net.average_pool(&x, 2, 2);
    let x = net.conv(&x, 16, Conv::same(5).valid());
    let x = net.relu(&x);
    let x = net.average_pool(&x, 2, 2);
    let x = net.flatten(&x);
    let x = net.dense(&x, 120);
    let x = net.relu(&x);
    let x = net.dense(&x, 84);
    let x = net.relu(&x);
    let y = net.dense(&x, 10);
    net.finish(y)
}

/// ResNet-8 for 32 x 32 images: three residual blocks, two with a projection.
pub fn small_resnet(seed: u64) -> Model {
    let (mut net, x) = Net::new("small_resnet", seed, &[1, 3, 32, 32]);
    let x = conv_norm(&mut net, &x, 16, Conv::same(3), 1.0);
    let mut x = net.relu(&x);
    for (channels, stride) in [(16, 1), (32, 2), (64, 2)] {
        let y = conv_norm(&mut net, &x, channels, Conv::same(3).stride(stride), 1.0);
        let y = net.relu(&y);
        let y = conv_norm(&mut net, &y, channels, Conv::same(3), 0.5);
        if stride > 1 {
            x = conv_norm(&mut net, &x, channels, Conv::same(1).stride(stride), 1.0);
        }
        x = net.add(&y, &x);
        x = net.relu(&x);
    }
    let x = net.global_average_pool(&x);
    let x = net.flatten(&x);
    let y = net.dense(&x, 10);
    net.finish(y)
}

/// A few layers of MobileNet V2 and V3 for 32 x 32 images: inverted residuals with depthwise
/// convolutions, `ReLU6`, then hard swish and a squeeze-and-excite block.
pub fn small_mobilenet(seed: u64) -> Model {
    let (mut net, x) = Net::new("small_mobilenet", seed, &[1, 3, 32, 32]);
    let x = conv_norm(&mut net, &x, 16, Conv::same(3).stride(2), 1.0);
    let x = net.hard_swish(&x);

    let y = conv_norm(&mut net, &x, 32, Conv::same(1), 1.0);
    let y = net.relu6(&y);
    let y = conv_norm(&mut net, &y, 32, Conv::same(3).groups(32), 1.0);
    let y = net.relu6(&y);
    let y = conv_norm(&mut net, &y, 16, Conv::same(1), 0.5);
    let x = net.add(&x, &y);

    let y = conv_norm(&mut net, &x, 48, Conv::same(1), 1.0);
    let y = net.hard_swish(&y);
    let y = conv_norm(&mut net, &y, 48, Conv::same(5).stride(2).groups(48), 1.0);
    let y = squeeze_excite(&mut net, &y, 12);
    let y = net.hard_swish(&y);
    let x = conv_norm(&mut net, &y, 24, Conv::same(1), 1.0);

    let x = net.global_average_pool(&x);
    let x = net.flatten(&x);
    let y = net.dense(&x, 10);
    net.finish(y)
}

/// Weighs each channel by what all channels hold on average.
fn squeeze_excite(net: &mut Net, x: &Value, squeezed: usize) -> Value {
    let s = net.global_average_pool(x);
    let s = net.conv(&s, squeezed, Conv::same(1));
    let s = net.relu(&s);
    let s = net.conv(&s, x.dims()[1], Conv::same(1));
    let s = net.hard_sigmoid(&s);
    net.mul(x, &s)
}

/// Five convolutions with maximum pooling and two dense layers, for 32 x 32 images.
pub fn small_vgg(seed: u64) -> Model {
    let (mut net, mut x) = Net::new("small_vgg", seed, &[1, 3, 32, 32]);
    for (channels, convs) in [(16, 2), (32, 2), (64, 1)] {
        for _ in 0..convs {
            x = net.conv(&x, channels, Conv::same(3));
            x = net.relu(&x);
        }
        x = net.max_pool(&x, 2, 2, 0);
    }
    let x = net.flatten(&x);
    let x = net.dense(&x, 128);
    let x = net.relu(&x);
    let y = net.dense(&x, 10);
    net.finish(y)
}

/// Convolution and batch normalisation.
pub(crate) fn conv_norm(net: &mut Net, x: &Value, channels: usize, conv: Conv, gain: f32) -> Value {
    let x = net.conv(x, channels, conv.no_bias());
    net.batch_norm(&x, gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_file() {
        for build in ALL {
            let (first, again, other) = (build(1), build(1), build(2));
            assert_eq!(first.onnx, again.onnx, "{}", first.name);
            assert_ne!(first.onnx, other.onnx, "{}", first.name);
            assert_eq!(first.output, [1, 10]);
        }
    }
}
