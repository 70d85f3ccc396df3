//! The seven projections of a decoder layer.

use std::ops::{Index, IndexMut};

use crate::ModelConfig;

/// A linear projection of a decoder layer; its weight is `[out, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// The output of attention.
    O,
    /// The gate of SwiGLU.
    Gate,
    /// The input that the gate multiplies.
    Up,
    /// The output of the MLP.
    Down,
}

impl Projection {
    /// All seven, attention first.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];
    /// Those of the attention.
    pub const ATTENTION: [Self; 4] = [Self::Q, Self::K, Self::V, Self::O];
    /// Those of the MLP.
    pub const MLP: [Self; 3] = [Self::Gate, Self::Up, Self::Down];

    /// Its Hugging Face name within a layer: `self_attn.q_proj`.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Its name as a target of LoRA: `q_proj`.
    pub fn short_name(self) -> &'static str {
        self.hf_name().split_once('.').map_or("", |(_, name)| name)
    }

    /// The shape of its weight in a model, `[out, in]`.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (q, kv) =
            (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        match self {
            Self::Q => [q, hidden],
            Self::K | Self::V => [kv, hidden],
            Self::O => [hidden, q],
            Self::Gate | Self::Up => [ffn, hidden],
            Self::Down => [hidden, ffn],
        }
    }
}

/// A value for each [`Projection`] of a layer, indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerProjection<T>([T; Projection::ALL.len()]);

impl<T> PerProjection<T> {
    /// `value` of each projection.
    pub fn from_fn(value: impl FnMut(Projection) -> T) -> Self {
        Self(Projection::ALL.map(value))
    }

    /// `value` of each projection, or the first error.
    ///
    /// # Errors
    /// What `value` fails with.
    pub fn try_from_fn<E>(mut value: impl FnMut(Projection) -> Result<T, E>) -> Result<Self, E> {
        let [q, k, v, o, gate, up, down] = Projection::ALL;
        Ok(Self([value(q)?, value(k)?, value(v)?, value(o)?, value(gate)?, value(up)?, value(down)?]))
    }

    /// The values with their projections, in the order of [`Projection::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Projection, &T)> {
        Projection::ALL.into_iter().zip(&self.0)
    }
}

impl<T> Index<Projection> for PerProjection<T> {
    type Output = T;
    fn index(&self, projection: Projection) -> &T {
        &self.0[projection as usize]
    }
}

impl<T> IndexMut<Projection> for PerProjection<T> {
    fn index_mut(&mut self, projection: Projection) -> &mut T {
        &mut self.0[projection as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_the_projection_it_was_made_for() {
        let mut values = PerProjection::from_fn(|projection| projection.short_name());
        values[Projection::Up] = "changed";
        assert_eq!(
            values.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "changed", "down_proj"]
        );
        assert!(Projection::ALL.into_iter().eq(Projection::ATTENTION.into_iter().chain(Projection::MLP)));
    }
}
