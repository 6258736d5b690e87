//! Tensors that are known when importing: initializers, `Constant` nodes and what follows from them.

use super::error::{Fault, ImportError, invalid};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// Values of a constant. All float types become `f32`, all integers `i64` with their type kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Reals.
    Float(Vec<f32>),
    /// Integers, and truth values as 0 and 1.
    Int(DataType, Vec<i64>),
}

/// A tensor known when importing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Const {
    /// The value's name in the model.
    pub(super) name: String,
    /// Extents.
    pub(super) dims: Vec<usize>,
    /// Row-major values.
    pub(super) data: Data,
    /// Stems from an initializer, so it belongs to the weights' owner.
    pub(super) private: bool,
}

impl Const {
    /// Integers of the usual type, part of the graph.
    pub(super) fn ints(name: &str, values: Vec<i64>) -> Self {
        let dims = vec![values.len()];
        Self {
            name: name.to_owned(),
            dims,
            data: Data::Int(DataType::Int64, values),
            private: false,
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(_, v) => v.len(),
        }
    }

    /// Its values as reals.
    pub(super) fn floats(&self) -> Result<&[f32], Fault> {
        match &self.data {
            Data::Float(v) => Ok(v),
            Data::Int(..) => {
                invalid(format!("`{}` holds integers, and reals are wanted", self.name))
            }
        }
    }

    /// Its values as integers.
    pub(super) fn integers(&self) -> Result<&[i64], Fault> {
        match &self.data {
            Data::Int(_, v) => Ok(v),
            Data::Float(_) => {
                invalid(format!("`{}` holds reals, and integers are wanted", self.name))
            }
        }
    }

    /// Its values as reals, whatever they are stored as.
    pub(super) fn reals(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Int(_, v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// Says in a few words what it holds, without the numbers of a weight.
    pub(super) fn brief(&self) -> String {
        match self.reals()[..] {
            [x] if !self.private => x.to_string(),
            _ => format!("a tensor of {} elements", self.len()),
        }
    }

    /// Reads a tensor of the file, taking its storage.
    ///
    /// # Errors
    /// Names the tensor where its data does not match its type and extents.
    pub(super) fn read(mut proto: TensorProto, limit: u64) -> Result<Self, ImportError> {
        let tensor = std::mem::take(&mut proto.name);
        let bad = |reason: String| ImportError::BadTensor { tensor: tensor.clone(), reason };
        if proto.data_location == Some(DataLocation::External as i32)
            || !proto.external_data.is_empty()
        {
            return Err(ImportError::ExternalData { tensor });
        }
        let Some((dims, count)) = extents(&proto.dims) else {
            return Err(bad(format!("its extents {:?} are not valid", proto.dims)));
        };
        if count as u64 > limit {
            let what = format!("the number of elements of tensor `{tensor}`");
            return Err(ImportError::Limit { what, found: count as u64, limit });
        }
        let kind = DataType::try_from(proto.data_type)
            .map_err(|_| bad(format!("its type {} is unknown", proto.data_type)))?;
        let data = decode(kind, proto).ok_or_else(|| {
            bad(format!("its data is not that of {count} elements of {}", kind.as_str_name()))
        })?;
        let constant = Self { dims, data, private: true, name: tensor.clone() };
        if constant.len() != count {
            let (name, found) = (kind.as_str_name(), constant.len());
            return Err(bad(format!(
                "it holds {found} elements of {name} and should hold {count}"
            )));
        }
        Ok(constant)
    }
}

/// Extents and element count; `None` where one is negative or the count overflows.
pub(super) fn extents(dims: &[i64]) -> Option<(Vec<usize>, usize)> {
    let dims = dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()?;
    let count = count(&dims)?;
    Some((dims, count))
}

/// Number of elements, or `None` on overflow.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn decode(kind: DataType, proto: TensorProto) -> Option<Data> {
    use DataType as T;
    let raw = &proto.raw_data;
    let ints = |v: Vec<i64>| Some(Data::Int(kind, v));
    let small = || proto.int32_data.iter().map(|&x| i64::from(x)).collect::<Vec<_>>();
    let or =
        |raw: Option<Vec<i64>>, typed: Vec<i64>| ints(if typed.is_empty() { raw? } else { typed });
    match kind {
        T::Float if proto.float_data.is_empty() => floats(raw, f32::from_le_bytes),
        T::Float => Some(Data::Float(proto.float_data)),
        T::Double if proto.double_data.is_empty() => floats(raw, |b| f64::from_le_bytes(b) as f32),
        T::Double => Some(Data::Float(proto.double_data.iter().map(|&x| x as f32).collect())),
        T::Float16 if proto.int32_data.is_empty() => floats(raw, |b| half(u16::from_le_bytes(b))),
        T::Float16 => Some(Data::Float(proto.int32_data.iter().map(|&x| half(x as u16)).collect())),
        T::Bool | T::Uint8 => or(words(raw, |[b]: [u8; 1]| i64::from(b)), small()),
        T::Int8 => or(words(raw, |b| i64::from(i8::from_le_bytes(b))), small()),
        T::Int16 => or(words(raw, |b| i64::from(i16::from_le_bytes(b))), small()),
        T::Uint16 => or(words(raw, |b| i64::from(u16::from_le_bytes(b))), small()),
        T::Int32 => or(words(raw, |b| i64::from(i32::from_le_bytes(b))), small()),
        T::Uint32 => {
            let typed = proto.uint64_data.iter().map(|&x| i64::try_from(x).ok());
            or(words(raw, |b| i64::from(u32::from_le_bytes(b))), typed.collect::<Option<_>>()?)
        }
        T::Int64 if proto.int64_data.is_empty() => ints(words(raw, i64::from_le_bytes)?),
        T::Int64 => ints(proto.int64_data),
        // Larger values than i64 has are of no use to a network and are refused.
        T::Uint64 => {
            let typed = proto.uint64_data.iter().map(|&x| i64::try_from(x).ok());
            let raw = words(raw, u64::from_le_bytes)?;
            let raw = raw.into_iter().map(|x| i64::try_from(x).ok()).collect::<Option<_>>()?;
            or(Some(raw), typed.collect::<Option<_>>()?)
        }
        T::Undefined
        | T::String
        | T::Complex64
        | T::Complex128
        | T::Bfloat16
        | T::Float8e4m3fn
        | T::Float8e4m3fnuz
        | T::Float8e5m2
        | T::Float8e5m2fnuz
        | T::Uint4
        | T::Int4
        | T::Float4e2m1 => None,
    }
}

fn floats<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f32) -> Option<Data> {
    words(raw, read).map(Data::Float)
}

fn words<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (chunks, rest) = raw.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().map(|c| read(*c)).collect())
}

/// IEEE half precision to single precision, which holds every half exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (1, 2f32.powi(-24)),
            (0x3555, 0.333_251_95),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value, "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn data_must_match_the_extents() {
        let proto = |dims: &[i64], raw: usize| TensorProto {
            name: "w".into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: vec![0; raw],
            ..TensorProto::default()
        };
        assert_eq!(Const::read(proto(&[2, 2], 16), 100).unwrap().len(), 4);
        for (dims, raw) in [(&[2, 2][..], 15), (&[2, 2], 12), (&[-1], 4), (&[i64::MAX, 8], 4)] {
            let error = Const::read(proto(dims, raw), 100).unwrap_err();
            assert!(matches!(error, ImportError::BadTensor { .. }), "{error}");
        }
        assert!(matches!(Const::read(proto(&[101], 404), 100), Err(ImportError::Limit { .. })));
    }
}
