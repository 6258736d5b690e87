//! Inputs and outputs as `.npy` and `.npz` files.

mod header;

use crate::client::Output;
use mpcc_ir::files::{check_writable, write_secret};
use mpcc_ir::plan::{InputPort, Plan};
use mpcc_ir::shape::Shape;
use npyz::npz::{NpzArchive, NpzWriter, file_name_from_array_name};
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder as _};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why inputs cannot be read, or outputs not written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum TensorError {
    #[error("cannot read `{path}`; check the path")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a whole {kind} file; save it again with numpy")]
    Format { path: PathBuf, kind: &'static str, source: io::Error },
    #[error("`{path}` has no array `{name}`, only {known}; name its arrays as the model does")]
    NoArray { path: PathBuf, name: String, known: String },
    #[error("cannot write `{path}`; check the directory and the free space")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` cannot take {outputs} output(s); give a name that ends in {endings}")]
    Ending { path: PathBuf, outputs: usize, endings: &'static str },
    #[error(
        "`{argument}` is not an input; write name=@file.npy, or @file.npz with one array per input"
    )]
    Argument { argument: String },
    #[error("the model has no input `{name}`; it has {known}")]
    Unknown { name: String, known: String },
    #[error("input `{name}` is missing; give -i {name}=@file.npy")]
    Missing { name: String },
    #[error("input `{name}` comes twice; give it once")]
    Twice { name: String },
    #[error(
        "`{path}` has shape {found}, but input `{name}` wants {expected}; give data of that shape"
    )]
    Shape { path: PathBuf, name: String, found: Shape, expected: Shape },
    #[error("`{path}` holds {dtype}; save it as numbers, x.astype('float32')")]
    Type { path: PathBuf, dtype: String },
    #[error("`{path}` is in Fortran order; save numpy.ascontiguousarray(x)")]
    Order { path: PathBuf },
}

/// Reads the inputs of `plan` from arguments such as `image=@cat.npy`, `@cat.npy` (where there is one input) and
/// `@all.npz`, in the plan's order.
///
/// # Errors
/// [`TensorError`] names the argument, input or file and what to do.
pub fn read_inputs(plan: &Plan, arguments: &[String]) -> Result<Vec<Vec<f32>>, TensorError> {
    let mut found: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for argument in arguments {
        let bad = || TensorError::Argument { argument: argument.clone() };
        let (name, path) = argument.split_once('@').ok_or_else(bad)?;
        let path = Path::new(path);
        let zipped = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
        let ports: Vec<&InputPort> = match name.strip_suffix('=') {
            Some(name) => vec![port(plan, name)?],
            None if name.is_empty() && (zipped || plan.inputs.len() == 1) => {
                plan.inputs.iter().collect()
            }
            None => return Err(bad()),
        };
        for port in ports {
            let accept = |found: &Shape| {
                if same_extents(found, &port.shape) {
                    return Ok(());
                }
                let (path, name) = (path.to_owned(), port.name.clone());
                let (found, expected) = (found.clone(), port.shape.clone());
                Err(TensorError::Shape { path, name, found, expected })
            };
            let (_, values) = if zipped {
                read_npz_if(path, &port.name, accept)?
            } else {
                read_npy_if(path, accept)?
            };
            if found.insert(&port.name, values).is_some() {
                return Err(TensorError::Twice { name: port.name.clone() });
            }
        }
    }
    let take = |port: &InputPort| {
        let missing = || TensorError::Missing { name: port.name.clone() };
        found.remove(port.name.as_str()).ok_or_else(missing)
    };
    plan.inputs.iter().map(take).collect()
}

/// Seeded pseudo-random inputs within the ranges that the plan accepts, for trying things out.
pub fn random_inputs(plan: &Plan, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1_u32 << 24)
    };
    let mut tensor = |port: &InputPort| {
        let (lo, hi) = (port.lo.max(-1e6), port.hi.min(1e6));
        // A little inside the bounds, so that rounding to `f32` does not leave them.
        let value = |u: f64| (lo + (hi - lo) * (0.001 + 0.998 * u)) as f32;
        (0..port.shape.elements()).map(|_| value(next())).collect()
    };
    plan.inputs.iter().map(&mut tensor).collect()
}

/// Whether [`write_outputs`] can write the outputs of `plan` to `path`: to be asked before a run.
///
/// # Errors
/// [`TensorError::Ending`] or [`TensorError::Write`].
pub fn check_output_file(path: &Path, plan: &Plan) -> Result<(), TensorError> {
    ending(path, plan.outputs.len())?;
    check_writable(path).map_err(|source| TensorError::Write { path: path.to_owned(), source })
}

/// Writes outputs as arrays of an `.npz` file, or the only output as an `.npy` file. The file is whole, or as it was
/// before.
///
/// # Errors
/// [`TensorError::Ending`] or [`TensorError::Write`].
pub fn write_outputs(path: &Path, outputs: &[Output]) -> Result<(), TensorError> {
    let ending = ending(path, outputs.len())?;
    let written = write_secret(path, |file| match (ending, outputs) {
        (Ending::Npy, [output]) => write_npy(file, output),
        _ => write_npz(file, outputs),
    });
    written.map_err(|source| TensorError::Write { path: path.to_owned(), source })
}

/// What a file's name says that it holds.
#[derive(Clone, Copy)]
enum Ending {
    Npy,
    Npz,
}

fn ending(path: &Path, outputs: usize) -> Result<Ending, TensorError> {
    let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if is("npz") {
        Ok(Ending::Npz)
    } else if is("npy") && outputs == 1 {
        Ok(Ending::Npy)
    } else {
        let endings = if outputs == 1 { ".npz or .npy" } else { ".npz" };
        Err(TensorError::Ending { path: path.to_owned(), outputs, endings })
    }
}

fn write_npy(file: &mut File, output: &Output) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let shape: Vec<u64> = output.shape.iter().map(|&d| d as u64).collect();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut file).begin_nd()?;
    writer.extend(output.values.iter().copied())?;
    writer.finish()?;
    file.flush()
}

fn write_npz(file: impl Write + Seek, outputs: &[Output]) -> io::Result<()> {
    let mut archive = NpzWriter::new(BufWriter::new(file));
    for output in outputs {
        let shape: Vec<u64> = output.shape.iter().map(|&d| d as u64).collect();
        #[expect(clippy::default_trait_access, reason = "the type is of a crate below npyz")]
        let entry = archive.array::<f32>(&output.name, Default::default())?;
        let mut writer = entry.default_dtype().shape(&shape).begin_nd()?;
        writer.extend(output.values.iter().copied())?;
        writer.finish()?;
    }
    archive.zip_writer().finish()?.flush()
}

fn port<'p>(plan: &'p Plan, name: &str) -> Result<&'p InputPort, TensorError> {
    plan.inputs.iter().find(|port| port.name == name).ok_or_else(|| {
        let known: Vec<String> = plan.inputs.iter().map(|p| format!("`{}`", p.name)).collect();
        TensorError::Unknown { name: name.to_owned(), known: known.join(", ") }
    })
}

/// Extents of 1 do not count: an image may come with or without its batch axis.
fn same_extents(a: &Shape, b: &Shape) -> bool {
    let proper = |s: &Shape| s.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    proper(a) == proper(b)
}

/// Reads an array of numbers: its shape and its values, row-major.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_npy(path: &Path) -> Result<(Shape, Vec<f32>), TensorError> {
    read_npy_if(path, |_| Ok(()))
}

/// As [`read_npy`], of bytes from anywhere; `path` is for errors.
///
/// # Errors
/// As [`read_npy`].
pub fn parse_npy(bytes: impl Read, path: &Path) -> Result<(Shape, Vec<f32>), TensorError> {
    to_floats(path, ".npy", bytes, |_| Ok(()))
}

/// As [`read_npy`], if `accept` takes the shape: it is asked before there is memory for the values.
fn read_npy_if(
    path: &Path,
    accept: impl FnOnce(&Shape) -> Result<(), TensorError>,
) -> Result<(Shape, Vec<f32>), TensorError> {
    to_floats(path, ".npy", BufReader::new(open(path)?), accept)
}

/// Reads one array of an `.npz` file.
///
/// # Errors
/// As [`read_npy`], and where there is no such array.
pub fn read_npz(path: &Path, name: &str) -> Result<(Shape, Vec<f32>), TensorError> {
    read_npz_if(path, name, |_| Ok(()))
}

/// As [`read_npz`], if `accept` takes the shape.
fn read_npz_if(
    path: &Path,
    name: &str,
    accept: impl FnOnce(&Shape) -> Result<(), TensorError>,
) -> Result<(Shape, Vec<f32>), TensorError> {
    let failed = |source| malformed(path, ".npz", source);
    let mut archive = NpzArchive::new(BufReader::new(open(path)?)).map_err(failed)?;
    let mut known: Vec<String> = archive.array_names().map(|name| format!("`{name}`")).collect();
    known.sort();
    let missing = || TensorError::NoArray {
        path: path.to_owned(),
        name: name.to_owned(),
        known: known.join(", "),
    };
    if !archive.array_names().any(|known| known == name) {
        return Err(missing());
    }
    // `by_name` of the archive of arrays would compute with the header before it can be checked.
    let member = archive.zip_archive().by_name(&file_name_from_array_name(name));
    to_floats(path, ".npz", member.map_err(|error| failed(error.into()))?, accept)
}

fn open(path: &Path) -> Result<File, TensorError> {
    let opened = File::open(path).and_then(|file| {
        let is_dir = file.metadata()?.is_dir();
        if is_dir { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
    });
    opened.map_err(|source| TensorError::Read { path: path.to_owned(), source })
}

fn malformed(path: &Path, kind: &'static str, source: io::Error) -> TensorError {
    TensorError::Format { path: path.to_owned(), kind, source }
}

/// The values as `f32`, read one by one, so that a header that lies about the size fails at the file's end.
fn to_floats(
    path: &Path,
    kind: &'static str,
    file: impl Read,
    accept: impl FnOnce(&Shape) -> Result<(), TensorError>,
) -> Result<(Shape, Vec<f32>), TensorError> {
    let failed = |source| malformed(path, kind, source);
    let npy = header::checked(file).and_then(NpyFile::new).map_err(failed)?;
    if npy.order() != Order::C && npy.shape().len() > 1 {
        return Err(TensorError::Order { path: path.to_owned() });
    }
    let shape = Shape(npy.shape().iter().map(|&d| d as usize).collect());
    let dtype = npy.dtype();
    let element = match &dtype {
        DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
        DType::Array(..) | DType::Record(_) => None,
    };
    macro_rules! read {
        ($from:ty) => {{
            accept(&shape)?;
            let data = npy.data::<$from>().map_err(|e| failed(io::Error::other(e)))?;
            let values: io::Result<Vec<f32>> = data.map(|x| x.map(|x| x as f32)).collect();
            values.map_err(failed)?
        }};
    }
    let values = match element {
        Some((TypeChar::Float, 4)) => read!(f32),
        Some((TypeChar::Float, 8)) => read!(f64),
        Some((TypeChar::Uint, 1)) => read!(u8),
        Some((TypeChar::Int, 4)) => read!(i32),
        Some((TypeChar::Int, 8)) => read!(i64),
        _ => return Err(TensorError::Type { path: path.to_owned(), dtype: dtype.descr() }),
    };
    Ok((shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpcc_ir::plan::{WeightsMode, Word};

    fn plan() -> Plan {
        let port = |name: &str, dims: &[usize]| InputPort {
            name: name.into(),
            shape: Shape::of(dims),
            ring: 32,
            frac: 8,
            lo: -1.0,
            hi: 2.0,
            mask: 0,
            masked: vec![],
        };
        Plan {
            inputs: vec![port("a", &[1, 2]), port("b", &[3])],
            ..Plan::empty(Word::W32, 2, WeightsMode::Public)
        }
    }

    fn output(name: &str, dims: &[usize], values: &[f32]) -> Output {
        Output { name: name.into(), shape: Shape::of(dims), values: values.to_vec(), raw: vec![] }
    }

    #[test]
    fn what_is_written_reads_back_by_name_in_the_plans_order() {
        let dir = tempfile::tempdir().unwrap();
        let both = dir.path().join("all.npz");
        let (a, b) = (output("a", &[2], &[1.5, -2.0]), output("b", &[3], &[0.0, 1.0, 2.0]));
        write_outputs(&both, &[b.clone(), a.clone()]).unwrap();
        let read = read_inputs(&plan(), &[format!("@{}", both.display())]).unwrap();
        assert_eq!(read, [a.values.clone(), b.values.clone()]);
        let one = dir.path().join("a.npy");
        write_outputs(&one, std::slice::from_ref(&a)).unwrap();
        let arguments = [format!("b=@{}", both.display()), format!("a=@{}", one.display())];
        assert_eq!(read_inputs(&plan(), &arguments).unwrap(), [a.values, b.values]);
        assert!(matches!(
            read_inputs(&plan(), &arguments[..1]),
            Err(TensorError::Missing { name }) if name == "a"
        ));
    }

    #[test]
    fn outputs_go_only_where_their_name_says_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = [output("a", &[1], &[1.0]), output("b", &[1], &[2.0])];
        let refused = |name: &str, outputs: &[Output]| {
            write_outputs(&dir.path().join(name), outputs).unwrap_err().to_string()
        };
        assert!(refused("y.txt", &outputs[..1]).ends_with("that ends in .npz or .npy"));
        assert!(refused("y.npy", &outputs).ends_with("2 output(s); give a name that ends in .npz"));
        assert!(refused("none/y.npz", &outputs).ends_with("directory and the free space"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn random_inputs_are_in_range_and_repeatable() {
        let inputs = random_inputs(&plan(), 7);
        assert_eq!(inputs, random_inputs(&plan(), 7));
        assert!(inputs.iter().flatten().all(|x| (-1.0..2.0).contains(x)));
        assert_ne!(inputs, random_inputs(&plan(), 8));
    }

    #[test]
    fn a_header_that_lies_about_its_size_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        write_outputs(&path, &[output("a", &[2], &[1.0, 2.0])]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&path, bytes).unwrap();
        let read = || read_inputs(&plan(), &[format!("a=@{}", path.display())]);
        assert!(matches!(read(), Err(TensorError::Format { .. })));
        std::fs::write(&path, header("(9999999999, 9999999999)")).unwrap();
        assert!(matches!(read(), Err(TensorError::Format { .. })));
    }

    /// The start of an array of that shape.
    fn header(shape: &str) -> Vec<u8> {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn an_array_of_another_shape_is_refused_before_its_values_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        std::fs::write(&path, header("(1073741824,)")).unwrap();
        let read = read_inputs(&plan(), &[format!("a=@{}", path.display())]);
        assert!(matches!(read, Err(TensorError::Shape { .. })), "{read:?}");
    }
}
