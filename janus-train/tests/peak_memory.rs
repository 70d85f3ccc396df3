//! The plan's memory is what a run takes at its peak, as Linux counts it.

use std::process::Command;

use candle_core::Device;
use janus_train::estimate::{MemoryEstimate, Workload};
use janus_train::{
    Decoder, Dpo, DpoConfig, FreedMemory, Head, Length, LoraConfig, ModelConfig, ModelSizes, Objective,
    Reference, Reward, Sft, TokenRow, TrainConfig, Trainer,
};

const CASE: &str = "JANUS_TEST_PEAK_MEMORY_CASE";
/// Tokens of the longest row, and rows of a micro-batch.
const SEQ: usize = 256;
const ROWS: usize = 8;
const STEPS: u64 = 3;

fn model() -> ModelConfig {
    ModelConfig::llama(ModelSizes {
        vocab_size: 2048,
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 8,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        max_position_embeddings: SEQ,
    })
}

/// Rows for every step; the first is not the longest.
fn rows(varied: bool) -> Vec<TokenRow> {
    let row = |i: usize| {
        let len = if varied { SEQ / 4 + (i * 67 + i * i * 5) % (3 * SEQ / 4 + 1) } else { SEQ };
        TokenRow {
            ids: (0..len).map(|at| ((i * 31 + at * 7) % 2048) as u32).collect(),
            loss_mask: (0..len).map(|at| at >= len / 4).collect(),
        }
    };
    (0..ROWS * STEPS as usize).map(row).collect()
}

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// Trains and returns the estimated and the measured bytes.
fn run<O: Objective>(case: &str, objective: impl FnOnce(&[TokenRow]) -> O, heads: &[Head]) -> (f64, f64) {
    FreedMemory::Keep.apply_to_process();
    let has = |word: &str| case.split(' ').any(|found| found == word);
    let rows = rows(has("varied"));
    let pair = if heads == [Head::Value] || has("dpo") { 2 } else { 1 };
    let mut train = TrainConfig::new(Length::Steps(STEPS), SEQ * ROWS, 1e-3, 0).with(|train| {
        train.clip_norm = Some(1.0);
        train.activation_checkpointing = has("recompute");
        train.examples_per_micro_batch = Some(ROWS / pair);
    });
    let lora = has("lora").then(|| LoraConfig::new(8, 16.0));
    let before = status("VmRSS:");
    let mut decoder = Decoder::init(&model(), 1, &Device::Cpu).unwrap();
    if heads.contains(&Head::Value) {
        decoder = decoder.with_value_head(2).unwrap();
    }
    if let Some(lora) = &lora {
        decoder = decoder.with_lora(lora.clone(), 0).unwrap();
    }
    let objective = objective(&rows);
    let mut trainer = Trainer::new(decoder, objective, rows, train.clone()).unwrap();
    let longest = (0..STEPS).map(|_| trainer.step().unwrap().tokens).max();
    let peak = status("VmHWM:") - before;
    let config = model();
    // The longest micro-batch decides, not the last.
    train.tokens_per_micro_batch = longest.unwrap();
    let mut workload = Workload::new(&config, &train, heads, SEQ);
    workload.lora = lora.as_ref();
    workload.reference = has("dpo");
    (MemoryEstimate::of(&workload).total(), peak)
}

#[test]
fn the_estimate_is_within_a_tenth_of_the_peak_for_rows_of_varied_and_of_equal_length() {
    if let Ok(case) = std::env::var(CASE) {
        let (estimated, peak) = match case.split(' ').next().unwrap() {
            "sft" => run(&case, |_| Sft, &[Head::LanguageModel]),
            "dpo" => {
                let reference = |rows: &[TokenRow]| {
                    let model = Decoder::init(&model(), 2, &Device::Cpu).unwrap();
                    Dpo::new(DpoConfig::default(), Reference::Model(Box::new(model)), &rows.to_vec()).unwrap()
                };
                run(&case, reference, &[Head::LanguageModel])
            }
            _ => run(&case, |_| Reward::default(), &[Head::Value]),
        };
        println!("\nestimated {estimated} peak {peak}");
        return;
    }
    let mut apart = Vec::new();
    for case in [
        "sft varied",
        "sft equal",
        "sft lora varied",
        "sft lora equal recompute",
        "sft varied recompute",
        "dpo varied",
        "dpo lora equal",
        "reward varied",
        "reward lora varied recompute",
    ] {
        let name =
            "peak_memory::the_estimate_is_within_a_tenth_of_the_peak_for_rows_of_varied_and_of_equal_length";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .envs([(CASE, case), ("RAYON_NUM_THREADS", "2")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("estimated ")).expect("a result");
        let (estimated, peak) = line.split_once(" peak ").unwrap();
        let (estimated, peak): (f64, f64) = (estimated.parse().unwrap(), peak.parse().unwrap());
        println!(
            "{case}: estimated {:.1} MB, peak {:.1} MB, ratio {:.2}",
            estimated / 1e6,
            peak / 1e6,
            peak / estimated
        );
        if !(0.9..1.1).contains(&(peak / estimated)) {
            apart.push(case);
        }
    }
    assert!(apart.is_empty(), "{apart:?}");
}
