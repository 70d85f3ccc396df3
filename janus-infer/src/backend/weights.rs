//! A decoder's weights, in the form in which a backend multiplies them.

use crate::files::Matrix;
use crate::{ModelConfig, Projection, Result, Weights};

/// The weights of a Llama or Mistral model: matrices of type `M`, norms of type `N`.
pub(super) struct DecoderWeights<M, N> {
    /// `None` if the head is the embedding too (tied weights).
    pub embedding: Option<M>,
    pub layers: Vec<LayerWeights<M, N>>,
    pub final_norm: N,
    pub head: M,
}

pub(super) struct LayerWeights<M, N> {
    pub attention_norm: N,
    /// `q_proj`, `k_proj` and `v_proj` in one matrix.
    pub qkv: M,
    pub attention_out: M,
    pub mlp_norm: N,
    pub gate_up: M,
    pub down: M,
}

/// Reads a tensor as `f32`, given its name and shape.
type ReadVector<'a> = dyn Fn(&str, &[usize]) -> Result<Vec<f32>> + 'a;
/// Reads a matrix, given its name, rows and depth.
type ReadMatrix<'a, 'w> = dyn Fn(&str, usize, usize) -> Result<Matrix<'w>> + 'a;

/// Where weights come from.
pub(crate) struct Source<'a, 'w> {
    pub vector: Box<ReadVector<'a>>,
    pub matrix: Box<ReadMatrix<'a, 'w>>,
}

impl<'w> Source<'w, 'w> {
    /// Weights that a function returns, given their names and shapes.
    pub(crate) fn in_f32(weight: &'w ReadVector<'w>) -> Self {
        let matrix = |name: &str, rows: usize, depth: usize| {
            Ok(Matrix::in_f32(&weight(name, &[rows, depth])?, rows, depth))
        };
        Self { vector: Box::new(weight), matrix: Box::new(matrix) }
    }

    /// The weights of a checkpoint.
    pub(crate) fn of(weights: &'w Weights) -> Self {
        Self {
            vector: Box::new(|name, shape| weights.read(name, shape)),
            matrix: Box::new(|name, rows, depth| weights.matrix(name, rows, depth)),
        }
    }
}

impl<M, N> DecoderWeights<M, N> {
    /// Reads all weights. `pack` concatenates matrices with the same input along their rows. A
    /// `value_head` replaces the language model's head.
    pub(crate) fn build(
        config: &ModelConfig,
        value_head: Option<M>,
        source: &Source<'_, '_>,
        norm: impl Fn(Vec<f32>) -> Result<N>,
        pack: impl Fn(&[Matrix<'_>]) -> Result<M>,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        let layer = |layer: usize| -> Result<LayerWeights<M, N>> {
            let name = |tail: &str| format!("model.layers.{layer}.{tail}.weight");
            let norm = |tail: &str| norm((source.vector)(&name(tail), &[hidden])?);
            let pack = |projections: &[Projection]| -> Result<M> {
                let matrix = |projection: &Projection| {
                    let [rows, depth] = projection.shape(config);
                    (source.matrix)(&name(projection.hf_name()), rows, depth)
                };
                pack(&projections.iter().map(matrix).collect::<Result<Vec<_>>>()?)
            };
            Ok(LayerWeights {
                attention_norm: norm("input_layernorm")?,
                qkv: pack(&[Projection::Q, Projection::K, Projection::V])?,
                attention_out: pack(&[Projection::O])?,
                mlp_norm: norm("post_attention_layernorm")?,
                gate_up: pack(&[Projection::Gate, Projection::Up])?,
                down: pack(&[Projection::Down])?,
            })
        };
        let of_vocabulary = |name: &str| pack(&[(source.matrix)(name, config.vocab_size, hidden)?]);
        let table = || of_vocabulary("model.embed_tokens.weight");
        let (embedding, head) = match value_head {
            Some(head) => (Some(table()?), head),
            None if config.tie_word_embeddings => (None, table()?),
            None => (Some(table()?), of_vocabulary("lm_head.weight")?),
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self {
            embedding,
            layers,
            final_norm: norm((source.vector)("model.norm.weight", &[hidden])?)?,
            head,
        })
    }
}
