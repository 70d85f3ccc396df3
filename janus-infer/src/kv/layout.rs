//! Where keys and values are within a block.

use crate::ModelConfig;
use crate::kernels::matmul::Lanes;
use crate::kernels::simd::LANES;

/// Positions of a block.
pub(crate) const BLOCK: usize = 2 * LANES;

/// The sizes of a block: [`BLOCK`] positions of all layers.
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

    /// Keys and values of a block, without padding.
    pub(super) fn elements(self) -> usize {
        2 * self.layers * self.heads * BLOCK * self.head_dim
    }

    /// Rows of lanes of a block in the host's memory, in the panels that [`product`](crate::kernels::matmul::product) reads. A head of a layer has
    /// panels of keys, whose lanes are positions, then panels of values, whose lanes are elements of the head.
    pub(super) fn lanes(self) -> usize {
        self.layers * self.heads * self.head_lanes()
    }

    /// Bytes of those.
    pub(super) fn host_bytes(self) -> usize {
        self.lanes() * size_of::<Lanes>()
    }

    fn head_lanes(self) -> usize {
        BLOCK / LANES * self.head_dim + self.value_panels() * BLOCK
    }

    /// Panels of values that a head has.
    pub(super) fn value_panels(self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Where the keys of a head of a layer begin.
    pub(super) fn keys(self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.head_lanes()
    }

    /// Where its values begin.
    pub(super) fn values(self, layer: usize, head: usize) -> usize {
        self.keys(layer, head) + BLOCK / LANES * self.head_dim
    }
}
