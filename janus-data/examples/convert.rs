//! Converts a file of records to another format, by the names: `cargo run -p janus-data --example convert -- KIND FROM TO`,
//! where KIND is `sft`, `pairs`, `reward` or `bench`. Every row is checked on the way.

use std::path::Path;

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use janus_data::{ArrowRecord, Result, read_all, write_all, write_parquet};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn convert<T: ArrowRecord + Serialize + DeserializeOwned>(from: &str, to: &str) -> Result<()> {
    let rows: Vec<T> = read_all(from)?;
    match Path::new(to).extension() {
        Some(extension) if extension == "parquet" => write_parquet(to, &rows),
        _ => write_all(to, &rows),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, from, to] = &arguments[..] else { return Err("give KIND FROM TO".into()) };
    match kind.as_str() {
        "sft" => convert::<SftRecord>(from, to)?,
        "pairs" => convert::<PairRecord>(from, to)?,
        "reward" => convert::<RewardRecord>(from, to)?,
        "bench" => convert::<BenchRecord>(from, to)?,
        _ => return Err(format!("unknown kind {kind}: expected sft, pairs, reward or bench").into()),
    }
    Ok(())
}
