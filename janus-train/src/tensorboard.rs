//! TensorBoard's event files: protocol buffer records with checksums.
//!
//! A file starts with a version record, followed by one record for each step, so it can be watched while
//! it grows. The "wall time" of a record is the step, so that equal runs give equal bytes.

/// The first record of a file, with the format's version.
pub(crate) fn head() -> Vec<u8> {
    // Event { wall_time = 1: double, step = 2: int64, file_version = 3: string, summary = 5: Summary }
    let mut first = double(1, 0.0);
    first.extend(bytes(3, b"brain.Event:2"));
    let mut file = Vec::new();
    record(&mut file, &first);
    file
}

/// The record of a step's values, by name.
pub(crate) fn event(step: u64, values: impl IntoIterator<Item = (String, f64)>) -> Vec<u8> {
    let mut event = double(1, step as f64);
    event.extend(key(2, 0));
    event.extend(varint(step));
    // Summary { value = 1: Value { tag = 1: string, simple_value = 2: float } }
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut inner = bytes(1, tag.as_bytes());
        inner.extend(key(2, 5));
        inner.extend((value as f32).to_le_bytes());
        summary.extend(bytes(1, &inner));
    }
    event.extend(bytes(5, &summary));
    let mut file = Vec::new();
    record(&mut file, &event);
    file
}

/// Writes a record: length, checksum of the length, data, checksum of the data.
fn record(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(data);
    file.extend(masked_crc(data).to_le_bytes());
}

fn key(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

fn varint(mut x: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while x >= 0x80 {
        out.push(x as u8 | 0x80);
        x >>= 7;
    }
    out.push(x as u8);
    out
}

fn double(field: u64, x: f64) -> Vec<u8> {
    let mut out = key(field, 1);
    out.extend(x.to_le_bytes());
    out
}

fn bytes(field: u64, data: &[u8]) -> Vec<u8> {
    let mut out = key(field, 2);
    out.extend(varint(data.len() as u64));
    out.extend(data);
    out
}

/// CRC-32C, rotated and offset, so that it is safe for data that itself contains checksums.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_crc_32c() {
        // RFC 3720, appendix B.4, and the standard check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_file_can_be_parsed_back_into_records() {
        let file = [head(), event(300, [("loss".to_string(), 0.5), ("lr".to_string(), 1e-3)])].concat();
        let mut rest = &file[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_crc(data).to_le_bytes());
            records.push(data);
            rest = &rest[16 + length..];
        }
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"brain.Event:2"));
        // wall_time, then step 300 as a varint of two bytes.
        assert_eq!(records[1][9..12], [0x10, 0xac, 0x02]);
        let loss = [&[0x0a, 4][..], b"loss", &[0x15], &0.5f32.to_le_bytes()].concat();
        assert!(records[1].windows(loss.len()).any(|window| window == loss));
    }
}
