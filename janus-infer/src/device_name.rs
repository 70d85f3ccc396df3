//! Devices by name, for command lines and configs.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, DeviceLocation};

use crate::{Error, Result};

/// A device by kind and number: `cpu`, `cuda`, `cuda:1`, `metal`, `metal:1`.
///
/// ```
/// use janus_infer::DeviceName;
/// let name: DeviceName = "cuda:1".parse()?;
/// assert_eq!((name, name.to_string().as_str()), (DeviceName::Cuda(1), "cuda:1"));
/// assert!(DeviceName::Cpu.open()?.is_cpu());
/// # Ok::<(), janus_infer::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceName {
    /// The CPU.
    Cpu,
    /// A CUDA GPU by its number.
    Cuda(usize),
    /// A Metal GPU by its number.
    Metal(usize),
}

impl DeviceName {
    /// The name of a device.
    pub fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Cpu,
            DeviceLocation::Cuda { gpu_id } => Self::Cuda(gpu_id),
            DeviceLocation::Metal { gpu_id } => Self::Metal(gpu_id),
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Device`] without the crate's feature for it; [`Error::DeviceStart`] for a device that is
    /// not there.
    pub fn open(self) -> Result<Device> {
        let (feature, built) = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
            Self::Metal(_) => ("metal", cfg!(feature = "metal")),
        };
        if !built {
            return Err(Error::Device { got: self.to_string(), feature });
        }
        let device = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal(number) => Device::new_metal(number),
        };
        device.map_err(|error| Error::DeviceStart { device: self, error })
    }

    /// The first GPU, of the kind that the crate is built for, or the CPU on a machine without one.
    ///
    /// # Errors
    /// [`Error::Candle`] if the GPU does not start.
    pub fn first_gpu_or_cpu() -> Result<Device> {
        Ok(if cfg!(feature = "metal") {
            Device::metal_if_available(0)
        } else {
            Device::cuda_if_available(0)
        }?)
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, number) = text.split_once(':').map_or((text, None), |(kind, number)| (kind, Some(number)));
        let number = number.map(str::parse::<usize>).transpose();
        match (kind, number) {
            ("cpu", Ok(None)) => Ok(Self::Cpu),
            ("cuda", Ok(number)) => Ok(Self::Cuda(number.unwrap_or(0))),
            ("metal", Ok(number)) => Ok(Self::Metal(number.unwrap_or(0))),
            _ => Err(Error::DeviceName { got: text.into() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, expected) in
            [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3"), ("metal", "metal:0")]
        {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), expected);
        }
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
        assert_eq!(DeviceName::of(&Device::Cpu), DeviceName::Cpu);
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_device_that_is_not_built_is_named_with_its_feature() {
        for (device, feature) in [(DeviceName::Cuda(1), "cuda"), (DeviceName::Metal(0), "metal")] {
            let error = device.open().unwrap_err();
            assert!(matches!(error, Error::Device { feature: needed, .. } if needed == feature), "{error}");
        }
    }
}
