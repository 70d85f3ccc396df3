//! Trains a tiny model on the bytes of a few sentences and prints the loss: `cargo run --example
//! train_tiny`.

use janus_train::candle_core::Device;
use janus_train::{
    Decoder, FreedMemory, Length, ModelConfig, ModelSizes, Sft, TokenRow, TrainConfig, Trainer,
};

#[expect(clippy::print_stdout, reason = "an example prints its results")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    FreedMemory::Keep.apply_to_process();
    let sentences = [
        "A kite flies on a string.",
        "A boat floats on the lake.",
        "A bell rings in the tower.",
        "A lamp shines on the desk.",
    ];
    // The tokens are bytes. A document starts with 0, and all other tokens are in the loss.
    let rows = sentences
        .map(|text| {
            let ids: Vec<u32> = std::iter::once(0).chain(text.bytes().map(u32::from)).collect();
            TokenRow { loss_mask: (0..ids.len()).map(|i| i > 0).collect(), ids }
        })
        .to_vec();

    let mut config = ModelConfig::llama(ModelSizes {
        vocab_size: 128,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
    });
    config.tie_word_embeddings = true;
    let decoder = Decoder::init(&config, 1, &Device::Cpu)?;
    let settings = TrainConfig::new(Length::Steps(100), 256, 1e-2, 1).with(|config| {
        config.warmup_steps = 10;
        config.clip_norm = Some(1.0);
    });
    let mut trainer = Trainer::new(decoder, Sft, rows, settings)?;
    while trainer.steps() < 100 {
        let metrics = trainer.step()?;
        if metrics.step % 10 == 0 {
            println!(
                "step {:3}  loss {:.3}  gradient norm {:.2}  {:6.0} tokens/s",
                metrics.step,
                metrics.loss,
                metrics.grad_norm,
                metrics.tokens_per_second()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().unwrap();
    }
}
