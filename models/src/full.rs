//! The networks that papers measure, in full size: 224 x 224 images, 1000 classes.

use crate::Model;
use crate::net::{Conv, Net, Value};
use crate::small::conv_norm;

/// Extents of an image of the `ImageNet` networks.
const IMAGE: [usize; 4] = [1, 3, 224, 224];
/// Mean factor of the normalisation that ends a residual branch: below one, as training makes it, so
/// that sixteen sums do not grow without bound.
const BRANCH_GAIN: f32 = 0.25;

/// ResNet-50 as torchvision has it: the stride is on the 3 x 3 convolution of a block. 102 MB.
pub fn resnet50(seed: u64) -> Model {
    let (mut net, x) = Net::new("resnet50", seed, &IMAGE);
    let x = conv_norm(&mut net, &x, 64, Conv::same(7).stride(2), 1.0);
    let x = net.relu(&x);
    let mut x = net.max_pool(&x, 3, 2, 1);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = bottleneck(&mut net, &x, 64 << stage, stride);
        }
    }
    let x = net.global_average_pool(&x);
    let x = net.flatten(&x);
    let y = net.dense(&x, 1000);
    net.finish(y)
}

/// Three convolutions around a narrow middle, and the input, projected where the extents differ.
fn bottleneck(net: &mut Net, x: &Value, width: usize, stride: usize) -> Value {
    let channels = 4 * width;
    let y = conv_norm(net, x, width, Conv::same(1), 1.0);
    let y = net.relu(&y);
    let y = conv_norm(net, &y, width, Conv::same(3).stride(stride), 1.0);
    let y = net.relu(&y);
    let y = conv_norm(net, &y, channels, Conv::same(1), BRANCH_GAIN);
    let x = if x.dims() == y.dims() {
        x.clone()
    } else {
        conv_norm(net, x, channels, Conv::same(1).stride(stride), 1.0)
    };
    let sum = net.add(&y, &x);
    net.relu(&sum)
}

/// A ReLU of that many elements and nothing else: what one costs.
pub fn relu(elements: usize) -> Model {
    let (mut net, x) = Net::new("relu", 0, &[1, elements]);
    let y = net.relu(&x);
    net.finish(y)
}

/// VGG-16 as torchvision has it, without batch normalisation. 553 MB.
pub fn vgg16(seed: u64) -> Model {
    let (mut net, mut x) = Net::new("vgg16", seed, &IMAGE);
    for (channels, convs) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..convs {
            x = net.conv(&x, channels, Conv::same(3));
            x = net.relu(&x);
        }
        x = net.max_pool(&x, 2, 2, 0);
    }
    let mut x = net.flatten(&x);
    for _ in 0..2 {
        x = net.dense(&x, 4096);
        x = net.relu(&x);
    }
    let y = net.dense(&x, 1000);
    net.finish(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use tract_onnx::pb::ModelProto;

    /// Trainable parameters: the running statistics of a normalisation, its parameters 2 and 3, are not.
    fn trainable(model: &Model) -> usize {
        let graph = ModelProto::decode(&model.onnx[..]).unwrap().graph.unwrap();
        let statistic = |name: &str| {
            name.starts_with("batch") && (name.ends_with(".2") || name.ends_with(".3"))
        };
        let own = graph.initializer.iter().filter(|t| !statistic(&t.name));
        own.map(|t| t.dims.iter().product::<i64>() as usize).sum()
    }

    #[test]
    fn the_networks_have_the_parameters_that_torchvision_counts() {
        let model = resnet50(1);
        assert_eq!(trainable(&model), 25_557_032);
        assert_eq!(model.output, [1, 1000]);
    }

    #[test]
    #[ignore = "builds 553 MB: cargo test --release -p mpcc-models -- --ignored"]
    fn vgg16_has_the_parameters_that_torchvision_counts() {
        assert_eq!(trainable(&vgg16(1)), 138_357_544);
    }
}
