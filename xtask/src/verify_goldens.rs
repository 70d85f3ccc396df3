//! `cargo xtask verify-goldens`: recomputes the reference numbers and compares.

use std::path::{Path, PathBuf};

use janus_train::goldens::{Check, verify};
use serde_json::{Value, json};

use crate::command::{CommandError, Outcome};

/// Check the numerical core against PyTorch's numbers
///
/// Takes every folder below FOLDER with a cases.json (a model with its inputs and
/// outputs), every sampling.json, schedules.json, tokens.json (with the
/// tokenizer.json next to it) and mistral_tokenizer.json; recomputes their numbers
/// and compares. The tolerance is ten times the difference between float32 and
/// float64 that the file states, or 1e-5 + 1e-5 |x|, whichever is larger (2e-5 for
/// parameters after the optimiser run). Ids must be equal.
///
/// Reads:   FOLDER: goldens made by PyTorch, transformers and others: the
///          repository's, or a folder with the same layout. With each cases.json:
///          config.json and config.v5.json (one model, both spellings),
///          model.safetensors, ref_model.safetensors (DPO's reference),
///          value_head.safetensors, lora.safetensors, and inputs and outputs in
///          cases.safetensors, grads_*.safetensors and adamw_final.safetensors.
/// Writes:  nothing; a table goes to stdout, its last line "N of M within
///          tolerance". Exit code 1 if one is outside, a file is missing, or there
///          is nothing to check.
/// Example: cargo xtask verify-goldens
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where the reference numbers are [default: goldens/ of the workspace]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The tokenizer.json that mistral_tokenizer.json was made with [default:
    /// FOLDER/mistral_v0.2_tokenizer.json]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let folder =
        args.folder.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens"));
    let tokenizer = args.tokenizer.clone().unwrap_or_else(|| folder.join("mistral_v0.2_tokenizer.json"));
    let checks = verify(&folder, &tokenizer);
    let (within, of) = (checks.iter().filter(|check| check.ok()).count(), checks.len());
    let mut table = format!("{:<48} {:>12} {:>12}  ok\n", "case", "max abs diff", "tolerance");
    checks.iter().for_each(|check| table.push_str(&format!("{check}\n")));
    table.push_str(&format!("{within} of {of} within tolerance"));
    let cases: Vec<Value> = checks.iter().map(row).collect();
    let report = json!({ "command": "verify-goldens", "cases": cases, "within": within, "of": of });
    if of == 0 {
        let reason = format!(
            "{}: no cases.json, sampling.json, schedules.json or tokens.json there or below",
            folder.display()
        );
        return Ok(Outcome::failed(reason, report).showing(table));
    }
    if within < of {
        return Ok(Outcome::failed(format!("{} of {of} are not within tolerance", of - within), report)
            .showing(table));
    }
    Ok(Outcome::done(table, report))
}

fn row(check: &Check) -> Value {
    let (difference, tolerance, reason) = match &check.result {
        Ok(compared) => (Some(compared.difference), Some(compared.tolerance), None),
        Err(reason) => (None, None, Some(reason)),
    };
    json!({ "case": check.case, "max_abs_difference": difference, "tolerance": tolerance, "ok": check.ok(), "reason": reason })
}
