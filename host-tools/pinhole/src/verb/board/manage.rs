//! What a board holds: its slots, uploads, the threshold, its self-test.

use std::path::{Path, PathBuf};

use pinhole_device::{
    BoardSlots, Kind, Options, RunningBoard, SelfTest, SlotStatus, SlotsOfKind, Which, kind_of,
};
use pinhole_signing::KEY_BYTES;

use super::built;
use super::port::Port;
use crate::failure::{Failure, Outcome};
use crate::keys::private_key;
use crate::output::{json, say};
use crate::{files, progress};

/// The board, and the flash that its changes go to.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// See pinhole board list.
    #[arg(long, default_value = "qemu-an547", value_name = "NAME")]
    board: String,
    /// The file in which the flash of an emulated board is kept.
    #[arg(long, value_name = "FILE", required_unless_present = "port")]
    flash: Option<PathBuf>,
    #[command(flatten)]
    port: Port,
    /// Private key of a board that has its public one, and takes no change without it.
    #[arg(long, value_name = "KEY")]
    unlock: Option<PathBuf>,
    /// Show the board's log.
    #[arg(long, conflicts_with = "port")]
    verbose: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    /// Starts the board with what is in its flash, sound or not; or connects to one that runs.
    pub(crate) fn start(&self) -> Outcome<RunningBoard> {
        let seed = self.seed()?;
        let mut running = self.start_locked()?;
        if let Some(seed) = seed {
            running.ask(|link| link.unlock(&seed))?;
        }
        Ok(running)
    }

    /// As [`Target::start`], without showing the board a key.
    pub(super) fn start_locked(&self) -> Outcome<RunningBoard> {
        let options = self.port.options(Options {
            show_log: self.verbose,
            flash: self.flash.clone(),
            ..Options::default()
        })?;
        if let Some(port) = self.port.name() {
            return Ok(RunningBoard::connect(port, &options)?);
        }
        let (spec, firmware) = built(&self.board)?;
        Ok(RunningBoard::start(spec, &firmware, None, None, &options)?)
    }

    /// The private key, where one was named.
    pub(super) fn seed(&self) -> Outcome<Option<[u8; KEY_BYTES]>> {
        self.unlock.as_deref().map(private_key).transpose()
    }

    /// Says that something is done.
    pub(crate) fn done(&self, what: std::fmt::Arguments<'_>) -> Outcome {
        match self.json {
            true => json(&Done {
                done: what.to_string(),
            }),
            false => {
                say!("{what}");
                Ok(())
            }
        }
    }
}

#[derive(serde::Serialize)]
struct Done {
    done: String,
}

/// `pinhole board upload`.
#[derive(clap::Args)]
pub(super) struct Upload {
    /// A model (.phm), a class bank (.phc), or one of each.
    #[arg(required = true, num_args = 1..=2, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Leave in use what is in use; pinhole board activate switches later.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

/// What `pinhole board activate` takes.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum What {
    /// The model.
    Model,
    /// The class bank.
    Bank,
    /// Both at once.
    Both,
}

/// What a slot is for.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum SlotKind {
    /// Models.
    Model,
    /// Class banks.
    Bank,
}

/// The name of a slot.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

/// `pinhole board activate`.
#[derive(clap::Args)]
pub(super) struct Activate {
    /// Which upload.
    what: What,
    #[command(flatten)]
    target: Target,
}

/// `pinhole board select`.
#[derive(clap::Args)]
pub(super) struct Select {
    /// Of models or of class banks.
    kind: SlotKind,
    /// The slot to run from.
    #[arg(ignore_case = true)]
    slot: Slot,
    #[command(flatten)]
    target: Target,
}

/// `pinhole board threshold`.
#[derive(clap::Args)]
pub(super) struct Threshold {
    /// The energy above which a picture is in no class; that of the bank when left out.
    #[arg(allow_negative_numbers = true, value_name = "ENERGY")]
    energy: Option<f32>,
    #[command(flatten)]
    target: Target,
}

/// A file for a slot of the board.
pub(crate) struct Image {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Image {
    /// Reads a model or a class bank.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = files::read(path)?;
        let Some(kind) = kind_of(&bytes) else {
            let help = files::FileKind::of(&bytes).help();
            return Err(Failure::new(format_args!(
                "{}: found neither a model nor a class bank, expected one of them",
                path.display()
            ))
            .help(help));
        };
        Ok(Self { kind, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends it with progress.
    pub(crate) fn upload(&self, board: &mut RunningBoard) -> Outcome {
        let bar = progress::bar("uploading", self.bytes.len());
        let done = |here: u32| bar.set_position(here.into());
        let sent = board.ask(|link| link.upload(self.kind, &self.bytes, done));
        bar.finish_and_clear();
        Ok(sent?)
    }
}

pub(super) fn run_upload(args: &Upload) -> Outcome {
    let images = args.files.iter().map(|path| Image::read(path));
    let mut images = images.collect::<Outcome<Vec<_>>>()?;
    // A bank of another embedding space is checked against the model that came before it.
    images.sort_by_key(|image| image.kind == Kind::Bank);
    let which = match images.iter().map(|image| image.kind).collect::<Vec<_>>()[..] {
        [Kind::Model] => Which::Model,
        [Kind::Bank] => Which::Bank,
        [Kind::Model, Kind::Bank] => Which::Both,
        _ => {
            return Err(Failure::new(
                "found two files of one kind, expected a model and a class bank",
            )
            .help("upload one of them: pinhole board upload FILE --flash FLASH"));
        }
    };
    let mut board = args.target.start()?;
    for image in &images {
        image.upload(&mut board)?;
    }
    if args.wait {
        return args.target.done(format_args!(
            "uploaded and verified; pinhole board activate takes it into use"
        ));
    }
    board.ask(|link| link.activate(which))?;
    let slots = board.ask(|link| link.slots())?;
    args.target.done(format_args!(
        "in use: model in slot {}, class bank in slot {}",
        running(&slots.model),
        running(&slots.bank)
    ))
}

pub(super) fn run_activate(args: &Activate) -> Outcome {
    let (which, name) = match args.what {
        What::Model => (Which::Model, "the model"),
        What::Bank => (Which::Bank, "the class bank"),
        What::Both => (Which::Both, "model and class bank"),
    };
    args.target.start()?.ask(|link| link.activate(which))?;
    args.target.done(format_args!("{name} in use"))
}

pub(super) fn run_select(args: &Select) -> Outcome {
    let (kind, name) = match args.kind {
        SlotKind::Model => (Kind::Model, "model"),
        SlotKind::Bank => (Kind::Bank, "class bank"),
    };
    let slot = args.slot as u8;
    args.target.start()?.ask(|link| link.select(kind, slot))?;
    args.target
        .done(format_args!("{name}: running from slot {}", letter(slot)))
}

pub(super) fn run_threshold(args: &Threshold) -> Outcome {
    let mut board = args.target.start()?;
    board.ask(|link| link.set_threshold(args.energy))?;
    match args.energy {
        Some(energy) => args.target.done(format_args!(
            "pictures with an energy above {energy} are rejected"
        )),
        None => args
            .target
            .done(format_args!("the threshold of the class bank holds")),
    }
}

/// The slots; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Slots {
    model: SlotsOf,
    bank: SlotsOf,
    upload: Option<Waiting>,
}

#[derive(serde::Serialize)]
struct SlotsOf {
    running: Option<&'static str>,
    a: &'static str,
    b: &'static str,
    fault: Option<String>,
}

#[derive(serde::Serialize)]
struct Waiting {
    kind: &'static str,
    slot: &'static str,
    received: u32,
    bytes: u32,
}

impl From<BoardSlots> for Slots {
    fn from(slots: BoardSlots) -> Self {
        let of = |kind: SlotsOfKind| SlotsOf {
            running: kind.running.map(letter),
            a: status(kind.status[0]),
            b: status(kind.status[1]),
            fault: kind.fault,
        };
        Self {
            model: of(slots.model),
            bank: of(slots.bank),
            upload: slots.upload.map(|upload| Waiting {
                kind: match upload.kind {
                    Kind::Model => "model",
                    Kind::Bank => "bank",
                },
                slot: letter(upload.slot),
                received: upload.received,
                bytes: upload.bytes,
            }),
        }
    }
}

pub(super) fn run_slots(target: &Target) -> Outcome {
    let slots = Slots::from(target.start()?.ask(|link| link.slots())?);
    if target.json {
        return json(&slots);
    }
    say!("{:<6} {:<8} {:<10} {:<10}", "kind", "running", "A", "B");
    for (name, kind) in [("model", &slots.model), ("bank", &slots.bank)] {
        let running = kind.running.unwrap_or("none");
        say!("{name:<6} {running:<8} {:<10} {:<10}", kind.a, kind.b);
    }
    for (name, kind) in [("model", &slots.model), ("bank", &slots.bank)] {
        match (&kind.fault, kind.running) {
            (Some(fault), Some(slot)) => say!("{name}: fell back to slot {slot}: {fault}"),
            (Some(fault), None) => say!("{name}: {fault}"),
            (None, _) => {}
        }
    }
    if let Some(upload) = &slots.upload {
        say!(
            "upload: {} for slot {}, {} of {} bytes",
            upload.kind,
            upload.slot,
            upload.received,
            upload.bytes
        );
    }
    Ok(())
}

/// What came of a self-test.
#[derive(serde::Serialize)]
pub(crate) struct Tested {
    passed: Option<bool>,
    bytes: u32,
}

impl Tested {
    pub(crate) fn of(result: &SelfTest) -> Self {
        let (passed, bytes) = match *result {
            SelfTest::NoGolden => (None, 0),
            SelfTest::Passed { bytes } => (Some(true), bytes),
            SelfTest::Failed { .. } => (Some(false), 0),
        };
        Self { passed, bytes }
    }
}

pub(super) fn run_self_test(target: &Target) -> Outcome {
    let result = target.start()?.ask(|link| link.self_test())?;
    let tested = Tested::of(&result);
    if target.json {
        json(&tested)?;
    }
    let said = tested_or_failed(&result)?;
    if !target.json {
        say!("{said}");
    }
    Ok(())
}

/// What came of a self-test, in words.
///
/// # Errors
/// A check that failed, when the embedding differs.
pub(crate) fn tested_or_failed(result: &SelfTest) -> Outcome<String> {
    match result {
        SelfTest::Failed {
            at,
            expected,
            found,
        } => Err(Failure::check(format_args!(
            "self-test: byte {at} of the embedding is {found}, expected {expected}"
        ))
        .help("upload the model again: pinhole board upload MODEL --flash FLASH")),
        SelfTest::Passed { bytes } => Ok(format!(
            "self-test passed: {bytes} bytes of the embedding are equal"
        )),
        SelfTest::NoGolden => Ok(
            "model and class bank are sound; the model has no golden embedding to compute".into(),
        ),
    }
}

fn running(slots: &SlotsOfKind) -> &'static str {
    slots.running.map_or("none", letter)
}

fn letter(slot: u8) -> &'static str {
    match slot {
        0 => "A",
        _ => "B",
    }
}

fn status(status: SlotStatus) -> &'static str {
    match status {
        SlotStatus::Void => "empty",
        SlotStatus::Good => "held",
        SlotStatus::Ready => "waits",
    }
}
