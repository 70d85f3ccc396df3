//! Where a forward pass runs: on the CPU, or on a device through candle.

mod cpu;
mod device;
mod weights;

pub(crate) use cpu::CpuDecoder;
pub(crate) use device::DeviceDecoder;
pub(crate) use weights::Source;
