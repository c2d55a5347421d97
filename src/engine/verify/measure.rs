//! What a device's memory holds and how fast it and its kernels are.

use std::time::{Duration, Instant};

use super::ggml::{Compute, DeviceRef, Kind, Tensors, quantize};

/// Largest piece of an allocation.
const PIECE: u64 = 1 << 30;
/// Bytes that are written at once.
const WRITTEN: usize = 16 << 20;
/// Bytes that are read back at each place of a piece.
const PROBE: usize = 4096;
/// Time of one measurement.
const MEASURED: Duration = Duration::from_millis(300);
/// One round is long enough for a clock.
const ROUND: Duration = Duration::from_millis(20);

/// Memory that was taken, written, read and given back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allocation {
    /// Bytes that were to be taken.
    pub wanted: u64,
    /// Bytes that the device gave.
    pub taken: u64,
    /// Whether each piece still held what was written to it when all were taken.
    pub intact: bool,
}

impl Allocation {
    /// Whether the device gave all, and it holds what is written to it.
    pub fn passed(&self) -> bool {
        self.taken == self.wanted && self.intact
    }
}

/// Takes this much of a device's memory in pieces, writes each with a byte of its own, reads samples
/// back when all are there, and gives all of it back.
pub(super) fn allocate(device: DeviceRef, wanted: u64) -> Allocation {
    let most = PIECE.min(device.max_piece()).max(PROBE as u64);
    let byte = |piece: usize| (piece % 251 + 1) as u8;
    let (mut pieces, mut taken) = (Vec::new(), 0);
    while taken < wanted {
        let size = most.min(wanted - taken);
        let Some(mut tensors) = Tensors::new() else { break };
        let tensor = tensors.tensor(Kind::Bytes, size as usize, 1);
        if !tensors.allocate(device) {
            break;
        }
        let bytes = vec![byte(pieces.len()); WRITTEN.min(size as usize)];
        for offset in (0..size as usize).step_by(WRITTEN) {
            tensors.write(tensor, offset, &bytes[..WRITTEN.min(size as usize - offset)]);
        }
        pieces.push((tensors, tensor, size as usize));
        taken += size;
    }
    let intact = pieces.iter().enumerate().all(|(number, (tensors, tensor, size))| {
        let len = PROBE.min(*size);
        let mut bytes = vec![0; len];
        [0, (size - len) / 2, size - len].into_iter().all(|offset| {
            tensors.read(*tensor, offset, &mut bytes);
            bytes.iter().all(|found| *found == byte(number))
        })
    });
    Allocation { wanted, taken, intact }
}

/// Speeds in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bandwidth {
    /// From this machine's memory to the device's.
    pub to_device: f64,
    /// Back.
    pub from_device: f64,
    /// On the device: what a copy reads and writes.
    pub on_device: f64,
}

/// Copies up to 256 MiB. `None`: the device has no memory for it, or cannot copy.
pub(super) fn bandwidth(device: DeviceRef, threads: u32) -> Option<Bandwidth> {
    let compute = Compute::start(device, threads)?;
    let mut found = None;
    // Small first: a slow device is measured with what it can do in time.
    for bytes in [8_usize << 20, 64 << 20, 256 << 20] {
        let mut host = vec![1_u8; bytes];
        let mut tensors = Tensors::new()?;
        let [from, to] = [0, 1].map(|_| tensors.tensor(Kind::F32, bytes / 4, 1));
        let copy = tensors.copying(from, to);
        if !tensors.allocate(device) {
            break;
        }
        let speed = |took: Duration| bytes as f64 / took.as_secs_f64();
        let to_device = speed(fastest(|| {
            tensors.write(from, 0, &host);
            true
        })?);
        let from_device = speed(fastest(|| {
            tensors.read(from, 0, &mut host);
            true
        })?);
        let mut graph = tensors.graph(copy);
        let took = fastest(|| compute.run(&mut graph))?;
        found = Some(Bandwidth { to_device, from_device, on_device: 2.0 * speed(took) });
        if took > ROUND {
            break;
        }
    }
    found
}

/// Multiplications of a matrix of one kind of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatMul {
    /// llama.cpp's name of the weights' type.
    pub kind: &'static str,
    /// Rows and columns of the matrix.
    pub size: usize,
    /// Vectors that it is multiplied with at once: 1 as in decoding, more as in prefill.
    pub vectors: usize,
    /// Multiplications and additions, in 10^9 per second.
    pub gflops: f64,
}

/// Multiplies matrices of f16, q8_0 and q4_0, with one vector and with 512. What the device cannot do
/// is left out.
pub(super) fn matmul(device: DeviceRef, threads: u32) -> Vec<MatMul> {
    let Some(compute) = Compute::start(device, threads) else { return Vec::new() };
    let kinds = [("f16", Kind::F16), ("q8_0", Kind::Q8_0), ("q4_0", Kind::Q4_0)];
    let mut all = Vec::new();
    for (name, kind) in kinds {
        for vectors in [512, 1] {
            let mut found = None;
            for size in [512, 2048, 4096] {
                let Some(took) = multiply(device, &compute, kind, size, vectors) else { break };
                let operations = 2.0 * (size * size * vectors) as f64;
                let gflops = operations / took.as_secs_f64() / 1e9;
                found = Some(MatMul { kind: name, size, vectors, gflops });
                if took > ROUND {
                    break;
                }
            }
            all.extend(found);
        }
    }
    all
}

/// Time of one multiplication.
fn multiply(
    device: DeviceRef,
    compute: &Compute,
    kind: Kind,
    size: usize,
    vectors: usize,
) -> Option<Duration> {
    let mut tensors = Tensors::new()?;
    let matrix = tensors.tensor(kind, size, size);
    let with = tensors.tensor(Kind::F32, size, vectors);
    let product = tensors.product(matrix, with);
    if !tensors.allocate(device) {
        return None;
    }
    // Zeros would be cheaper than numbers: a chip draws power for each bit that changes.
    let row: Vec<f32> = (0..size).map(|i| ((i * 7919 + 13) % 1000) as f32 / 500.0 - 1.0).collect();
    tensors.write(matrix, 0, &quantize(kind, &row, size).repeat(size));
    tensors.write(with, 0, &quantize(Kind::F32, &row, size).repeat(vectors));
    let mut graph = tensors.graph(product);
    fastest(|| compute.run(&mut graph))
}

/// The shortest time of a few rounds; the first, in which kernels are compiled, does not count.
fn fastest(mut round: impl FnMut() -> bool) -> Option<Duration> {
    if !round() {
        return None;
    }
    let start = Instant::now();
    let mut shortest = Duration::MAX;
    while shortest == Duration::MAX || start.elapsed() < MEASURED {
        let begun = Instant::now();
        if !round() {
            return None;
        }
        shortest = shortest.min(begun.elapsed());
    }
    Some(shortest.max(Duration::from_nanos(1)))
}
