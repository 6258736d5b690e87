//! Nodes that make constants, that know their result from shapes alone, or that change nothing.

use super::super::constant::{Const, Data, count};
use super::super::cx::{Cx, Res, Value, dims_from};
use super::super::error::{invalid, refuse};
use mpcc_ir::nn::ClearOp;
use std::rc::Rc;
use tract_onnx::pb::tensor_proto::DataType;

pub(super) fn known(constant: Const) -> Vec<Value> {
    vec![Value::Const(Rc::new(constant))]
}

pub(super) fn constant(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let name = cx.output_name();
    let scalar = |data| Const { name: name.clone(), dims: vec![], data, private: false };
    let listed = |len, data| Const { name: name.clone(), dims: vec![len], data, private: false };
    let constant = match cx.node.attribute.first().map(|a| a.name.as_str()) {
        Some("value") => match cx.tensor("value")? {
            Some(constant) => constant,
            None => return invalid("it holds no tensor"),
        },
        Some("value_int") => scalar(Data::Int(DataType::Int64, vec![cx.int("value_int", 0)?])),
        Some("value_ints") => Const::ints(&name, cx.ints("value_ints")?.unwrap_or_default()),
        Some("value_float") => scalar(Data::Float(vec![cx.float("value_float", 0.0)? as f32])),
        Some("value_floats") => {
            let list = cx.floats("value_floats")?.unwrap_or_default();
            listed(list.len(), Data::Float(list))
        }
        Some(other) => {
            return refuse(
                format!("its attribute `{other}` is not supported"),
                "use a dense tensor of numbers",
            );
        }
        None => return invalid("it holds no value"),
    };
    Ok(known(constant))
}

pub(super) fn constant_of_shape(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = dims_from(cx.required(0)?.integers()?)?;
    let elements = bounded(cx, &dims)?;
    let value = cx.tensor("value")?;
    let data = match value.as_ref().map(|v| &v.data) {
        None => Data::Float(vec![0.0; elements]),
        Some(Data::Float(v)) if v.len() == 1 => Data::Float(vec![v[0]; elements]),
        Some(Data::Int(kind, v)) if v.len() == 1 => Data::Int(*kind, vec![v[0]; elements]),
        Some(Data::Float(_) | Data::Int(..)) => return invalid("its value is not one number"),
    };
    // The value is part of the graph, wherever the shape comes from.
    Ok(known(Const { name: cx.output_name(), dims, data, private: false }))
}

/// The number of elements of a new constant, within the limits; a constant may be empty.
pub(super) fn bounded(cx: &Cx<'_>, dims: &[usize]) -> Res<usize> {
    let elements = count(dims).unwrap_or(usize::MAX);
    let what = format!("the number of elements of `{}`", cx.output_name());
    cx.limits.check(&what, elements, cx.limits.tensor_elements)?;
    Ok(elements)
}

pub(super) fn range(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let inputs = [cx.required(0)?, cx.required(1)?, cx.required(2)?];
    let private = inputs.iter().any(|c| c.private);
    let [start, limit, step] = inputs.each_ref().map(|c| c.reals());
    let (&[start], &[limit], &[step]) = (&start[..], &limit[..], &step[..]) else {
        return invalid("its inputs are not single numbers");
    };
    let len = ((limit - start) / step).ceil().max(0.0);
    if !len.is_finite() {
        return invalid("its step is zero");
    }
    let dims = vec![len as usize];
    let len = bounded(cx, &dims)?;
    let values = (0..len).map(|i| start + i as f64 * step);
    let data = match &inputs[0].data {
        Data::Float(_) => Data::Float(values.map(|x| x as f32).collect()),
        Data::Int(kind, _) => Data::Int(*kind, values.map(|x| x as i64).collect()),
    };
    Ok(known(Const { name: cx.output_name(), dims, data, private }))
}

pub(super) fn shape(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let rank = dims.len() as i64;
    let clamp =
        |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int("start", 0)?), clamp(cx.int("end", rank)?));
    let list = dims.get(start..end).unwrap_or_default();
    Ok(known(Const::ints(&cx.output_name(), list.iter().map(|&d| d as i64).collect())))
}

pub(super) fn size(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let size = Const::ints(&cx.output_name(), vec![dims.iter().product::<usize>() as i64]);
    Ok(known(Const { dims: vec![], ..size }))
}

pub(super) fn identity(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    Ok(vec![cx.input(0)?])
}

pub(super) fn dropout(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let one_is = |c: &Const, want: f64| c.reals().iter().all(|x| *x == want);
    let training = cx.constant(2)?.is_some_and(|c| !one_is(&c, 0.0));
    let dropped = cx.constant(1)?.is_none_or(|c| !one_is(&c, 0.0));
    if training && dropped {
        return refuse("it is in training mode", "export the model for inference");
    }
    let x = cx.input(0)?;
    let dims = cx.dims_of(&x);
    let mask = Data::Int(DataType::Bool, vec![1; bounded(cx, &dims)?]);
    let name = cx.node.output.get(1).cloned().unwrap_or_default();
    Ok([vec![x], known(Const { name, dims, data: mask, private: false })].concat())
}

pub(super) fn cast(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let Ok(to) = DataType::try_from(cx.int("to", 0)? as i32) else {
        return invalid("its target type is unknown");
    };
    let float = [DataType::Float, DataType::Float16, DataType::Double].contains(&to);
    let value = cx.input(0)?;
    match (&value, float) {
        (Value::Const(c), _) => Ok(known(Const {
            data: cast_data(&c.data, to)?,
            name: cx.output_name(),
            dims: c.dims.clone(),
            private: c.private,
        })),
        (Value::Net { id, .. }, true) => Ok(super::one(*id)),
        // A clear value is handed out as a float whatever its type in the model.
        (Value::Clear(clear), _)
            if float || matches!(clear.ops.last(), Some(ClearOp::ArgMax { .. })) =>
        {
            Ok(vec![value])
        }
        (Value::Net { .. } | Value::Clear(_) | Value::Unknown, _) => refuse(
            format!("it rounds to {}", to.as_str_name()),
            "keep values in float32, or cast outside of the model",
        ),
    }
}

fn cast_data(data: &Data, to: DataType) -> Res<Data> {
    use DataType as T;
    Ok(match (to, data) {
        (T::Float | T::Double | T::Float16, Data::Float(v)) => Data::Float(v.clone()),
        (T::Float | T::Double | T::Float16, Data::Int(_, v)) => {
            Data::Float(v.iter().map(|&x| x as f32).collect())
        }
        (T::Bool, Data::Float(v)) => {
            Data::Int(to, v.iter().map(|&x| i64::from(x != 0.0)).collect())
        }
        (T::Bool, Data::Int(_, v)) => Data::Int(to, v.iter().map(|&x| i64::from(x != 0)).collect()),
        (T::Int64 | T::Int32, Data::Float(v)) => {
            Data::Int(to, v.iter().map(|&x| x as i64).collect())
        }
        (T::Int64, Data::Int(_, v)) => Data::Int(to, v.clone()),
        (T::Int32, Data::Int(_, v)) => {
            Data::Int(to, v.iter().map(|&x| i64::from(x as i32)).collect())
        }
        (other, _) => {
            return refuse(
                format!("it makes a constant of type {}", other.as_str_name()),
                "use float32 or int64",
            );
        }
    })
}
