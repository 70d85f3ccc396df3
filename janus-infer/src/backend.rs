//! Where a forward pass runs: on the CPU, or on a device through candle.

pub(crate) mod cpu;
pub(crate) mod device;
pub(crate) mod weights;
