//! The device that a model runs on.

use candle_core::Device;
use janus_infer::{DeviceName, Error};

use crate::command::{self, Blame as _, CommandError};

/// The `--device` argument of commands that run a model.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct DeviceArg {
    /// Device: cpu, cuda[:N] or metal[:N] [default: the first GPU if this program was built for one,
    /// else the CPU]; on a GPU, rounding may depend on the batch
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
}

impl DeviceArg {
    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Device, CommandError> {
        let Some(name) = self.device else {
            return first();
        };
        name.open().map_err(|error| match error {
            Error::Device { feature, .. } => {
                let build = command::build_with(feature);
                CommandError::bad_input(format!(
                    "--device is {name}, but this program was built without {feature}: {build}"
                ))
            }
            error => CommandError::bad_input(error).at("--device"),
        })
    }
}

/// The first GPU if this program was built for one, else the CPU.
pub(crate) fn first() -> Result<Device, CommandError> {
    DeviceName::first_gpu_or_cpu().failure()
}
