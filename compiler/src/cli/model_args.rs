//! Arguments that say how a model is compiled, shared by the verbs that compile.

use super::replaced::Named;
use super::tensors;
use anyhow::{Context as _, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use mpcc_compiler::compile::CompileOptions;
use mpcc_compiler::cost::{Link, Machine};
use mpcc_compiler::import::ImportOptions;
use mpcc_compiler::lower::RingChoice;
use mpcc_compiler::schedule::{Overlap, Setting};
use mpcc_ir::plan::{MAX_DEPTH, WeightsMode};
use std::path::{Path, PathBuf};

/// How to compile a model
#[derive(Clone, Debug)]
pub(crate) struct ModelArgs {
    choices: Choices,
    /// An option that is given, even if it asks for what is so without it.
    given: Option<String>,
}

#[derive(clap::Args, Clone, Debug)]
struct Choices {
    /// Shape of an input whose dimensions the file leaves open, or whose first one, the batch, is to
    /// be another than the file's 1
    #[arg(long = "shape", value_name = "NAME=1,3,224,224", value_parser = parse_shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// Sample inputs that show the usual value ranges (.npz, one array per input; or one .npy);
    /// seeded random inputs if absent
    #[arg(long, value_name = "X.npz")]
    calibrate: Option<PathBuf>,
    /// Ring in which the model is computed
    #[arg(long, value_enum, default_value_t = Ring::Auto)]
    ring: Ring,
    /// Bits of room above the calibrated ranges
    #[arg(long, value_name = "BITS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=16))]
    margin: u8,
    /// Compute parties, besides the dealer
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=16))]
    parties: u8,
    /// Who knows the weights
    #[arg(long, value_enum, default_value_t = Owner::Party0)]
    weights: Owner,
    /// Runs in flight at once: more results in the same time, for as many times the memory of a run
    #[arg(long, value_name = "D", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_DEPTH)))]
    depth: u8,
    /// Chunks of every operation; as many of each as are predicted to take least if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    chunks: Option<u16>,
    /// What may happen at once
    #[arg(long, value_enum, default_value_t = Schedule::Pipelined)]
    schedule: Schedule,
    /// The links between the hosts: local, lan, lan10g, lan1g, man, wan, a rate and a round trip
    /// such as 10gbit,0.2ms, or a file
    #[arg(long, value_name = "LINK", default_value = "lan")]
    link: String,
    /// Profile of the hosts, from `mpcc profile machine`; the built-in one if absent
    #[arg(long, value_name = "MACHINE.toml")]
    machine: Option<PathBuf>,
    /// Processor cores that all roles share on one host; if absent, each role has a host of its own, or
    /// this one with its cores where it is started here
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Option<u16>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Schedule {
    /// Nothing: a role computes, or it sends and receives
    Sequential,
    /// Chunks of one layer
    Layer,
    /// All that does not depend on what is missing
    Pipelined,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Ring {
    /// 32 bits where that is accurate enough, else 64
    Auto,
    #[value(name = "32")]
    Bits32,
    #[value(name = "64")]
    Bits64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Owner {
    /// Compute party 0 owns them: nobody else learns them
    Party0,
    /// An owner who is not a compute party: no compute party learns them
    Owner,
    /// Every compute party knows them
    Public,
}

impl clap::Args for ModelArgs {
    fn augment_args(command: Command) -> Command {
        Choices::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Choices::augment_args_for_update(command)
    }
}

impl FromArgMatches for ModelArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let command = Choices::augment_args(Command::new(""));
        let given = command.get_arguments().find(|argument| {
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        });
        let given = given.and_then(|argument| Some(format!("--{}", argument.get_long()?)));
        Ok(Self { choices: Choices::from_arg_matches(matches)?, given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ModelArgs {
    /// The same for roles that all run on this host, where that is not said already.
    pub(crate) fn on_this_host(&self) -> Self {
        let here =
            || std::thread::available_parallelism().ok().and_then(|n| n.get().try_into().ok());
        let mut same = self.clone();
        same.choices.cores = same.choices.cores.or_else(here);
        same
    }

    /// An option that asks for something that a finished plan cannot change.
    pub(crate) fn given(&self) -> Option<&str> {
        self.given.as_deref()
    }

    /// The files that the options name.
    pub(crate) fn files(&self) -> Vec<Named<'_>> {
        let calibrate = self.choices.calibrate.iter().map(|path| ("the samples", path.as_path()));
        let machine =
            self.choices.machine.iter().map(|path| ("the machine profile", path.as_path()));
        let link = Path::new(&self.choices.link);
        let is_file = self.choices.link.parse::<Link>().is_err() && link.is_file();
        let link = is_file.then_some(("the link profile", link));
        calibrate.chain(machine).chain(link).collect()
    }

    /// The options for the model at `path`, for roles with as many compute threads.
    pub(crate) fn options(
        &self,
        path: &Path,
        model: &[u8],
        threads: u16,
    ) -> anyhow::Result<CompileOptions> {
        self.choices.options(path, model, threads)
    }
}

impl Choices {
    fn options(&self, path: &Path, model: &[u8], threads: u16) -> anyhow::Result<CompileOptions> {
        ensure!(
            self.schedule != Schedule::Sequential || self.chunks.is_none_or(|chunks| chunks == 1),
            "--chunks has no effect with --schedule sequential, which splits no further than it must; remove one of them"
        );
        let import = ImportOptions { shapes: self.shapes.clone(), ..ImportOptions::default() };
        let samples = match &self.calibrate {
            Some(file) => {
                let graph = mpcc_compiler::import::import(model, &import)?;
                tensors::samples(file, &graph)
                    .with_context(|| format!("cannot calibrate with `{}`", file.display()))?
            }
            None => Vec::new(),
        };
        Ok(CompileOptions {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            import,
            samples,
            ring: match self.ring {
                Ring::Auto => RingChoice::Auto,
                Ring::Bits32 => RingChoice::R32,
                Ring::Bits64 => RingChoice::R64,
            },
            margin_bits: self.margin,
            parties: self.parties,
            weights: match self.weights {
                Owner::Party0 => WeightsMode::Party0,
                Owner::Owner => WeightsMode::Owner,
                Owner::Public => WeightsMode::Public,
            },
            depth: self.depth,
            chunks: self.chunks.map(usize::from),
            overlap: match self.schedule {
                Schedule::Sequential => Overlap::Sequential,
                Schedule::Layer => Overlap::Layer,
                Schedule::Pipelined => Overlap::Pipelined,
            },
            setting: Setting {
                machine: self
                    .machine
                    .as_deref()
                    .map_or_else(|| Ok(Machine::default()), Machine::read)?,
                link: Link::open(&self.link)?,
                threads: usize::from(threads),
                cores: self.cores.map(usize::from),
            },
            salt: None,
        })
    }
}

pub(super) fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    const HOW: &str = "write it as NAME=1,3,224,224";
    let (name, dims) = text.split_once('=').ok_or(HOW)?;
    let dim = |d: &str| d.trim().parse().map_err(|_| format!("`{d}` is not an extent; {HOW}"));
    Ok((name.to_owned(), dims.split(',').map(dim).collect::<Result<_, _>>()?))
}
