//! Where training computes, and in what numbers: the CPU, an NVIDIA card through CUDA, a graphics card through wgpu.
//!
//! All devices of Burn are made here. The CPU is always there (Burn's Flex). The others are features of this crate, and
//! their drivers are looked for before anything is computed: cubecl, which Burn runs them with, panics on one that is
//! missing.

use std::fmt;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::Instant;

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use burn::tensor::DeviceType;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use serde::Deserialize;

use crate::TrainError;

/// What `device` of a recipe and `--device` say: `cpu`, `cuda`, `cuda:N`, `wgpu` or `wgpu:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DeviceName {
    /// The CPU, on as many threads as rayon has.
    #[default]
    Cpu,
    /// The NVIDIA card of this number, the first one without it.
    Cuda(Option<usize>),
    /// The adapter of this number that wgpu finds; the fastest one without it, as wgpu has it.
    Wgpu(Option<usize>),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        // What a device of Burn can be numbered with.
        let number = number.map(|number| number.parse::<u16>().map(usize::from));
        match (name, number.transpose()) {
            ("cpu", Ok(None)) => Ok(Self::Cpu),
            ("cuda", Ok(number)) => Ok(Self::Cuda(number)),
            ("wgpu", Ok(number)) => Ok(Self::Wgpu(number)),
            _ => Err(format!(
                "found the device `{text}`, expected cpu, cuda, cuda:N, wgpu or wgpu:N with a number N from 0"
            )),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
            Self::Wgpu(Some(number)) => write!(f, "wgpu:{number}"),
        }
    }
}

/// The numbers that the encoders compute in, forwards and backwards. Weights that train, losses, gradients of weights and the
/// optimiser are f32 in any case (Micikevicius et al., 2018, Mixed Precision Training, arXiv 1710.03740).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of significand.
    #[default]
    F32,
    /// 8 bits of significand, the range of f32.
    Bf16,
    /// 11 bits of significand, to 65504: gradients are scaled so that they neither vanish nor overflow.
    F16,
}

impl Precision {
    /// The type of half the width; `None` for f32.
    pub(crate) fn half(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
            Self::F16 => Some(FloatDType::F16),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// A device that answers, and the numbers that encoders compute in on it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// With gradients.
    device: Device,
    pub(crate) precision: Precision,
    /// As asked for, and what the driver calls it.
    name: String,
}

impl Place {
    /// The CPU, in f32.
    pub(crate) fn cpu() -> Self {
        Self {
            device: Device::flex().autodiff(),
            precision: Precision::F32,
            name: DeviceName::Cpu.to_string(),
        }
    }

    /// The device `name`, which has computed something by then.
    ///
    /// # Errors
    /// [`TrainError::Device`] for one that this program was built without, that the machine lacks, or that cannot compute
    /// in `precision`.
    pub(crate) fn open(name: DeviceName, precision: Precision) -> Result<Self, TrainError> {
        let (device, called) = match name {
            DeviceName::Cpu => (Device::flex(), None),
            DeviceName::Cuda(number) => cuda(name, number)?,
            DeviceName::Wgpu(number) => wgpu(name, number)?,
        };
        if let Some(half) = precision.half()
            && !device.supports_dtype(half)
        {
            let message = format!("it does not compute in {precision}");
            let advice = "other precisions are \"f32\", \"bf16\" and \"f16\": edit `precision` under [optimiser]";
            return Err(fault(name, message, advice));
        }
        Ok(Self {
            device: device.autodiff(),
            precision,
            name: match called {
                Some(called) => format!("{name} ({called})"),
                None => name.to_string(),
            },
        })
    }

    /// With gradients.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Without gradients, for what is computed once: Burn keeps even the inputs of operations over constants otherwise.
    pub(crate) fn plain(&self) -> Device {
        self.device.clone().without_autodiff()
    }

    /// As asked for, and what the driver calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Seconds that `work` takes. What it asks of a card is done by then, and was asked once before: kernels are compiled when
    /// they are first used.
    ///
    /// # Errors
    /// What `work` returns, or a device that failed at it.
    pub(crate) fn time(
        &self,
        mut work: impl FnMut() -> Result<(), TrainError>,
    ) -> Result<f64, TrainError> {
        let mut timed = || {
            let started = Instant::now();
            work()?;
            let done = self.device.sync();
            done.map_err(|error| TrainError::Setup(format!("{}: {error}", self.name)))?;
            Ok(started.elapsed().as_secs_f64())
        };
        if self.name != DeviceName::Cpu.to_string() {
            timed()?;
        }
        timed()
    }

    /// `data` on the device, in f32.
    pub(crate) fn tensor(&self, data: Vec<f32>) -> Tensor<1> {
        let count = data.len();
        Tensor::from_data(TensorData::new(data, [count]), &self.device)
    }

    /// A constant `[rows, width]`.
    pub(crate) fn rows(&self, data: Vec<f32>, width: usize) -> Tensor<2> {
        let count = data.len() / width;
        self.tensor(data).reshape([count, width])
    }
}

fn fault(device: DeviceName, message: String, advice: impl Into<String>) -> TrainError {
    TrainError::Device {
        device,
        message,
        advice: advice.into(),
    }
}

/// A device and what its driver calls it.
type Found = (Device, Option<String>);

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn not_built(name: DeviceName, feature: &str) -> Result<Found, TrainError> {
    let message = format!("this program was built without the feature `{feature}`");
    let advice = format!(
        "build one with it: cargo install --path host-tools/pinhole --features {feature}; or train on --device cpu"
    );
    Err(fault(name, message, advice))
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: DeviceName, _number: Option<usize>) -> Result<Found, TrainError> {
    not_built(name, "cuda")
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(name: DeviceName, _number: Option<usize>) -> Result<Found, TrainError> {
    not_built(name, "wgpu")
}

#[cfg(feature = "cuda")]
fn cuda(name: DeviceName, number: Option<usize>) -> Result<Found, TrainError> {
    let none = "found no NVIDIA card, or no driver for it (libcuda)";
    let advice = "nvidia-smi lists the cards that there are; or train on --device cpu";
    let found = listed(name, DeviceType::Cuda, [none, advice])?;
    let device = chosen(name, &found, number.unwrap_or(0))?;
    answers(name, device, "update its driver; or train on --device cpu")
}

#[cfg(feature = "wgpu")]
fn wgpu(name: DeviceName, number: Option<usize>) -> Result<Found, TrainError> {
    let none = "found no adapter through Vulkan, Metal, DirectX 12 or OpenGL";
    let advice = "vulkaninfo --summary lists what Vulkan finds, apt-get install mesa-vulkan-drivers adds one that runs on \
                  the CPU; or train on --device cpu";
    let found = listed(name, DeviceType::Wgpu, [none, advice])?;
    let device = match number {
        None => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        Some(number) => chosen(name, &found, number)?,
    };
    answers(name, device, "update its driver; or train on --device cpu")
}

/// The devices of a kind, at least one; without one, what is wrong and what to do.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn listed(
    name: DeviceName,
    kind: DeviceType,
    [none, advice]: [&str; 2],
) -> Result<Vec<Device>, TrainError> {
    match Device::enumerate(kind).into_vec() {
        found if found.is_empty() => Err(fault(name, none.to_owned(), advice)),
        found => Ok(found),
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn chosen(name: DeviceName, found: &[Device], number: usize) -> Result<Device, TrainError> {
    found.get(number).cloned().ok_or_else(|| {
        let count = found.len();
        let message = format!("found {count} of them, numbered from 0");
        fault(name, message, "name one of them, or train on --device cpu")
    })
}

/// Lets `device` compute once, which brings up its driver and compiler: what is wrong with them is a panic of cubecl.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn answers(name: DeviceName, device: Device, advice: &str) -> Result<Found, TrainError> {
    let computed = catch_unwind(AssertUnwindSafe(|| {
        let two = Tensor::<1>::ones([1], &device).add_scalar(1.0);
        two.try_into_vec_as::<f32>()
            .map_err(|error| error.to_string())
    }));
    let message = match computed {
        Ok(Ok(found)) if found == [2.0] => {
            let called = device.identity().map(|identity| identity.name);
            return Ok((device, called));
        }
        Ok(Ok(found)) => format!("it makes {found:?} of 1 + 1"),
        Ok(Err(error)) => format!("it does not compute: {error}"),
        Err(panic) => format!("it does not start: {}", said(&*panic)),
    };
    Err(fault(name, message, advice))
}

/// What a panic said.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests;
