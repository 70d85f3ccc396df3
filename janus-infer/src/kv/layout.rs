//! The layout of keys and values within a block.

use crate::ModelConfig;
use crate::kernels::matmul::Lanes;
use crate::kernels::simd::LANES;

/// Positions in a block.
pub(crate) const BLOCK: usize = 2 * LANES;

/// The dimensions of a block: [`BLOCK`] positions of all layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub layers: usize,
    /// Key/value heads of a layer.
    pub heads: usize,
    pub head_dim: usize,
}

impl Layout {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let ModelConfig { num_hidden_layers: layers, num_key_value_heads: heads, head_dim, .. } = *config;
        Self { layers, heads, head_dim }
    }

    /// Number of keys and values in a block, without padding.
    pub(super) fn elements(self) -> usize {
        2 * self.layers * self.heads * BLOCK * self.head_dim
    }

    /// Number of rows of lanes in a block in host memory, in the panels that
    /// [`product`](crate::kernels::matmul::product) reads. Each head of a layer has panels of keys,
    /// whose lanes are positions, then panels of values, whose lanes are elements of the head.
    pub(super) fn lanes(self) -> usize {
        self.layers * self.heads * self.head_lanes()
    }

    /// Bytes of a block in host memory.
    pub(super) fn host_bytes(self) -> usize {
        self.lanes() * size_of::<Lanes>()
    }

    fn head_lanes(self) -> usize {
        BLOCK / LANES * self.head_dim + self.value_panels() * BLOCK
    }

    /// Number of panels of values in a head.
    pub(super) fn value_panels(self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// The first row of lanes of the keys of a head.
    pub(super) fn keys(self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.head_lanes()
    }

    /// The first row of lanes of the values of a head.
    pub(super) fn values(self, layer: usize, head: usize) -> usize {
        self.keys(layer, head) + BLOCK / LANES * self.head_dim
    }
}
