//! Checks of a model's folder: forward pass, greedy decoding, both formats of its config, rotary
//! frequencies.

use std::path::Path;

use crate::Decoder;
use candle_core::Device;
use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};

use super::Checks;
use super::files::{Tensors, compare, documents, exact, json, number, segments, text, tolerance};
use super::golden::Golden;
use super::training;

/// Every check of a folder with a `cases.json`.
pub(super) fn check(name: &str, folder: &Path, checks: &mut Checks) {
    checks.group(name, |checks| {
        let golden = Golden {
            json: json(&folder.join("cases.json"))?,
            cases: Tensors::read(&folder.join("cases.safetensors"))?,
        };
        let decoder = Decoder::load(folder, &Device::Cpu).map_err(text)?;
        checks.group(&format!("{name} config.v5.json"), |checks| {
            let read = |file: &str| ModelConfig::read(folder.join(file)).map_err(text);
            let different = read("config.json")? != read("config.v5.json")?;
            checks.add(format!("{name} config.json = config.v5.json"), exact(usize::from(different), 1));
            Ok(())
        });
        let model = Model::load(folder, &Device::Cpu).map_err(text)?;
        for case in ["right_pad", "left_pad", "long", "packed"] {
            checks.group(&format!("{name} {case}"), |checks| {
                forward(name, case, &golden, &model, &decoder, checks)
            });
        }
        checks.group(&format!("{name} greedy"), |checks| greedy(name, &golden, &model, checks));
        if golden.cases.all().contains_key("frequencies") {
            checks.group(&format!("{name} frequencies"), |checks| {
                frequencies(name, &golden, model.config(), checks)
            });
        }
        training::check(name, folder, &golden, checks);
        Ok(())
    });
}

fn forward(
    name: &str,
    case: &str,
    golden: &Golden,
    model: &Model,
    decoder: &Decoder,
    checks: &mut Checks,
) -> Result<(), String> {
    let stated = number(&golden.json, &["forward", case, "logits_f32_vs_f64"])?;
    let ids = golden.cases.ints(&format!("{case}.input_ids"))?;
    let rows: Vec<Vec<i64>> = match case {
        "packed" => golden.cases.ints("packed.segment_ids")?,
        _ => {
            golden.cases.ints(&format!("{case}.attention_mask"))?.iter().map(|mask| segments(mask)).collect()
        }
    };
    let (all_logits, all_logprobs) =
        (golden.cases.floats(&format!("{case}.logits"))?, golden.cases.floats(&format!("{case}.logprobs"))?);
    let (vocab, mut logits, mut logprobs) = (model.config().vocab_size, Pairs::default(), Pairs::default());
    for (row, (ids, segments)) in ids.iter().zip(&rows).enumerate() {
        let documents = documents(ids, segments, |_| true);
        let mut places = documents.places.iter();
        for document in &documents.rows {
            let mut got = Vec::new();
            let mut cache = model.cache();
            model
                .forward(&mut [SequenceInput::new(&document.ids, &mut cache, LogitsWanted::All)], &mut got)
                .map_err(text)?;
            for (got, place) in got.chunks(vocab).zip(places.by_ref()) {
                let want =
                    all_logits.get((row * ids.len() + place) * vocab..).and_then(|rest| rest.get(..vocab));
                logits.add(got, want.ok_or("logits has too few numbers")?);
            }
        }
        let found = decoder.logprobs(&documents.batch()).map_err(text)?;
        let want = |token: &u32| {
            all_logprobs.get(row * (ids.len() - 1) + documents.places[*token as usize] - 1).copied()
        };
        let want: Option<Vec<f64>> = found.tokens.iter().map(want).collect();
        logprobs
            .add(&found.values.to_vec1::<f32>().map_err(text)?, &want.ok_or("logprobs has too few numbers")?);
    }
    checks.add(format!("{name} {case} logits"), compare(&logits.got, &logits.want, tolerance(stated)));
    checks.add(format!("{name} {case} logprobs"), compare(&logprobs.got, &logprobs.want, tolerance(stated)));
    Ok(())
}

/// Computed numbers and the expected ones.
#[derive(Default)]
struct Pairs {
    got: Vec<f64>,
    want: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, got: &[f32], want: &[f64]) {
        self.got.extend(got.iter().map(|&x| f64::from(x)));
        self.want.extend(want);
    }
}

fn greedy(name: &str, golden: &Golden, model: &Model, checks: &mut Checks) -> Result<(), String> {
    let (prompts, outputs) =
        (golden.cases.ints("greedy.prompt_ids")?, golden.cases.ints("greedy.output_ids")?);
    let (mut different, mut of) = (0, 0);
    for (prompt, output) in prompts.iter().zip(&outputs) {
        let mut ids: Vec<u32> = prompt.iter().map(|&id| id as u32).collect();
        let (mut cache, mut logits, mut fed) = (model.cache(), Vec::new(), 0);
        while ids.len() < output.len() {
            model
                .forward(&mut [SequenceInput::new(&ids[fed..], &mut cache, LogitsWanted::Last)], &mut logits)
                .map_err(text)?;
            fed = ids.len();
            // The first of equal logits, as in torch.argmax.
            let best =
                (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
            ids.push(best as u32);
        }
        different += ids.iter().zip(output).filter(|&(&id, &want)| i64::from(id) != want).count();
        of += output.len() - prompt.len();
    }
    checks.add(format!("{name} greedy ids"), exact(different, of));
    Ok(())
}

/// The rotary frequencies, scaled by the config. The tolerance is relative, because frequencies are as
/// small as 1e-6.
fn frequencies(name: &str, golden: &Golden, config: &ModelConfig, checks: &mut Checks) -> Result<(), String> {
    let exponent = |i: usize| 2.0 * i as f64 / config.head_dim as f64;
    let mut got: Vec<f32> =
        (0..config.head_dim / 2).map(|i| config.rope_theta.powf(-exponent(i)) as f32).collect();
    config.rope_scaling.iter().for_each(|scaling| scaling.scale(&mut got));
    let got: Vec<f64> = got.into_iter().map(f64::from).collect();
    checks.add(
        format!("{name} frequencies"),
        compare(&got, &golden.cases.floats("frequencies")?, |x| 3e-7 * x.abs()),
    );
    Ok(())
}
