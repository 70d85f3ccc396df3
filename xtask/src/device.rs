//! Where a model runs.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::command::{self, Blame as _, CommandError};

/// The argument of commands that run a model.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct DeviceArg {
    /// Where models run: cpu, cuda[:N] or metal[:N]; the first GPU that this program was built for without it, else the CPU;
    /// on a GPU an answer may be rounded otherwise beside other rows
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
}

/// A device by kind and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceName {
    Cpu,
    Cuda(usize),
    Metal(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = text.split_once(':').map_or((text, None), |(kind, number)| (kind, Some(number)));
        let number = number.map(str::parse::<usize>).transpose();
        match (kind, number) {
            ("cpu", Ok(None)) => Ok(Self::Cpu),
            ("cuda", Ok(number)) => Ok(Self::Cuda(number.unwrap_or(0))),
            ("metal", Ok(number)) => Ok(Self::Metal(number.unwrap_or(0))),
            _ => Err("expected cpu, cuda, metal, or one of the last two with a number, as in cuda:1".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl DeviceArg {
    /// Opens the device.
    ///
    /// # Errors
    /// Bad input for a device that is not there, or that this program was not built for; a failure if the first GPU does not start.
    pub(crate) fn open(&self) -> Result<Device, CommandError> {
        let Some(name) = self.device else {
            return first();
        };
        let (feature, built) = match name {
            DeviceName::Cpu => return Ok(Device::Cpu),
            DeviceName::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
            DeviceName::Metal(_) => ("metal", cfg!(feature = "metal")),
        };
        if !built {
            let build = command::build_with(feature);
            return Err(CommandError::bad_input(format!("--device is {name}, but this program was built without {feature}: {build}")));
        }
        let device = match name {
            DeviceName::Cpu => Ok(Device::Cpu),
            DeviceName::Cuda(number) => Device::new_cuda(number),
            DeviceName::Metal(number) => Device::new_metal(number),
        };
        device.map_err(|error| CommandError::bad_input(format!("--device is {name}: {error}")))
    }
}

/// The first GPU that this program was built for, else the CPU.
pub(crate) fn first() -> Result<Device, CommandError> {
    if cfg!(feature = "metal") { Device::metal_if_available(0) } else { Device::cuda_if_available(0) }.failure()
}

/// The name of a device, as `--device` has it.
pub(crate) fn name(device: &Device) -> String {
    use candle_core::DeviceLocation;
    let name = match device.location() {
        DeviceLocation::Cpu => DeviceName::Cpu,
        DeviceLocation::Cuda { gpu_id } => DeviceName::Cuda(gpu_id),
        DeviceLocation::Metal { gpu_id } => DeviceName::Metal(gpu_id),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, expected) in [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3"), ("metal", "metal:0")] {
            assert_eq!(text.parse::<DeviceName>().map(|name| name.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
        assert_eq!(name(&Device::Cpu), "cpu");
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_device_that_is_not_built_says_how_to_have_it() {
        let open = |text: &str| DeviceArg { device: Some(text.parse().unwrap()) }.open();
        assert!(open("cpu").unwrap().is_cpu() && DeviceArg::default().open().unwrap().is_cpu());
        for (text, feature) in [("cuda:1", "--features cuda"), ("metal", "--features metal")] {
            let error = open(text).unwrap_err();
            assert!(error.to_string().contains(feature), "{error}");
        }
    }
}
