//! Helpers for the tests of the ops: random inputs, comparison with the naive version, finite
//! differences.

use candle_core::{Device, Result, Tensor, Var};
use janus_infer::{PerProjection, Projection};
use rand::Rng;

use super::{AttentionShape, BatchShape, DecoderWeights, LayerWeights, ProjectionWeights, RopeTable};

/// Random numbers in -1..1 from a fixed seed.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = janus_core::stream(seed, "op test");
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn run(inputs: &[&Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(&t.copy().unwrap()).unwrap()).collect();
    let y = op(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>()).unwrap();
    // An uneven cotangent, so that no gradient cancels by symmetry.
    let gradients = (&y * random(y.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (flat(&y), vars.iter().map(|var| flat(gradients.get(var).expect("a gradient for every input"))).collect())
}

/// Asserts that values and gradients of `op` and of its reference version differ by at most `tolerance`.
pub(crate) fn assert_same(
    inputs: &[&Tensor],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    tolerance: f32,
) {
    let (fast, slow) = (run(inputs, op), run(inputs, reference));
    let close = |name: &str, a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len(), "{name}");
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{name}: {worst:e} apart, more than {tolerance:e}");
    };
    close("value", &fast.0, &slow.0);
    for (i, (a, b)) in fast.1.iter().zip(&slow.1).enumerate() {
        close(&format!("gradient of input {i}"), a, b);
    }
}

/// Asserts that the gradients of `op` equal its central differences, up to 2e-3, the accuracy of the
/// differences in f32.
pub(crate) fn assert_gradients(inputs: &[&Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f32 = 1e-2;
    let (_, gradients) = run(inputs, &op);
    let value = |inputs: &[Tensor]| {
        let y = op(inputs).unwrap();
        let weights = random(y.dims(), 99).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        y.iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum::<f64>()
    };
    for (i, gradient) in gradients.iter().enumerate() {
        for (j, &got) in gradient.iter().enumerate() {
            let at = |offset: f32| {
                let mut moved: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
                let mut values = inputs[i].flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values[j] += offset;
                moved[i] = Tensor::from_vec(values, inputs[i].shape(), &Device::Cpu).unwrap();
                value(&moved)
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
            assert!(
                (f64::from(got) - expected).abs() < 2e-3,
                "input {i}, element {j}: gradient {got}, difference {expected}"
            );
        }
    }
}

/// A decoder's inputs.
pub(crate) struct Case {
    /// The final norm, the embedding, and nine weights for each layer in the order of a checkpoint.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) ids: Vec<u32>,
    pub(crate) shape: BatchShape,
}

const HEAD_DIM: usize = 4;
const VOCAB: usize = 11;

impl Case {
    pub(crate) fn new(
        layers: usize,
        hidden: usize,
        (heads, kv_heads): (usize, usize),
        ffn: usize,
        cu_seqlens: &[u32],
    ) -> Self {
        let (q, kv) = (heads * HEAD_DIM, kv_heads * HEAD_DIM);
        let layer: [&[usize]; 9] = [
            &[hidden],
            &[q, hidden],
            &[kv, hidden],
            &[kv, hidden],
            &[hidden, q],
            &[hidden],
            &[ffn, hidden],
            &[ffn, hidden],
            &[hidden, ffn],
        ];
        let (norm, embedding) = ([hidden], [VOCAB, hidden]);
        let mut shapes: Vec<&[usize]> = vec![&norm, &embedding];
        (0..layers).for_each(|_| shapes.extend(layer));
        let attention = AttentionShape { heads, kv_heads, head_dim: HEAD_DIM, sliding_window: Some(40) };
        let rope = RopeTable::new(HEAD_DIM, 100.0, None, cu_seqlens);
        Self {
            tensors: shapes.iter().zip(1..).map(|(shape, seed)| random(shape, seed)).collect(),
            ids: (0..*cu_seqlens.last().unwrap()).map(|i| (i * 7 + i * i) % VOCAB as u32).collect(),
            shape: BatchShape {
                attention,
                rope,
                cu_seqlens: cu_seqlens.into(),
                rms_norm_eps: 1e-5,
                recompute: false,
            },
        }
    }

    pub(crate) fn inputs(&self) -> Vec<&Tensor> {
        self.tensors.iter().collect()
    }

    pub(crate) fn run(
        &self,
        t: &[Tensor],
        op: impl FnOnce(&[u32], &DecoderWeights, &BatchShape) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let layer = |t: &[Tensor]| LayerWeights {
            input_layernorm: t[0].clone(),
            post_attention_layernorm: t[5].clone(),
            projections: PerProjection::from_fn(|projection| {
                let place = 1 + projection as usize + usize::from(Projection::MLP.contains(&projection));
                ProjectionWeights { weight: t[place].clone(), lora: None }
            }),
        };
        let layers = t[2..].chunks_exact(9).map(layer).collect();
        op(&self.ids, &DecoderWeights { embed_tokens: t[1].clone(), layers, norm: t[0].clone() }, &self.shape)
    }
}
