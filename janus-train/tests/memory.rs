//! The estimated activation memory is what training allocates.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;
use janus_train::estimate::{MemoryEstimate, Workload};
use janus_train::{
    Batch, DType, Decoder, Gradients, Head, Length, ModelConfig, ModelSizes, TokenRow, TrainConfig,
};

/// The system's allocator with a counter of the allocated bytes.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: every call is forwarded unchanged to the system's allocator; the default `realloc` and
// `alloc_zeroed` call these.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Tokens of a document, and documents of the batch.
const TOKENS: usize = 512;
const DOCUMENTS: usize = 4;

fn model(layers: usize) -> ModelConfig {
    ModelConfig::mistral(ModelSizes {
        vocab_size: 30,
        hidden_size: 64,
        intermediate_size: 160,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: TOKENS,
    })
}

/// Bytes that a forward pass keeps for the backward pass.
fn held(layers: usize, dtype: DType, recompute: bool) -> f64 {
    let mut decoder = Decoder::init(&model(layers), 1, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    decoder.set_activation_checkpointing(recompute);
    let row = TokenRow { ids: (0..TOKENS as u32).map(|i| i % 30).collect(), loss_mask: vec![true; TOKENS] };
    let batch = Batch::concat(&[&row; DOCUMENTS]);
    // As in a training step: layers run as blocks only if their gradients are recorded.
    let gradients = Gradients::new(&decoder);
    let recording = decoder.recording(&gradients);
    // Allocates the buffers that are reused in every step.
    drop(recording.hidden(&batch).unwrap());
    let before = HELD.load(Ordering::Relaxed);
    let hidden = recording.hidden(&batch).unwrap();
    let held = HELD.load(Ordering::Relaxed) - before;
    drop(hidden);
    held as f64
}

fn estimated(layers: usize, dtype: DType, recompute: bool) -> f64 {
    let train = TrainConfig::new(Length::Steps(1), DOCUMENTS * TOKENS, 1e-3, 0).with(|train| {
        train.dtype = dtype;
        train.activation_checkpointing = recompute;
    });
    MemoryEstimate::of(&Workload::new(&model(layers), &train, &[Head::LanguageModel], TOKENS)).activations
}

/// Regression: the estimate for a bf16 layer was a guess.
#[test]
fn estimated_activations_in_bf16_are_those_that_layers_keep_for_the_backward_pass() {
    /// Bytes of a layer that do not grow with its tokens: tensor headers, graph nodes, the divisors of
    /// the norms.
    const OVERHEAD: f64 = 8192.0;
    for recompute in [false, true] {
        let of_layers = |of: &dyn Fn(usize, DType, bool) -> f64| {
            of(5, DType::Bf16, recompute) - of(2, DType::Bf16, recompute)
        };
        let (held, estimated) = (of_layers(&held), of_layers(&estimated));
        let apart = (held - estimated).abs();
        assert!(
            apart < 0.02 * estimated + 3.0 * OVERHEAD,
            "recompute {recompute}: {held} bytes allocated, {estimated} estimated"
        );
    }
}
