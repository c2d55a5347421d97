//! A model file of 8-bit weights as one of 32-bit weights, with the same values. The CPU rounds what
//! it multiplies with 8-bit weights to 8 bits too, GPUs do not: only of 32-bit weights the two compute
//! the same.

use std::io::Write;

use tempfile::NamedTempFile;

const F32: u32 = 0;
const Q8_0: u32 = 8;
/// Tensors begin at multiples of it.
const ALIGNMENT: usize = 32;
/// Values that share a scale in Q8_0.
const BLOCK: usize = 32;

/// Reads a GGUF from its beginning.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        self.at += n;
        &self.bytes[self.at - n..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> &'a [u8] {
        let n = self.u64();
        self.take(n as usize)
    }

    fn skip_value(&mut self, kind: u32) {
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => self.u64() as usize,
            9 => {
                let (kind, n) = (self.u32(), self.u64());
                return (0..n).for_each(|_| self.skip_value(kind));
            }
            _ => panic!("no type of GGUF: {kind}"),
        };
        self.take(size);
    }
}

/// A copy of a GGUF whose tensors are F32 or Q8_0, all in F32.
pub fn full_precision(path: &str) -> NamedTempFile {
    let bytes = std::fs::read(path).unwrap();
    let mut reader = Reader { bytes: &bytes, at: 8 };
    let (tensors, keys) = (reader.u64(), reader.u64());
    for _ in 0..keys {
        reader.text();
        let kind = reader.u32();
        reader.skip_value(kind);
    }
    let mut out = bytes[..reader.at].to_vec();
    let (mut sources, mut offset) = (Vec::new(), 0);
    for _ in 0..tensors {
        let start = reader.at;
        reader.text();
        let dims = reader.u32();
        let values = (0..dims).map(|_| reader.u64() as usize).product::<usize>();
        out.extend(&bytes[start..reader.at]);
        sources.push((values, reader.u32(), reader.u64() as usize));
        out.extend(F32.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += (values * 4).next_multiple_of(ALIGNMENT);
    }
    let data = &bytes[reader.at.next_multiple_of(ALIGNMENT)..];
    for (values, kind, offset) in sources {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        let tensor = &data[offset..];
        match kind {
            F32 => out.extend(&tensor[..values * 4]),
            Q8_0 => {
                let blocks = tensor.chunks(BLOCK + 2).take(values / BLOCK);
                out.extend(blocks.flat_map(block).flat_map(f32::to_le_bytes));
            }
            _ => panic!("a tensor is neither F32 nor Q8_0 but {kind}"),
        }
    }
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    file.write_all(&out).unwrap();
    file
}

/// The values of a Q8_0 block: a scale in 16 bits, then a byte for each.
fn block(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let scale = from_f16(u16::from_le_bytes([bytes[0], bytes[1]]));
    bytes[2..].iter().map(move |&value| scale * f32::from(value as i8))
}

/// The value of a finite number in 16 bits.
fn from_f16(bits: u16) -> f32 {
    let (sign, exponent, mantissa) = (bits >> 15, bits >> 10 & 31, bits & 1023);
    let fraction = f32::from(mantissa) / 1024.0;
    let size = match exponent {
        0 => fraction * 2_f32.powi(-14),
        _ => (1.0 + fraction) * 2_f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}
