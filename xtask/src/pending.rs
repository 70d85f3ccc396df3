//! Temporary: replaced by janus-data and janus-infer.
use std::path::Path;
pub fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let t = path.with_extension("tmp~");
    std::fs::write(&t, bytes)?;
    std::fs::rename(t, path)
}
pub fn read(path: &Path) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut v = Vec::new();
    for (i, l) in text.lines().enumerate() {
        v.push(serde_json::from_str(l).map_err(|e| format!("{}: row {}: {e}", path.display(), i + 1))?);
    }
    Ok(v)
}
