//! The trained models of `models/real`, each with an input and the output that ONNX Runtime gave.

use npyz::NpyFile;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A stored model. Its files are `model.onnx`, `input_0.npy`, .., `output_0.npy`, .. and `meta.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealModel {
    /// Its name: that of its folder.
    pub name: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// In the model's order.
    pub inputs: Vec<Port>,
    /// In the model's order.
    pub outputs: Vec<Port>,
    /// On which terms it is here.
    pub licence: String,
    /// Where it is from.
    pub source: String,
    /// What it does, and what is special about it.
    pub shows: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Extents.
    pub dims: Vec<usize>,
}

/// Why the catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum CatalogueError {
    #[error("cannot read `{path}`; run inside a checkout of the repository")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` does not describe a model")]
    Meta { path: PathBuf, source: serde_json::Error },
    #[error("there is no model `{name}` in models/real; there are: {known}")]
    Unknown { name: String, known: String },
}

/// The part of `meta.json` that is of use here.
#[derive(Deserialize)]
struct Meta {
    id: String,
    license: String,
    source: String,
    sha256: String,
    inputs: Vec<(String, String, Vec<usize>)>,
    /// With the largest magnitude of the stored output.
    outputs: Vec<(String, String, Vec<usize>, f64)>,
    note: String,
}

/// All stored models, by name.
///
/// # Errors
/// [`CatalogueError`] names the file that is missing or damaged.
pub fn all() -> Result<Vec<RealModel>, CatalogueError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("real");
    let fail = |source| CatalogueError::Read { path: root.clone(), source };
    let mut folders = fs::read_dir(&root)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(fail)?;
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders.iter().map(|folder| read(folder)).collect()
}

/// The stored model called `name`.
///
/// # Errors
/// [`CatalogueError::Unknown`] lists the names that there are.
pub fn find(name: &str) -> Result<RealModel, CatalogueError> {
    let models = all()?;
    let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let known = known.join(", ");
    let found = models.into_iter().find(|model| model.name == name);
    found.ok_or_else(|| CatalogueError::Unknown { name: name.to_owned(), known })
}

fn read(folder: &Path) -> Result<RealModel, CatalogueError> {
    let path = folder.join("meta.json");
    let text = fs::read_to_string(&path)
        .map_err(|source| CatalogueError::Read { path: path.clone(), source })?;
    let meta: Meta =
        serde_json::from_str(&text).map_err(|source| CatalogueError::Meta { path, source })?;
    let Meta { id, license, source, sha256, inputs, outputs, note } = meta;
    Ok(RealModel {
        name: id,
        folder: folder.to_owned(),
        inputs: inputs.into_iter().map(|(name, _, dims)| Port { name, dims }).collect(),
        outputs: outputs.into_iter().map(|(name, _, dims, _)| Port { name, dims }).collect(),
        licence: license,
        source,
        shows: note,
        sha256,
    })
}

impl RealModel {
    /// The ONNX file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn onnx(&self) -> Result<Vec<u8>, CatalogueError> {
        let path = self.folder.join("model.onnx");
        fs::read(&path).map_err(|source| CatalogueError::Read { path, source })
    }

    /// A stored input for each port, row-major.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn stored_inputs(&self) -> Result<Vec<Vec<f32>>, CatalogueError> {
        (0..self.inputs.len()).map(|at| self.tensor(&format!("input_{at}.npy"))).collect()
    }

    /// What ONNX Runtime computed from the stored inputs, row-major.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn stored_outputs(&self) -> Result<Vec<Vec<f32>>, CatalogueError> {
        (0..self.outputs.len()).map(|at| self.tensor(&format!("output_{at}.npy"))).collect()
    }

    fn tensor(&self, file: &str) -> Result<Vec<f32>, CatalogueError> {
        let path = self.folder.join(file);
        let read = || NpyFile::new(&fs::read(&path)?[..])?.into_vec::<f32>();
        read().map_err(|source| CatalogueError::Read { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_described_and_has_its_tensors() {
        let models = all().unwrap();
        assert!(models.len() >= 9);
        for model in models {
            assert_eq!(model.folder.file_name().unwrap().to_str(), Some(&model.name[..]));
            assert!(!model.licence.is_empty() && !model.source.is_empty(), "{}", model.name);
            let stored = [model.stored_inputs().unwrap(), model.stored_outputs().unwrap()].concat();
            let ports = model.inputs.iter().chain(&model.outputs);
            let expected = ports.map(|port| port.dims.iter().product::<usize>());
            assert!(stored.iter().map(Vec::len).eq(expected), "{}", model.name);
            assert!(!model.onnx().unwrap().is_empty());
        }
    }

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        let error = find("mnist").unwrap_err().to_string();
        assert!(error.contains("no model `mnist`") && error.contains("mnist-mlp"), "{error}");
    }
}
