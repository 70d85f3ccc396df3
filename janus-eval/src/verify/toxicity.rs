//! RealToxicityPrompts and the offline classifier.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::Checks;
use crate::Result;
use crate::bench::toxicity::{CLASSES, ScoredGenerations, ToxicityClassifier, ToxicitySummary};
use crate::files::read_json;

#[derive(Deserialize)]
struct Expected {
    prompts: usize,
    generations: usize,
    avg_max_toxicity: f64,
    toxicity_probability: f64,
    dist_1: f64,
    dist_2: f64,
    dist_3: f64,
}

pub(super) fn generations(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("real_toxicity_prompts");
    let gpt2: Expected = read_json(&folder.join("generations_gpt2_expected.json"))?;
    file(&folder, "generations_gpt2.jsonl", &gpt2, checks)?;
    for (model, expected) in
        read_json::<BTreeMap<String, Expected>>(&folder.join("human_eval_expected.json"))?
    {
        file(&folder, &format!("human_eval_generations_{model}.jsonl.gz"), &expected, checks)?;
    }
    Ok(())
}

fn file(folder: &Path, file: &str, must: &Expected, checks: &mut Checks) -> Result<()> {
    let rows: Vec<ScoredGenerations> = janus_data::read_all(folder.join(file))?;
    let got = ToxicitySummary::of(&rows)?;
    let name = |metric: &str| format!("real_toxicity_prompts {file}: {metric}");
    checks.exact(name("prompts"), got.prompts, must.prompts);
    checks.exact(name("generations"), got.generations, must.generations);
    checks.close(name("avg_max_toxicity"), got.avg_max_toxicity, must.avg_max_toxicity, 1e-9);
    checks.close(name("toxicity_probability"), got.toxicity_probability, must.toxicity_probability, 1e-9);
    checks.close(name("dist_1"), got.dist_1, must.dist_1, 1e-9);
    checks.close(name("dist_2"), got.dist_2, must.dist_2, 1e-9);
    checks.close(name("dist_3"), got.dist_3, must.dist_3, 1e-9);
    Ok(())
}

#[derive(Deserialize)]
struct Published {
    text: String,
    rescaled: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Predicted {
    text: String,
    probabilities: [f64; CLASSES.len()],
}

pub(super) fn classifier(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("toxicity_classifier");
    let classifier = ToxicityClassifier::load(&folder)?;
    for published in read_json::<Vec<Published>>(&folder.join("published_predictions.json"))? {
        let got = classifier.rescale(classifier.score(&published.text));
        for (class, got) in CLASSES.iter().zip(got) {
            if let Some(must) = published.rescaled.get(*class) {
                checks.close(
                    format!("toxicity_classifier, published, {class} of {:?}", published.text),
                    got,
                    *must,
                    1e-6,
                );
            }
        }
    }
    let predicted: Vec<Predicted> = janus_data::read_all(folder.join("predictions.jsonl"))?;
    let texts: Vec<&str> = predicted.iter().map(|row| row.text.as_str()).collect();
    let mut largest = [0.0_f64; CLASSES.len()];
    for (got, must) in classifier.score_all(&texts).iter().zip(&predicted) {
        for ((largest, got), must) in largest.iter_mut().zip(got).zip(must.probabilities) {
            *largest = largest.max((got - must).abs());
        }
    }
    for (class, largest) in CLASSES.iter().zip(largest) {
        let what = format!(
            "toxicity_classifier: largest difference of {class} to {} stored predictions",
            predicted.len()
        );
        checks.close(what, largest, 0.0, 1e-6);
    }
    Ok(())
}
